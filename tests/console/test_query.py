import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from dfd_batch import checkpoint as checkpoints
from dfd_batch.checkpoint import Metric, ModelCard, OperatingPoint, Thresholds
from dfd_batch.cli import app
from dfd_batch.reports.questions import QUESTIONS
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, open_run
from dfd_batch.schema import MANIFEST, REPORT
from dfd_batch.settings import Settings, Storage

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
BANDS = Thresholds(inconclusive=0.5, suspicious=0.7, manipulated=0.9)
RATES = {"inconclusive": (0.04, 0.02, 0.06), "suspicious": (0.01, 0.005, 0.02)}
POINT = OperatingPoint(
    target_fpr=0.01, n_images=400, n_videos=0, coverage="standard", date="2026-05-01",
    base="toy 1", command="dfd calibrate",
)  # fmt: skip


def card(calibrated: bool) -> ModelCard:
    metrics = tuple(
        Metric(
            name=f"false alarm rate, {b}", data="mine", value=v, low=lo, high=hi, n=400, command=""
        )
        for b, (v, lo, hi) in RATES.items()
    )
    return ModelCard(
        name="toy", version="1", description="", thresholds=BANDS,
        operating_point=POINT if calibrated else None, metrics=metrics if calibrated else (),
    )  # fmt: skip


def scan(out: str, scores: Any, hour: int = 0, calibrated: bool = True, **other: Any) -> str:
    """Leave behind what a scan does: run.json and report rows, one object per score."""
    judge, settings = card(calibrated), Settings()
    detector = checkpoints.detector_id(judge, *settings.judging)
    began = NOON + timedelta(hours=hour)
    run = Run(f"{began:%Y%m%dT%H%M%S}-aa", out, began)
    open_run(run, MANIFEST.empty_table(), "/in", settings, judge, detector)
    rows = [
        dict.fromkeys(REPORT.names)
        | {
            "media_id": f"{hour}-{i}", "uri": f"/in/{'ab'[i % 2]}/{hour}-{i}.jpg",
            "outcome": "scored", "probability": float(p), "attempt": 1, "media": "image",
            "verdict": ["authentic", "inconclusive", "suspicious", "manipulated"][
                int(np.searchsorted([0.5, 0.7, 0.9], p, side="right"))
            ],
            "detector_id": detector, "run_id": run.run_id, "scanned_at": began,
            "size_bytes": 10**9, "decode_ms": 3.6e3, "embed_ms": 7.2e3,
        }
        | other
        for i, p in enumerate(scores)
    ]  # fmt: skip
    write_rows(
        pa.Table.from_pylist(rows, schema=REPORT), out, date(2026, 5, 4), run.run_id, Storage()
    )
    return detector


def dfd(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["query", *map(str, arguments)])


