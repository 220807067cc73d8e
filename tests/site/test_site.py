"""A site of a real scan in a real browser."""

import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.dataset as ds
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from dfd_batch.console.text import printable
from dfd_batch.outcomes import UsageError
from dfd_batch.site.build import Pictures, Wanted, build
from tests.site.conftest import HOSTILE, N_ROWS, N_SCORED
from tests.site.pages import (
    Elements,
    assert_quiet,
    axe,
    column,
    dark,
    follow,
    opened,
    pictures,
    told,
)

pytestmark = pytest.mark.slow


def make(scanned, site, **wanted):
    return build(Wanted(scanned.out, str(site), least="authentic", **wanted), scanned.settings)


@pytest.fixture(scope="module")
def site(scanned, tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    return place, make(scanned, place)


def reported(out):
    return ds.dataset(Path(out) / "reports", format="parquet").to_table().to_pylist()


def page_of(site, name):
    """Return the page of the object whose title ends so."""
    for path in sorted((site / "objects").glob("*.html")):
        if f": {name}</title>" in path.read_text(encoding="utf-8"):
            return path
    raise AssertionError(f"no page of {name}")


def test_it_opens_from_disk_with_pictures_and_without_a_word_on_the_console(site, browser):
    place, done = site
    assert done.n_pages == len(list((place / "objects").iterdir())) == N_SCORED
    assert done.n_rows == N_ROWS and not done.not_shown and not done.left_over
    for path in [place / "index.html", page_of(place, "two_people.mp4")]:
        opened(browser, path)
        sizes = browser.execute_script(
            "return [...document.images].map(i => [i.complete && i.naturalWidth, i.alt.length])"
        )
        assert len(sizes) >= 8 and all(width > 0 and alt > 5 for width, alt in sizes)
    assert len(column(browser, 0)) == 0  # an object's page has no list


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("width", [1200, 390])
def test_accessible_in_light_and_dark_wide_and_narrow(site, browser, on, width):
    place, _ = site
    dark(browser, on)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for path in [place / "index.html", page_of(place, "two_people.mp4")]:
            opened(browser, path)
            script = "return getComputedStyle(document.body).backgroundColor"
            (red,) = re.findall(r"rgb\((\d+)", browser.execute_script(script))
            assert (int(red) < 60) == on
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert axe(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        dark(browser, False)


def test_the_list_sorts_by_click_and_by_keyboard(site, browser):
    opened(browser, site[0] / "index.html")
    scores = [float(p) for p in column(browser, 1) if p]
    assert len(scores) == N_SCORED and scores == sorted(scores, reverse=True)
    head = browser.find_element(By.CSS_SELECTOR, "th[data-sort=probability]")
    head.find_element(By.TAG_NAME, "button").click()
    again = [float(p) for p in column(browser, 1) if p]
    assert again == sorted(scores) and head.get_attribute("aria-sort") == "ascending"
    assert column(browser, 1)[-5:] == [""] * 5  # without a score: last, up or down
    name = browser.find_element(By.CSS_SELECTOR, "th[data-sort=object] button")
    name.send_keys(Keys.ENTER)
    order = column(browser, 2)
    assert order != sorted(order, reverse=True) and order[0].startswith("broken/")
    assert head.get_attribute("aria-sort") is None
    assert_quiet(browser)


def test_the_list_filters_and_the_address_keeps_it(site, browser):
    opened(browser, site[0] / "index.html")
    browser.find_element(By.NAME, "q").send_keys("CLIPS/")
    assert len(column(browser, 0)) == 3 and told(browser) == f"3 of {N_ROWS} objects"
    Select(browser.find_element(By.NAME, "verdict")).select_by_value("no_face")
    assert column(browser, 2) == ["clips/rocket.mp4"]
    browser.refresh()
    assert column(browser, 2) == ["clips/rocket.mp4"]
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    browser.find_element(By.CSS_SELECTOR, ".tiles a.none").click()
    assert len(column(browser, 0)) == 5 and set(column(browser, 1)) == {""}
    Select(browser.find_element(By.NAME, "media")).select_by_value("image")
    assert column(browser, 2) == ["images/coffee.jpg"]
    assert_quiet(browser)


def test_a_first_tab_skips_to_the_content(site, browser):
    opened(browser, site[0] / "index.html")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("href").endswith("#main")


def test_an_object_page_shows_what_was_judged_in_time_order(site, browser):
    place, _ = site
    opened(browser, place / "index.html")
    listed = browser.find_element(By.ID, "list")
    follow(browser, listed.find_element(By.PARTIAL_LINK_TEXT, "two_people"))
    assert_quiet(browser)
    strips = browser.find_elements(By.CSS_SELECTOR, ".strip")
    assert len(strips) == 2  # two people
    for strip in strips:
        times = [float(c.text.split(" s")[0])
                 for c in strip.find_elements(By.TAG_NAME, "figcaption")]  # fmt: skip
        assert len(times) == 12 and times == sorted(times) and times[-1] > 2
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg .track.t0")) == 1
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg .dot.t1")) == 48
    moments = browser.find_elements(By.CSS_SELECTOR, ".moment")
    assert 2 <= len(moments) <= 4
    shapes = [picture.shape for picture in pictures(page_of(place, "two_people.mp4"))]
    assert shapes[:3] == [(360, 640, 3), (288, 288, 3), (288, 288, 3)]
    text = browser.find_element(By.TAG_NAME, "main").text
    for said in ("no proof", "for-tests 0", "random weights", "not calibrated"):
        assert said in text
    follow(browser, browser.find_element(By.PARTIAL_LINK_TEXT, "All objects"))
    assert browser.current_url.endswith("/index.html")


def test_the_outlined_face_is_the_crop_beside_it(scanned, site):
    """The crop is searched for in the frame; it is found around the reported box."""
    (row,) = (r for r in reported(scanned.out) if r["uri"].endswith("hopper.png"))
    frame, crop, _ = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)
                      for p in pictures(page_of(site[0], "hopper.png"))[:3])  # fmt: skip
    scale = max(frame.shape) / max(row["width"], row["height"])
    box = {side: value * scale for side, value in row["faces"][0]["box"].items()}
    height, x, y = box["y1"] - box["y0"], *((box[f"{a}0"] + box[f"{a}1"]) / 2 for a in "xy")
    best = (0.0, 0.0, 0.0)
    for side in np.linspace(0.7 * height, 1.3 * height, 25).astype(int):
        found = cv2.matchTemplate(frame, cv2.resize(crop, (side, side)), cv2.TM_CCOEFF_NORMED)
        _, score, _, (left, top) = cv2.minMaxLoc(found)
        best = max(best, (score, left + side / 2, top + side / 2))
    assert best[0] > 0.9
    assert abs(best[1] - x) < 0.2 * height and abs(best[2] - y) < 0.2 * height
    coloured = pictures(page_of(site[0], "hopper.png"))[0].astype(int)
    edge = coloured[round(y), round(box["x0"]) - 1 : round(box["x0"]) + 2]
    assert (edge[:, 0] - edge[:, 1]).max() > 90  # red


