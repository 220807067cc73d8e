"use strict";
(() => {
  const PER_PAGE = 100;
  const { rows, words } = JSON.parse(document.getElementById("data").textContent);
  // a row: [path, page, outcome, verdict, probability, media, seconds, faces, segments, what, bytes]
  const KEYS = { verdict: 3, probability: 4, object: 0, seconds: 6, faces: 7, segments: 8 };
  const BANDS = words.bands;
  const table = document.getElementById("list");
  const body = table.tBodies[0];
  const form = document.getElementById("filters");
  const told = document.getElementById("told");
  const [back, on] = document.querySelectorAll(".pager button");
  const where = document.getElementById("where");
  const texts = rows.map((row) => (row[0] + "\n" + row[9]).toLowerCase());
  const start = { q: "", verdict: "", media: "", least: "", sort: "probability", down: "1", page: "1" };
  const FIELDS = ["q", "verdict", "media", "least"];
  let state = { ...start };

  const fromAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!given.has("list")) return false;
    state = { ...start };
    for (const key of Object.keys(start)) if (given.has(key)) state[key] = given.get(key);
    if (!(state.sort in KEYS)) state.sort = start.sort;
    return true;
  };
  const toAddress = () => {
    const kept = new URLSearchParams({ list: "" });
    for (const key of Object.keys(start)) if (state[key] !== start[key]) kept.set(key, state[key]);
    try { history.replaceState(null, "", "#" + kept.toString()); } catch { /* some viewers forbid it */ }
  };
  const isOf = (row) => {
    if (state.verdict === "") return true;
    if (state.verdict === "flagged") return row[3] === "manipulated" || row[3] === "suspicious";
    if (state.verdict === "none") return row[3] === null;
    return row[3] === state.verdict || row[2] === state.verdict;
  };
  const chosen = () => {
    const wanted = state.q.trim().toLowerCase();
    const least = state.least === "" ? -1 : Number(state.least);
    const found = [];
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i];
      if (!isOf(row) || (state.media && row[5] !== state.media)) continue;
      if (least >= 0 && !(row[4] >= least)) continue;
      if (wanted && !texts[i].includes(wanted)) continue;
      found.push(i);
    }
    const column = KEYS[state.sort], sign = state.down === "1" ? -1 : 1;
    const value = (row) => {
      if (column !== 3) return row[column];
      return row[3] === null ? null : BANDS.length - BANDS.indexOf(row[3]);
    };
    const order = new Intl.Collator(undefined, { numeric: true });
    return found.sort((a, b) => {
      const x = value(rows[a]), y = value(rows[b]);
      if (x === y) return a - b;
      if (x === null) return 1; // what has no value comes last, up or down
      if (y === null) return -1;
      return sign * (typeof x === "string" ? order.compare(x, y) : x - y) || a - b;
    });
  };
  const cell = (line, kind, content) => {
    const made = document.createElement("td");
    if (kind) made.className = kind;
    if (content instanceof Node) made.append(content);
    else if (content !== null && content !== "") made.textContent = content;
    line.append(made);
  };
  const line = (row) => {
    const made = document.createElement("tr");
    const verdict = document.createElement("span");
    verdict.className = "verdict " + (row[3] ?? "none");
    verdict.textContent = row[3] ?? row[2];
    cell(made, "", verdict);
    cell(made, "n", row[4] === null ? "" : row[4].toFixed(3));
    const name = document.createElement("bdi");
    name.textContent = row[0];
    let place = name;
    if (row[1] !== null) {
      place = document.createElement("a");
      place.href = "objects/" + row[1] + ".html";
      place.append(name);
    }
    cell(made, "path", place);
    cell(made, "n", row[6] === null ? "" : row[6].toFixed(1) + " s");
    cell(made, "n faces", row[7] ? String(row[7]) : "");
    cell(made, "what", row[9]);
    return made;
  };
  const show = (loud) => {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    const page = Math.min(Math.max(1, Number(state.page) || 1), pages);
    state.page = String(page);
    const first = (page - 1) * PER_PAGE;
    body.replaceChildren(...found.slice(first, first + PER_PAGE).map((i) => line(rows[i])));
    const n = new Intl.NumberFormat("en").format;
    told.textContent = found.length === rows.length ? `${n(rows.length)} objects` : `${n(found.length)} of ${n(rows.length)} objects`;
    where.textContent = `page ${n(page)} of ${n(pages)}`;
    back.disabled = page === 1;
    on.disabled = page === pages;
    for (const head of table.tHead.querySelectorAll("th[data-sort]")) {
      const own = head.dataset.sort === state.sort;
      if (own) head.setAttribute("aria-sort", state.down === "1" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    for (const key of FIELDS) if (form.elements[key].value !== state[key]) form.elements[key].value = state[key];
    form.elements.order.value = state.sort + " " + state.down;
    if (loud) toAddress();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  const filter = (event) => {
    const before = JSON.stringify(state);
    for (const key of FIELDS) state[key] = form.elements[key].value;
    if (event.target.name === "order") [state.sort, state.down] = event.target.value.split(" ");
    // a field that is left tells of its change again: to draw anew would take away the link that
    // the mouse is just pressed on
    if (JSON.stringify(state) === before) return;
    state.page = "1";
    show(true);
  };
  for (const kind of ["input", "change"]) form.addEventListener(kind, filter); // some tools send but one
  form.addEventListener("reset", () => { setTimeout(() => { state = { ...start }; show(true); }); });
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th[data-sort]");
    if (!head || event.target === head) return;
    const key = head.dataset.sort;
    const falls = key !== "object";
    state.down = state.sort === key ? (state.down === "1" ? "0" : "1") : falls ? "1" : "0";
    state.sort = key;
    state.page = "1";
    show(true);
  });
  const turn = (by) => { state.page = String(Number(state.page) + by); show(true); table.scrollIntoView({ block: "start" }); };
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  addEventListener("hashchange", () => { if (fromAddress()) { show(false); document.getElementById("objects").scrollIntoView(); } });
  document.getElementById("controls").hidden = false;
  if (fromAddress()) document.getElementById("objects").scrollIntoView();
  show(false);
})();