def answers(*arguments: object) -> list[dict[str, Any]]:
    done = dfd(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_answers_with_and_without_reports(tmp_path: Path, name: str) -> None:
    assert answers(name, "-o", tmp_path / "none") == []
    scan(str(tmp_path / "out"), [0.1, 0.6, 0.95])
    done = dfd(name, "-o", tmp_path / "out")
    assert done.exit_code == 0 and "rows" in done.output, done.output


def test_the_worst_come_first_below_a_prefix(tmp_path: Path) -> None:
    scan(str(tmp_path), [0.2, 0.95, 0.75, 0.1])
    found = answers("worst", "-o", tmp_path, "--set", "limit=1")
    assert [(r["uri"], r["probability"]) for r in found] == [("/in/b/0-1.jpg", 0.95)]
    below = answers("worst", "-o", tmp_path, "--set", "prefix=/in/a/")
    assert [r["probability"] for r in below] == [0.75, 0.2]


def test_folders_and_days_are_counted(tmp_path: Path) -> None:
    scan(str(tmp_path), [0.2, 0.95, 0.75, 0.1])
    scan(str(tmp_path), [0.2], hour=20)
    folders = {r["folder"]: r for r in answers("by-prefix", "-o", tmp_path)}
    assert folders["/in/b/"]["manipulated"] == 1 and folders["/in/a/"]["suspicious"] == 1
    days = answers("by-day", "-o", tmp_path)
    assert [(d["day"], d["objects"]) for d in days] == [("2026-05-05", 1), ("2026-05-04", 4)]


def test_failures_are_counted_by_cause(tmp_path: Path) -> None:
    lost = {"verdict": None, "probability": None}
    scan(str(tmp_path), [0, 0], outcome="throttled", error_kind="SlowDown", **lost)
    scan(str(tmp_path), [0], 1, outcome="unreadable", error_kind="moov", **lost)
    found = answers("failures", "-o", tmp_path)
    assert [(r["outcome"], r["error_kind"], r["objects"], r["retryable"]) for r in found] == [
        ("throttled", "SlowDown", 2, True),
        ("unreadable", "moov", 1, False),
    ]


def test_drift_is_small_between_like_runs_and_large_between_unlike_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scan(str(tmp_path), rng.beta(2, 6, 300))
    scan(str(tmp_path), rng.beta(2, 6, 300), hour=1)
    scan(str(tmp_path), rng.beta(6, 2, 300), hour=2)
    third, second, first = answers("drift", "-o", tmp_path)
    assert first["psi"] is None and second["psi"] < 0.25 and third["psi"] > 1
    assert third["previous"] == second["run_id"]
    assert third["flagged_low"] < third["flagged"] < third["flagged_high"]


def test_prevalence_takes_off_the_false_alarms(tmp_path: Path) -> None:
    scan(str(tmp_path), [0.1] * 900 + [0.8] * 100)
    (found,) = answers("prevalence", "-o", tmp_path)
    assert found["prevalence"] == pytest.approx((0.1 - 0.01) / (1 - 0.01), abs=1e-4)
    assert found["prevalence_low"] < found["prevalence"] < found["prevalence_high"]
    (found,) = answers("prevalence", "-o", tmp_path, "--set", "detection_rate=0.5")
    assert found["prevalence"] == pytest.approx((0.1 - 0.01) / (0.5 - 0.01), abs=1e-4)


def test_nothing_is_said_of_false_alarms_without_a_calibration(tmp_path: Path) -> None:
    scan(str(tmp_path), [0.1] * 9 + [0.8], calibrated=False)
    (found,) = answers("prevalence", "-o", tmp_path)
    assert found["prevalence"] is None and "dfd calibrate" in found["note"]
    assert found["flagged_share"] == 0.1
    alarms = answers("false-alarms", "-o", tmp_path)
    assert [a["expected_false_alarms"] for a in alarms] == [None] * 3


def test_false_alarms_are_expected_as_the_calibration_says(tmp_path: Path) -> None:
    scan(str(tmp_path), [0.1] * 190 + [0.6] * 6 + [0.8] * 4)
    found = {a["band"]: a for a in answers("false-alarms", "-o", tmp_path)}
    assert found["inconclusive"]["flagged"] == 10 and found["suspicious"]["flagged"] == 4
    assert found["suspicious"]["expected_false_alarms"] == 2.0
    assert found["suspicious"]["expected_high"] == 4.0
    assert "too few" in found["manipulated"]["note"]


def test_cost_is_work_per_size(tmp_path: Path) -> None:
    scan(str(tmp_path), [0.1] * 10)
    (found,) = answers("cost", "-o", tmp_path, "--set", "price_per_hour=0.1")
    assert found["hours_per_tb"] == pytest.approx(3.0) and found["cost_per_tb"] == 0.3


def test_changes_between_detectors(tmp_path: Path) -> None:
    old = scan(str(tmp_path), [0.1, 0.5])
    scan(str(tmp_path), [0.9, 0.55], hour=1, media_id="0-0", detector_id="d2", uri="/in/a/0-0.jpg")
    (found,) = answers("changes", "-o", tmp_path)
    assert found["detector_before"] == old and found["verdict_before"] == "authentic"


def test_formats_hold_the_same_rows(tmp_path: Path, bucket: str) -> None:
    out = f"{bucket}/out"
    scan(out, [0.2, 0.95], uri='/in/a,"b"\n.jpg', segments=[])
    sql = "SELECT uri, probability, segments, scanned_at FROM report ORDER BY probability"
    rows = answers(sql, "-o", out)
    assert [r["probability"] for r in rows] == [0.2, 0.95]
    told = list(csv.DictReader(io.StringIO(dfd(sql, "-o", out, "-f", "csv").stdout)))
    assert [r["uri"] for r in told] == [r["uri"] for r in rows] and told[0]["segments"] == "[]"
    done = dfd(sql, "-o", out, "-f", "parquet", "--to", tmp_path / "a.parquet")
    assert done.exit_code == 0
    assert pq.read_table(tmp_path / "a.parquet")["probability"].to_pylist() == [0.2, 0.95]
    assert dfd(sql, "-o", out, "-f", "csv", "--to", f"{bucket}/answer.csv").exit_code == 0
    assert "2 rows" in dfd(sql, "-o", out).stdout


def test_columns_of_one_name_are_numbered(tmp_path: Path) -> None:
    sql = "SELECT 1 AS uri, 2 AS uri_2, 3 AS uri, 4 AS uri"
    told = answers(sql, "-o", tmp_path)
    assert told == [{"uri": 1, "uri_2": 2, "uri_3": 3, "uri_4": 4}]
    shown = dfd(sql, "-o", tmp_path)
    assert shown.exit_code == 0 and "uri_4" in shown.output


def test_the_list_names_every_question_and_view(tmp_path: Path) -> None:
    told = dfd("--list").stdout
    listed = json.loads(dfd("--list", "--json").stdout)
    assert set(listed["questions"]) == set(QUESTIONS)
    assert {"verdicts", "faces", "timeline", "segments", "outcomes", "runs", "actions"} <= set(
        listed["views"]
    )
    for name in QUESTIONS:
        assert name in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wurst"], "There is no question 'wurst'"),
        (["worst", "--set", "top=1"], "has no 'top' to set; it has prefix, limit"),
        (["worst", "--set", "limit"], "NAME=VALUE"),
        (["worst", "--format", "xml"], "table, csv, json or parquet"),
        (["SELECT * FROM nothing"], "There are the views"),
        ([], "--list"),
    ],
)
def test_bad_questions_are_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = dfd(*arguments, "-o", tmp_path)
    assert done.exit_code == 2 and said in done.stderr
