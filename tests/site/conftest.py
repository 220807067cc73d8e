"""An archive that was really scanned, names that mean harm among it, and a real browser."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from selenium import webdriver

from dfd_batch import checkpoint as checkpoints
from dfd_batch import pipeline
from dfd_batch.demo.archive import OBJECTS
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, close_run, open_run
from dfd_batch.schema import REPORT
from dfd_batch.settings import Settings, load
from dfd_batch.stages import RunContext
from dfd_batch.verify import judged
from tests.e2e.detector import write_detector

HOSTILE = (
    "<img src=x onerror=window.pwned=1>.jpg",
    "</script><script>window.pwned=2</script>.jpg",  # a folder and a file
    "\"'`onmouseover=window.pwned=3 {{7*7}} ${7*7}.jpg",
    "javascript:window.pwned=4.jpg",
    "\u202egpj.exe\nnew\x1b[31mline&amp;\u2028.jpg",
    "up ..\u2215..\u2215etc\u2215passwd.jpg",
)
CHOSEN = (
    *("images/astronaut.jpg", "images/hopper.png", "images/cameraman.webp", "images/coffee.jpg"),
    *("clips/two_people.mp4", "clips/phone.mov", "clips/rocket.mp4"),
    *("broken/corrupt.mp4", "broken/empty.mp4", "broken/notes.mp4"),
)
"""Of the demo archive; five of them have no verdict."""
N_SCORED = len(CHOSEN) - 5 + len(HOSTILE)
N_ROWS = len(CHOSEN) + len(HOSTILE)


@dataclass(frozen=True)
class Scanned:
    """Where a scan wrote, what it read, and with which settings."""

    out: str
    archive: Path
    settings: Settings


def scan(archive: str, out: str, settings: Settings) -> None:
    """Scan as the pipeline does, through its stages, in this process instead of Ray's actors."""
    plan = pipeline.make_plan(archive, out, settings)
    found = checkpoints.load(settings.checkpoint)
    started = datetime.now(UTC)
    run = Run(f"{started:%Y%m%dT%H%M%S%f}-{plan.digest[:8]}", out, started)
    open_run(run, plan.table, archive, settings, found.card, plan.detector_id)
    context = RunContext(settings, out, run.run_id, plan.detector_id, run.scan_date, found)
    rows = pa.Table.from_pylist(list(judged(plan.table, context)), schema=REPORT)
    write_rows(rows, out, run.scan_date, run.run_id, settings.storage)
    close_run(run, plan.table, plan.counts(), plan.detector_id, 12.5, settings.storage)


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory, detector: str) -> Scanned:
    archive = tmp_path_factory.mktemp("archive")
    for made in OBJECTS:
        if made.name in CHOSEN:
            (archive / made.name).parent.mkdir(exist_ok=True)
            made.make(archive / made.name)
    with Image.open(archive / "images" / "astronaut.jpg") as whole:
        small = whole.crop((100, 0, 356, 256))
    for name in HOSTILE:
        path = archive / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small.save(path)
    settings = load({"checkpoint": detector, "sampling": {"coverage": "quick"}})
    out = str(tmp_path_factory.mktemp("out"))
    scan(str(archive), out, settings)
    return Scanned(out, archive, settings)


@pytest.fixture(scope="session")
def browser():
    """Start a headless Chromium; `apt-get install chromium chromium-driver`."""
    driver = shutil.which("chromedriver")
    assert driver, "These tests need Chromium: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1200,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
