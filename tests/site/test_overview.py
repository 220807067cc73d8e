"""What the first page says of several detectors and of many runs."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from dfd_batch import checkpoint as checkpoints
from dfd_batch.checkpoint import Metric, ModelCard, OperatingPoint
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, open_run
from dfd_batch.schema import MANIFEST, REPORT
from dfd_batch.settings import Settings, Storage
from dfd_batch.site.build import Pictures, Wanted, build

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def scan(out, name, rate, scores, hour):
    """Leave behind what a scan by a calibrated detector does."""
    point = OperatingPoint(
        target_fpr=rate, n_images=400, n_videos=0, coverage="standard", date="2026-05-01",
        base="toy 1", command="dfd calibrate",
    )  # fmt: skip
    alarms = Metric(
        name="false alarm rate, suspicious", data="", value=rate, n=400, command="dfd calibrate"
    )
    card = ModelCard(
        name=name, version="1", description="", weights_sha256=name, metrics=(alarms,),
        operating_point=point,
    )  # fmt: skip
    settings, began = Settings(), NOON + timedelta(hours=hour)
    detector = checkpoints.detector_id(card, *settings.judging)
    run = Run(f"{began:%Y%m%dT%H%M%S}-aa", out, began)
    open_run(run, MANIFEST.empty_table(), "/in", settings, card, detector)
    rows = [
        dict.fromkeys(REPORT.names)
        | {
            "media_id": f"{hour}-{i}", "uri": f"/in/{hour}-{i}.jpg", "outcome": "scored",
            "probability": p, "verdict": "suspicious" if p > 0.6 else "authentic",
            "detector_id": detector, "detector": f"{name} 1", "run_id": run.run_id,
            "scanned_at": began, "attempt": 1, "media": "image",
        }
        for i, p in enumerate(scores)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=REPORT)
    write_rows(table, out, began.date(), run.run_id, Storage())


def page(out, site):
    build(Wanted(out, str(site), pictures=Pictures.NONE, limit=0), Settings())
    return " ".join((site / "index.html").read_text(encoding="utf-8").split())


def test_each_detector_answers_for_its_own_objects_alone(tmp_path):
    out = str(tmp_path / "out")
    scan(out, "old", 0.1, [0.1] * 28 + [0.7, 0.8], hour=0)
    scan(out, "new", 0.02, [0.1] * 49 + [0.9], hour=1)
    told = page(out, tmp_path / "site")
    assert "Were all 30 objects that old 1 judged genuine, about 3 of them would" in told
    assert "Were all 50 objects that new 1 judged genuine, about 1 of them would" in told
    assert "flagged all the same; 2 are." in told and "flagged all the same; 1 are." in told


def test_a_detector_is_named_however_many_runs_came_after_it(tmp_path):
    out = str(tmp_path / "out")
    scan(out, "old", 0.1, [0.1], hour=0)
    for hour in range(1, 25):
        scan(out, "new", 0.02, [0.1], hour)
    assert "Several detectors judged these objects" in page(out, tmp_path / "site")
