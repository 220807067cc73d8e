from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.outcomes import UsageError
from dfd_batch.reports.read import URI_KEY, find, latest, run_rows, run_summary
from dfd_batch.reports.write import reports_uri, write_rows
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STORAGE = Storage()


def row(media_id: str, uri: str, **other: Any) -> dict[str, Any]:
    empty = dict.fromkeys(REPORT.names)
    known = {"outcome": "scored", "detector_id": "d1", "run_id": "r1", "attempt": 1}
    return empty | known | {"media_id": media_id, "uri": uri, "scanned_at": NOON} | other


def write(out: Path, *rows: dict[str, Any], run_id: str = "r1") -> str:
    table = pa.Table.from_pylist([r | {"run_id": run_id} for r in rows], schema=REPORT)
    write_rows(table, str(out), date(2026, 5, 4), run_id, STORAGE)
    return reports_uri(str(out))


def test_no_reports_are_no_rows(tmp_path: Path) -> None:
    table = latest(str(tmp_path / "reports"), STORAGE)
    assert table.num_rows == 0
    assert table.schema.equals(REPORT)


def test_the_newest_row_of_overlapping_runs_counts(tmp_path: Path) -> None:
    write(tmp_path, row("a", "/x/a.mp4", probability=0.1), run_id="r1")
    later = NOON + timedelta(hours=1)
    reports = write(tmp_path, row("a", "/x/a.mp4", probability=0.9, scanned_at=later), run_id="r2")
    table = latest(reports, STORAGE, ["media_id", "probability"])
    assert table.to_pylist() == [{"media_id": "a", "probability": 0.9}]


def test_each_detector_keeps_its_row_unless_asked_by_uri(tmp_path: Path) -> None:
    later = NOON + timedelta(hours=1)
    reports = write(
        tmp_path,
        row("a", "/x/a.mp4", detector_id="d1"),
        row("a", "/x/a.mp4", detector_id="d2", scanned_at=later),
    )
    assert latest(reports, STORAGE).num_rows == 2
    assert latest(reports, STORAGE, ["detector_id"], by=URI_KEY).to_pylist() == [
        {"detector_id": "d2"}
    ]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("de"), st.integers(0, 5)), max_size=20
    )
)
def test_latest_is_the_row_with_the_greatest_time(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, str, int]]
) -> None:
    out = tmp_path_factory.mktemp("out")
    expected: dict[tuple[str, str], int] = {}
    for number, (media, detector, hours) in enumerate(told):
        scanned_at = NOON + timedelta(hours=hours)
        write(
            out,
            row(media, f"/{media}", detector_id=detector, scanned_at=scanned_at),
            run_id=f"r{number}",
        )
        expected[media, detector] = max(hours, expected.get((media, detector), 0))
    found = latest(reports_uri(str(out)), STORAGE, ["media_id", "detector_id", "scanned_at"])
    assert {
        (r["media_id"], r["detector_id"]): (r["scanned_at"] - NOON) // timedelta(hours=1)
        for r in found.to_pylist()
    } == expected
    assert found.num_rows == len(expected)


def test_columns_an_older_file_lacks_are_null_and_a_newer_files_extra_ones_are_left_out(
    tmp_path: Path,
) -> None:
    reports = write(tmp_path, row("new", "/x/new.mp4", integrity=0.5), run_id="r1")
    day = Path(reports) / "scan_date=2026-05-04"
    whole = pa.Table.from_pylist([row("old", "/x/old.mp4")], schema=REPORT)
    pq.write_table(whole.drop_columns(["integrity", "segments"]), day / "r0-old.parquet")
    extra = pa.Table.from_pylist([row("next", "/x/next.mp4")], schema=REPORT)
    pq.write_table(extra.append_column("mood", pa.array(["good"])), day / "r2-next.parquet")
    rows = {r["media_id"]: r for r in latest(reports, STORAGE).to_pylist()}
    assert rows.keys() == {"old", "new", "next"}
    assert rows["old"]["integrity"] is None
    assert rows["new"]["integrity"] == 0.5
    assert "mood" not in rows["next"]


def test_filter_chooses_before_the_newest_is_taken(tmp_path: Path) -> None:
    reports = write(
        tmp_path,
        row("a", "/x/a.mp4", verdict="manipulated"),
        row("b", "/x/b.mp4", verdict="authentic"),
    )
    chosen = latest(reports, STORAGE, ["uri"], pc.field("verdict") == "manipulated")
    assert chosen.to_pylist() == [{"uri": "/x/a.mp4"}]


@pytest.mark.parametrize(
    ("wanted", "uris"),
    [
        ("s3://b/in/one.mp4", ["s3://b/in/one.mp4"]),
        ("in/one.mp4", ["s3://b/in/one.mp4"]),
        ("one.mp4", ["s3://b/in/one.mp4"]),
        ("./one.mp4", ["s3://b/in/one.mp4"]),
        ("ne.mp4", ["s3://b/in/one.mp4", "s3://b/in/someone.mp4"]),
        ("cafe00", ["s3://b/in/one.mp4"]),
        ("CAFE00", ["s3://b/in/one.mp4"]),
        ("cafe", []),
        ("two.mp4", []),
        ("", []),
    ],
)
def test_find_prefers_exact_places_then_ids_then_endings(
    tmp_path: Path, wanted: str, uris: list[str]
) -> None:
    reports = write(
        tmp_path, row("cafe0001", "s3://b/in/one.mp4"), row("beef0002", "s3://b/in/someone.mp4")
    )
    assert sorted(r["uri"] for r in find(reports, STORAGE, wanted)) == uris


def test_find_takes_a_relative_path_of_a_local_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = write(
        tmp_path, row("cafe0001", str(tmp_path / "a.mp4")), row("beef0002", "/else/a.mp4")
    )
    monkeypatch.chdir(tmp_path)
    assert [r["media_id"] for r in find(reports, STORAGE, "a.mp4")] == ["cafe0001"]


def test_a_runs_rows_are_its_own(tmp_path: Path) -> None:
    write(tmp_path, row("a", "/x/a.mp4"), run_id="r1")
    reports = write(tmp_path, row("b", "/x/b.mp4"), run_id="r2")
    assert run_rows(reports, STORAGE, "r2", ["uri"]).to_pylist() == [{"uri": "/x/b.mp4"}]


def test_a_torn_report_is_named(tmp_path: Path) -> None:
    reports = write(tmp_path, row("a", "/x/a.mp4"))
    torn = Path(reports) / "scan_date=2026-05-04" / "r9-torn.parquet"
    torn.write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match="r9-torn"):
        latest(reports, STORAGE)


def test_a_missing_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No run yet in"):
        run_summary(str(tmp_path), STORAGE)
    (tmp_path / "runs" / "20260504T120000-aa").mkdir(parents=True)
    with pytest.raises(UsageError, match="No run '2027' .* 20260504T120000-aa"):
        run_summary(str(tmp_path), STORAGE, "2027")