def test_names_that_mean_harm_stay_text(site, browser):
    place, _ = site
    for path in [place / "index.html", *(place / "objects").glob("*.html")]:
        elements = Elements(path).found
        assert sum(tag == "script" for tag, _ in elements) == (
            2 if path.name == "index.html" else 0
        )
        assert not [a for _, attrs in elements for a in attrs if a.startswith("on") or a == "style"]
        for tag, attrs in elements:
            source = attrs.get("src")
            assert source is None or source.startswith("data:image/"), (tag, source)
            target = attrs.get("href")
            assert target is None or re.fullmatch(
                r"#[\w=&-]*|data:,|\.\./index\.html|(objects/)?[0-9a-f]{32}\.html", target
            ), (tag, target)
        (policy,) = (a["content"] for t, a in elements if "http-equiv" in a)
        assert "default-src 'none'" in policy and "unsafe" not in policy
    opened(browser, place / "index.html")
    shown = column(browser, 2)
    for name in HOSTILE:
        assert f"images/{printable(name)}" in shown
    browser.find_element(By.NAME, "q").send_keys("</script><script>")
    assert column(browser, 2) == [f"images/{HOSTILE[1]}"]
    follow(browser, browser.find_element(By.CSS_SELECTOR, "#list tbody a"))
    assert browser.find_element(By.TAG_NAME, "h1").text == "script>.jpg"
    assert_quiet(browser)


def test_the_policy_stops_a_script_that_got_in(site, browser):
    opened(browser, site[0] / "index.html")
    script = """
      const attempts = [
        () => { document.body.append(Object.assign(document.createElement('script'),
                                                   {textContent: 'window.pwned = 1'})); },
        () => { const made = document.createElement('img');
                made.setAttribute('onerror', 'window.pwned = 2');
                made.src = 'file:///nowhere.png';
                document.body.append(made); },
        () => { document.body.insertAdjacentHTML('beforeend', '<svg onload="pwned = 3">'); },
      ];
      for (const attempt of attempts) { try { attempt(); } catch { /* refused at once */ } }
    """
    browser.execute_script(script)
    assert browser.execute_async_script(
        "const done = arguments[0]; setTimeout(() => done(window.pwned ?? null), 300)"
    ) is None  # fmt: skip
    said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "Trusted" in said or "Content Security Policy" in said


def detail(picture: np.ndarray) -> float:
    """Return the mean difference of neighbouring pixels."""
    return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())


