import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.views import VIEWS, chosen, query
from dfd_batch.reports.write import reports_uri, write_rows
from dfd_batch.schema import REPORT
from dfd_batch.settings import Settings, Storage

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STORAGE = Storage()


def row(name: str, probability: float | None = None, **other: Any) -> dict[str, Any]:
    verdict = None if probability is None else "manipulated" if probability > 0.8 else "authentic"
    known = {
        "media_id": f"id-{name}", "uri": f"/in/{name}", "outcome": "scored", "attempt": 1,
        "probability": probability, "verdict": verdict, "detector_id": "d1", "run_id": "r1",
        "scanned_at": NOON,
    }  # fmt: skip
    return dict.fromkeys(REPORT.names) | known | other


def write(out: str, *rows: dict[str, Any], run_id: str = "r1") -> None:
    table = pa.Table.from_pylist([r | {"run_id": run_id} for r in rows], schema=REPORT)
    write_rows(table, out, date(2026, 5, 4), run_id, STORAGE)


FACES = [
    {"track": 0, "probability": 0.9, "first_s": 0.0, "last_s": 2.0, "n_frames": 8, "box": None}
]
SPANS = [{"track": 0, "start_s": 0.5, "end_s": 1.5, "probability": 0.95}]
POINTS = [{"t_s": t / 2, "track": 0, "probability": 0.9} for t in range(4)]


