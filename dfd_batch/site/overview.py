"""The site's first page: counts, scores, outcomes, throughput, the list, how to read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from dfd_batch.console.tables import found
from dfd_batch.console.text import printable
from dfd_batch.outcomes import Outcome
from dfd_batch.site import charts, render, words
from dfd_batch.site.detectors import Detectors, JudgedBy
from dfd_batch.site.selection import BANDS, STEPS, Selection, causes, common_folder

MAX_LISTED = 50_000
"""Rows that the list holds; about 15 MB of page."""
N_STATIC = 100
MAX_RUNS = 20
MAX_CARDS = 8
TILES = {
    "manipulated": "look at these first",
    "suspicious": "ask for a look",
    "inconclusive": "too little to tell",
    "authentic": "nothing found",
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Flagged:
    """A flagged object's page, as other pages speak of it."""

    page: str
    row: Row
    src: str | None
    alt: str


def overview(
    chosen: Selection,
    flagged: list[Flagged],
    n_flagged: int,
    detectors: Detectors,
    made: Row,
    notes: list[str],
) -> bytes:
    """Return the page.

    Args:
        chosen: The rows.
        flagged: Those with a page of their own, the most suspicious first.
        n_flagged: How many are suspicious or worse.
        detectors: Where their detectors are found.
        made: Of the footer.
        notes: Said at the top.
    """
    rows = chosen.rows
    listed = rows.slice(0, MAX_LISTED).to_pylist()
    n_rows = rows.num_rows
    folder = common_folder(rows["uri"].to_pylist())
    pages = {(f.row["media_id"], f.row["run_id"]): f.page for f in flagged}
    data = [_line(row, folder, pages) for row in listed]
    verdicts = chosen.counts("verdict")
    outcomes = chosen.counts("outcome")
    judged = _judged_by(chosen, detectors)
    scored = rows.filter(pc.is_valid(rows["probability"]))
    top = float(scored["probability"][0].as_py()) if scored.num_rows else 0.9
    runs = Counter(rows["run_id"].to_pylist())
    newest = sorted(runs, reverse=True)
    of_scored = Counter(scored["detector_id"].to_pylist())
    of_flagged = Counter(chosen.flagged("suspicious")["detector_id"].to_pylist())
    marks = [(d, d.detector_id) for d in judged]
    alarms = [words.false_alarms(d, of_scored[m], of_flagged[m]) for d, m in marks]
    return render.page(
        "index",
        headline=_headline(n_flagged, n_rows),
        subline=f"{chosen.told[:1].upper()}{chosen.told[1:]}; judged by "
        f"{', '.join(dict.fromkeys(d.title for d in judged)) or 'nothing yet'}.",
        notes=[*_warnings(judged), *notes],
        tiles=_tiles(verdicts, outcomes),
        cards=[_card(f, folder) for f in flagged[:MAX_CARDS]],
        folder=printable(folder),
        n_rows=n_rows,
        n_flagged=n_flagged,
        n_left_out=max(0, n_rows - len(listed)),
        static_of=len(listed),
        bands=BANDS,
        failures_by_outcome=[o for o in outcomes if o != Outcome.SCORED],
        static_rows=data[:N_STATIC],
        data={"rows": data, "words": {"bands": BANDS}},
        histogram=_histogram(scored, judged),
        n_scored=scored.num_rows,
        outcomes=outcomes,
        causes=[_cause(c, folder) for c in causes(rows)],
        runs=[words.run(r, detectors.account(r)) for r in newest[:MAX_RUNS]],
        n_more_runs=max(0, len(newest) - MAX_RUNS),
        work=_work(rows),
        prior=words.prior(top),
        calibrations=[words.calibration(d) for d in judged] + [a for a in alarms if a],
        detectors=[words.detector(d) for d in judged],
        made=made,
    )