def test_blurred_pictures_hold_no_face(scanned, site, tmp_path):
    make(scanned, tmp_path, pictures=Pictures.BLURRED, where="uri LIKE '%/phone.mov'")
    (path,) = (tmp_path / "objects").iterdir()
    clear, blurred = pictures(site[0] / "objects" / path.name), pictures(path)
    assert len(clear) == len(blurred)
    for sharp, soft in zip(clear, blurred, strict=True):
        assert sharp.shape == soft.shape
        assert detail(soft) < 0.6 * detail(sharp)
    crop = blurred[1]
    assert len(crop) == 288
    # seven pixels' worth: little is lost by reducing it to eight and enlarging it again
    few = cv2.resize(cv2.resize(crop, (8, 8), interpolation=cv2.INTER_AREA), crop.shape[:2],
                     interpolation=cv2.INTER_CUBIC)  # fmt: skip
    assert np.abs(crop.astype(float) - few).mean() < 6
    assert 'alt="Blurred: ' in path.read_text(encoding="utf-8")


def test_without_pictures_the_media_are_not_read(scanned, tmp_path, monkeypatch):
    monkeypatch.setattr("dfd_batch.site.build.Looker", None)
    done = make(scanned, tmp_path, pictures=Pictures.NONE)
    assert done.n_pages == N_SCORED
    for path in tmp_path.rglob("*.html"):
        assert "<img" not in path.read_text(encoding="utf-8")
    assert "<polyline" in page_of(tmp_path, "phone.mov").read_text(encoding="utf-8")


def test_an_object_that_changed_is_said_to_have_changed_and_one_that_is_gone_to_be_gone(
    scanned, tmp_path
):
    victims = [scanned.archive / "images" / n for n in ("hopper.png", "cameraman.webp")]
    kept = [(p, tmp_path / p.name, p.stat()) for p in victims]
    for path, copy, _ in kept:
        shutil.copy(path, copy)
    try:
        shutil.copy(scanned.archive / "images" / "astronaut.jpg", victims[0])
        victims[1].unlink()
        done = make(scanned, tmp_path / "site", where="uri LIKE '%hopper.png' OR uri LIKE '%.webp'")
    finally:
        for path, copy, told_of in kept:
            shutil.copy(copy, path)
            os.utime(path, ns=(told_of.st_atime_ns, told_of.st_mtime_ns))
    assert done.n_pages == 2 and len(done.not_shown) == 2
    changed, gone = (
        page_of(tmp_path / "site", n).read_text(encoding="utf-8")
        for n in ("hopper.png", "cameraman.webp")
    )
    assert "changed since it was judged" in changed and "missing" in gone
    assert pictures(page_of(tmp_path / "site", "hopper.png")) == []


def test_a_detector_that_is_gone_leaves_the_verdicts(scanned, tmp_path, detector):
    other = str(tmp_path / "elsewhere")
    Path(detector).rename(other)
    try:
        done = make(scanned, tmp_path / "a", where="uri LIKE '%phone.mov'")
        assert "was not found" in next(iter(done.not_shown.values()))
        moved = scanned.settings.model_copy(update={"checkpoint": other})
        wanted = Wanted(scanned.out, str(tmp_path / "b"), least="authentic",
                        where="uri LIKE '%phone.mov'")  # fmt: skip
        assert not build(wanted, moved).not_shown
    finally:
        Path(other).rename(detector)


def test_an_older_site_at_the_same_place_is_told(scanned, tmp_path):
    make(scanned, tmp_path, pictures=Pictures.NONE)
    done = make(scanned, tmp_path, pictures=Pictures.NONE, where="media = 'video'")
    assert done.left_over == N_SCORED - done.n_pages > 0


def test_limit_and_least_bound_the_pages_and_the_page_says_so(scanned, tmp_path):
    done = make(scanned, tmp_path, pictures=Pictures.NONE, limit=2)
    assert done.n_pages == 2
    told_of = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "the 2 most suspicious have a page" in told_of


def test_nothing_to_tell_is_one_sentence(scanned, tmp_path):
    with pytest.raises(UsageError, match="No row to report"):
        make(scanned, tmp_path, where="uri = 'nobody'")
    with pytest.raises(UsageError, match="No run 'x'"):
        make(scanned, tmp_path, run_id="x")


def test_a_runs_rows_by_the_beginning_of_its_id(scanned, tmp_path):
    (run,) = (p.name for p in (Path(scanned.out) / "runs").iterdir())
    done = make(scanned, tmp_path, pictures=Pictures.NONE, run_id=run[:12])
    assert done.n_rows == N_ROWS
    assert f"rows of run {run}" in (tmp_path / "index.html").read_text(encoding="utf-8")