@pytest.fixture(params=["folder", "bucket"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "out")
    return request.getfixturevalue("bucket") + "/out"


def test_every_view_answers_before_the_first_report(tmp_path: Path) -> None:
    for name in VIEWS:
        assert query(f"SELECT * FROM {name}", str(tmp_path), STORAGE).num_rows == 0


def test_views_hold_the_newest_row_of_each_object_and_its_parts(out: str) -> None:
    later = NOON + timedelta(hours=1)
    write(out, row("a.mp4", 0.1, segments=SPANS), row("b.mp4", 0.2))
    write(
        out,
        row("a.mp4", 0.9, scanned_at=later, faces=FACES, segments=SPANS, timeline=POINTS),
        row("c.mp4", outcome="throttled", error_kind="SlowDown"),
        run_id="r2",
    )
    found = query("SELECT uri, verdict, run_id FROM verdicts ORDER BY uri", out, STORAGE)
    assert found.to_pylist() == [
        {"uri": "/in/a.mp4", "verdict": "manipulated", "run_id": "r2"},
        {"uri": "/in/b.mp4", "verdict": "authentic", "run_id": "r1"},
        {"uri": "/in/c.mp4", "verdict": None, "run_id": "r2"},
    ]
    counts = {
        name: query(f"SELECT count(*) AS n FROM {name}", out, STORAGE)["n"][0].as_py()
        for name in ("report", "verdicts", "faces", "segments", "timeline", "outcomes")
    }
    assert counts == {
        "report": 4, "verdicts": 3, "faces": 1, "segments": 1, "timeline": 4, "outcomes": 4,
    }  # fmt: skip
    again = query("SELECT uri FROM outcomes WHERE retryable", out, STORAGE)
    assert again.to_pylist() == [{"uri": "/in/c.mp4"}]


def test_verdicts_are_those_that_the_other_readers_show(tmp_path: Path) -> None:
    """Ties end as they do for the plan: the later attempt, then the final outcome."""
    out = str(tmp_path)
    write(out, row("a", 0.9), row("b", outcome="timeout", attempt=2), row("c", 0.3))
    write(out, row("a", outcome="timeout"), row("b", 0.2), row("c", 0.4, attempt=2), run_id="r2")
    columns = ["uri", "outcome", "probability", "attempt"]
    shown = read.latest(reports_uri(out), STORAGE, columns, by=read.URI_KEY).sort_by("uri")
    asked = query(f"SELECT {', '.join(columns)} FROM verdicts ORDER BY uri", out, STORAGE)
    assert asked.to_pylist() == shown.to_pylist()


def test_a_later_failure_hides_no_verdict_of_the_same_content_and_detector(out: str) -> None:
    later = NOON + timedelta(hours=1)
    write(out, row("a", 0.9), row("b", 0.9), row("c", 0.9))
    write(
        out,
        row("a", outcome="timeout", scanned_at=later),
        row("b", outcome="timeout", scanned_at=later, media_id="id-of another content"),
        row("c", outcome="timeout", scanned_at=later, detector_id="d2"),
        run_id="r2",
    )
    asked = query("SELECT uri, outcome FROM verdicts ORDER BY uri", out, STORAGE).to_pylist()
    assert [found["outcome"] for found in asked] == ["scored", "timeout", "timeout"]
    reports = reports_uri(out)
    shown = read.latest(reports, STORAGE, ["uri", "outcome"], by=read.URI_KEY).sort_by("uri")
    assert shown.to_pylist() == asked
    each = read.latest(reports, STORAGE, ["uri", "outcome"])
    kept = {(found["uri"], found["outcome"]) for found in each.to_pylist()}
    assert kept == {
        ("/in/a", "scored"), ("/in/b", "scored"), ("/in/b", "timeout"), ("/in/c", "scored"),
        ("/in/c", "timeout"),
    }  # fmt: skip


def test_a_condition_chooses_whole_report_rows(out: str) -> None:
    write(out, row("a.mp4", 0.9, faces=FACES), row("b.mp4", 0.2))
    found = chosen(out, STORAGE, "probability > 0.5 -- the bad ones")
    assert found.schema.equals(REPORT, check_metadata=False)
    assert found["uri"].to_pylist() == ["/in/a.mp4"]
    assert found["scanned_at"][0].as_py() == NOON
    assert chosen(out, STORAGE, "verdict = 'authentic'", ["uri"])["uri"].to_pylist() == [
        "/in/b.mp4"
    ]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", "SELEC"),
        ("SELECT nope FROM verdicts", "nope"),
        ("SELECT * FROM verdict", "There are the views report, verdicts"),
        ("SELECT 1; SELECT 2", "one SQL statement; there are 2"),
        ("", "one SQL statement; there are 0"),
        ("LOAD httpfs", "httpfs"),
    ],
)
def test_bad_sql_is_said_in_a_sentence(tmp_path: Path, sql: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        query(sql, str(tmp_path), STORAGE)


def test_a_name_in_sql_is_never_a_variable_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="storage"):
        query("SELECT * FROM storage", str(tmp_path), STORAGE)


def test_runs_tell_what_their_folders_hold(out: str) -> None:
    from dfd_batch import storage as stores

    folder = stores.join(out, "runs")
    told = {
        "run_id": "r1", "source": "/in", "started_at": "2026-05-04T14:00:00+02:00",
        "detector_id": "d1", "detector": {"name": "toy", "version": "1", "sha256": ""},
        "settings": Settings().model_dump(mode="json"),
    }  # fmt: skip
    stores.write_bytes(stores.join(folder, "r1", "run.json"), json.dumps(told).encode(), STORAGE)
    ended = json.dumps({"n_manifest": 3, "n_reported": 3, "reconciled": True, "elapsed_s": 1.5})
    stores.write_bytes(stores.join(folder, "r1", "summary.json"), ended.encode(), STORAGE)
    stores.write_bytes(stores.join(folder, "r2", "run.json"), json.dumps(told).encode(), STORAGE)
    found = query(
        "SELECT run_id, started_at, finished, n_reported, detector FROM runs ORDER BY 1",
        out,
        STORAGE,
    ).to_pylist()
    assert [(r["run_id"], r["finished"], r["n_reported"]) for r in found] == [
        ("r1", True, 3),
        ("r2", False, None),
    ]
    assert found[0]["started_at"] == datetime(2026, 5, 4, 12) and found[0]["detector"] == "toy 1"