def _headline(n_flagged: int, n_rows: int) -> str:
    if not n_rows:
        return "No object has been judged yet"
    objects = "object" if n_rows == 1 else "objects"
    if not n_flagged:
        return f"None of {n_rows:,} {objects} is flagged"
    asks = "asks" if n_flagged == 1 else "ask"
    return f"{n_flagged:,} of {n_rows:,} {objects} {asks} for a look"


def _tiles(verdicts: dict[str, int], outcomes: dict[str, int]) -> list[Row]:
    tiles = [
        {"tone": band, "n": verdicts.get(band, 0), "name": band, "told": TILES[band]}
        for band in BANDS
    ]
    n = sum(count for name, count in outcomes.items() if name != Outcome.SCORED)
    return [*tiles, {"tone": "none", "n": n, "name": "no verdict", "told": "could not be judged"}]


def _line(row: Row, folder: str, pages: dict[tuple[str, str], str]) -> list[Any]:
    probability, seconds = row["probability"], row["duration_s"]
    return [
        printable(row["uri"].removeprefix(folder)),
        pages.get((row["media_id"], row["run_id"])),
        row["outcome"],
        row["verdict"],
        None if probability is None else round(probability, 4),
        row["media"],
        None if seconds is None else round(seconds, 1),
        row["n_faces"] or 0,
        len(row["segments"] or []),
        _finding(row),
    ]


def _finding(row: Row) -> str:
    """Return what led to a row, without what the list's other columns say already."""
    if row["outcome"] == Outcome.SCORED and not row["segments"]:
        return row["media"] or ""
    return found(row).removeprefix(f"{row['outcome']}: ")


def _card(flagged: Flagged, folder: str) -> Row:
    row = flagged.row
    return {
        "page": flagged.page,
        "verdict": row["verdict"],
        "outcome": row["outcome"],
        "probability": row["probability"],
        "name": printable(row["uri"].removeprefix(folder)),
        "what": _finding(row),
        "src": flagged.src,
        "alt": flagged.alt,
    }


def _cause(cause: Row, folder: str) -> Row:
    row = cause["row"]
    message = (row["error_message"] or "").removeprefix(f"{row['uri']}: ")
    return {
        "outcome": cause["outcome"],
        "kind": printable(cause["kind"]),
        "n": cause["n"],
        "name": printable(row["uri"].removeprefix(folder)),
        "message": printable(message),
    }


def _judged_by(chosen: Selection, detectors: Detectors) -> list[JudgedBy]:
    """Return the detectors behind the rows, that of the newest rows first."""
    names = ["run_id", "detector_id", "detector"]
    pairs = chosen.rows.select(names).group_by(names).aggregate([([], "count_all")])
    newest: dict[str, Row] = {}
    for row in sorted(pairs.to_pylist(), key=lambda r: r["run_id"], reverse=True):
        newest.setdefault(row["detector_id"], row)
    return [detectors.of(row) for row in list(newest.values())[:MAX_RUNS]]


def _warnings(judged: list[JudgedBy]) -> list[str]:
    cards = [d.card for d in judged if d.card]
    told = [
        f"{c.name} {c.version} is a provisional detector: its verdicts are hints for a first "
        "look and no more."
        for c in cards
        if c.provisional
    ]
    if len({d.detector_id for d in judged}) > 1:
        told.append("Several detectors judged these objects; their scores do not share a scale.")
    return list(dict.fromkeys(told))


def _histogram(scored: Any, judged: list[JudgedBy]) -> charts.Histogram | None:
    if not scored.num_rows:
        return None
    shared = judged[0].card if len(judged) == 1 else None
    return charts.histogram(
        scored["probability"].to_pylist(),
        scored["verdict"].to_pylist(),
        shared.thresholds if shared else None,
    )


def _work(rows: Any) -> Any:
    def total(name: str) -> float:
        return pc.sum(rows[name]).as_py() or 0.0

    steps = [(name.removesuffix("_ms"), total(name) / 1000) for name in STEPS]
    return words.work(rows.num_rows, total("duration_s"), int(total("bytes_read")), steps)
