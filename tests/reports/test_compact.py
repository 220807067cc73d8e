import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dfd_batch import storage as stores
from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.cli import app
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import compact as compaction
from dfd_batch.reports import read
from dfd_batch.reports.check import file_faults, rows_of
from dfd_batch.reports.compact import compact, days
from dfd_batch.reports.files import MARKER, report_files
from dfd_batch.reports.views import query
from dfd_batch.reports.write import day_uri, reports_uri, write_rows
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage

DAY = date(2026, 5, 4)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STORAGE = Storage()


@pytest.fixture(params=["folder", "bucket"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "out")
    return request.getfixturevalue("bucket") + "/out"


def write(out: str, run_id: str, ids: range, minute: int = 0, **other: Any) -> None:
    rows = [
        dict.fromkeys(REPORT.names)
        | {
            "media_id": f"id{i}", "uri": f"/in/{i}.mp4", "outcome": "scored", "attempt": 1,
            "probability": 0.5, "verdict": "authentic", "detector_id": "d1", "run_id": run_id,
            "scanned_at": NOON + timedelta(minutes=minute),
            "segments": [{"track": 0, "start_s": 0.0, "end_s": 1.0, "probability": 0.5}],
        }
        | other
        for i in ids
    ]  # fmt: skip
    write_rows(pa.Table.from_pylist(rows, schema=REPORT), out, DAY, run_id, STORAGE)


def fill(out: str) -> None:
    """Two runs over the same 24 objects, 12 files."""
    for n, run_id in enumerate(("r1", "r2")):
        for start in range(0, 24, 4):
            write(out, run_id, range(start, start + 4), minute=n)


def seen(out: str) -> dict[str, Any]:
    """What all readers of the package make of the reports."""
    reports = reports_uri(out)
    ledger = read_ledger(reports, STORAGE)
    assert ledger is not None
    keys = ["media_id", "scanned_at"]
    rows = query("SELECT media_id, run_id, scanned_at FROM report ORDER BY ALL", out, STORAGE)
    return {
        "ledger": Counter(zip(*ledger.select(keys).to_pydict().values(), strict=True)),
        "sql": rows.to_pylist(),
        "latest": sorted(read.latest(reports, STORAGE, ["media_id"])["media_id"].to_pylist()),
        "runs": {
            run: Counter(read.run_rows(reports, STORAGE, run, ["media_id"])["media_id"].to_pylist())
            for run in ("r1", "r2", "r3")
        },
        "found": [r["run_id"] for r in read.find(reports, STORAGE, "7.mp4")],
    }  # fmt: skip


def names(out: str) -> list[str]:
    return [n for n in stores.list_names(day_uri(out, DAY), STORAGE) if n.endswith(".parquet")]


def test_a_day_becomes_one_file_and_all_readers_see_the_same(out: str) -> None:
    fill(out)
    before = seen(out)
    told = compact(out, DAY, STORAGE)
    assert (told.state, told.n_files_before, told.n_files_after, told.n_rows) == (
        "compacted", 12, 1, 48,
    )  # fmt: skip
    assert len(names(out)) == 1 and seen(out) == before
    again = compact(out, DAY, STORAGE)
    assert (again.state, again.n_rows, again.n_removed) == ("small enough", 0, 0)
    assert seen(out) == before


def test_later_runs_of_the_day_are_joined_to_what_is_compact(out: str) -> None:
    fill(out)
    compact(out, DAY, STORAGE)
    write(out, "r3", range(30, 34), minute=9)
    write(out, "r3", range(34, 38), minute=9)
    before = seen(out)
    assert sum(before["runs"]["r3"].values()) == 8
    assert compact(out, DAY, STORAGE).n_files_after == 1
    assert seen(out) == before and len(names(out)) == 1


def test_a_file_that_is_written_again_late_counts_no_second_time(out: str) -> None:
    fill(out)
    before = seen(out)
    compact(out, DAY, STORAGE)
    write(out, "r1", range(4), minute=0)  # a task that was executed twice
    assert len(names(out)) == 2 and seen(out) == before
    assert compact(out, DAY, STORAGE).n_removed == 1
    assert len(names(out)) == 1 and seen(out) == before


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["write_table", "_check", "write_if", "_remove"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_it_is_whole_and_goes_on(
    out: str, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    fill(out)
    before = seen(out)
    real = getattr(compaction, step)

    def killed(*arguments: Any) -> Any:
        if after:
            real(*arguments)
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(compaction, step, killed)
        with pytest.raises(_Killed):
            compact(out, DAY, STORAGE)
    assert seen(out) == before
    compact(out, DAY, STORAGE)
    assert seen(out) == before and len(names(out)) == 1


def test_what_a_kill_left_long_ago_is_taken_in_without_doubling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed compaction's file has other rows than the next one's, so another name."""
    out = str(tmp_path)
    fill(out)
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_if", lambda *_: False)
        assert compact(out, DAY, STORAGE).state == "lost"
    write(out, "r3", range(30, 34), minute=9)
    before = seen(out)
    compact(out, DAY, STORAGE)
    assert seen(out) == before and len(names(out)) == 2  # it may be another's who still works
    for name in names(out):
        os.utime(Path(day_uri(out, DAY)) / name, (0, 0))
    compact(out, DAY, STORAGE)
    assert seen(out) == before and len(names(out)) == 1


def test_of_two_at_once_one_wins_and_nothing_is_lost(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow compaction that has read fewer files must not undo a faster one's work."""
    fill(out)
    real = compaction.write_if

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(compaction, "write_if", real)
        write(out, "r3", range(30, 34), minute=9)
        assert compact(out, DAY, STORAGE).state == "compacted"
        return real(*arguments)

    monkeypatch.setattr(compaction, "write_if", slow)
    assert compact(out, DAY, STORAGE).state == "lost"
    after = seen(out)
    assert sum(after["runs"]["r3"].values()) == 4 and len(after["sql"]) == 52


def test_readers_beside_a_compaction_see_every_row_once(out: str) -> None:
    fill(out)
    failures: list[str] = []
    done = threading.Event()
    reads = [0]

    def look() -> None:
        while not done.is_set():
            table = read.run_rows(reports_uri(out), STORAGE, "r1", ["media_id"])
            ledger = read_ledger(reports_uri(out), STORAGE)
            if table.num_rows != 24 or ledger is None or ledger.num_rows < 48:
                failures.append(f"{table.num_rows} rows, ledger {ledger and ledger.num_rows}")
            reads[0] += 1

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for turn in range(4):
            write(out, "r3", range(40 + turn, 41 + turn), minute=9)
            compact(out, DAY, STORAGE)
    finally:
        done.set()
        watcher.join()
    assert not failures and reads[0] > 0


def _compact_forever(out: str) -> None:
    for turn in range(1000):
        write(out, "r3", range(1000 + turn, 1001 + turn), minute=9)
        compact(out, DAY, STORAGE)


@pytest.mark.slow
def test_sigkill_whenever_leaves_every_row_once(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    before = seen(out)["runs"]
    for turn in range(6):
        worker = multiprocessing.get_context("spawn").Process(target=_compact_forever, args=(out,))
        worker.start()
        n = len(names(out))
        while worker.is_alive() and len(names(out)) == n:
            time.sleep(0.005)
        time.sleep(0.03 * turn)
        worker.kill()
        worker.join()
        now = seen(out)["runs"]
        assert (now["r1"], now["r2"]) == (before["r1"], before["r2"])
        assert set(now["r3"].values()) == {1}
    compact(out, DAY, STORAGE)
    assert seen(out)["runs"]["r1"] == before["r1"]


def test_large_days_become_several_files_and_newer_columns_stay(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    extra = pq.read_table(next(Path(day_uri(out, DAY)).glob("r1-*"))).append_column(
        "mood", pa.array(["good"] * 4)
    )
    extra = extra.set_column(0, "media_id", pa.array([f"new{i}" for i in range(4)]))
    pq.write_table(extra, Path(day_uri(out, DAY)) / "r1-extra.parquet")
    before = seen(out)
    told = compact(out, DAY, STORAGE, target_bytes=8000)
    assert 1 < told.n_files_after < 12 and seen(out) == before
    paths = [file.path for file in report_files(reports_uri(out), STORAGE)]
    moods = [pq.read_table(p) for p in paths]
    assert sum("mood" in m.column_names and len(m["mood"].drop_null()) for m in moods) == 4
    for path, table in zip(paths, moods, strict=True):
        assert [f for f in file_faults(path, table, "r1") if "does not hold" in f] == []
        assert set(rows_of(path, table, "r1")["run_id"].to_pylist()) <= {"r1"}


def test_a_torn_or_newer_file_leaves_the_day_as_it_is(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    kept = names(out)
    newer = pq.read_table(Path(day_uri(out, DAY)) / kept[0])
    path = Path(day_uri(out, DAY)) / "r9-newer.parquet"
    pq.write_table(newer.replace_schema_metadata({"dfd_batch.schema_version": "99"}), path)
    with pytest.raises(UsageError, match="r9-newer.* newer dfd-batch"):
        compact(out, DAY, STORAGE)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"r9-newer.*left as it is"):
        compact(out, DAY, STORAGE)
    path.unlink()
    assert set(kept) <= set(names(out))


def test_the_command_compacts_days_that_are_over(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    assert days(out, STORAGE) == [DAY] and days(out, STORAGE, DAY) == []

    def dfd(*more: str) -> Any:
        return CliRunner().invoke(app, ["compact", "--reports", out, *more])

    done = dfd("--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["n_files_after"] == 1
    assert "small enough" in dfd().output
    assert dfd("--day", "2026-05-05").exit_code == 2
    assert "YYYY-MM-DD" in dfd("--day", "may").stderr


def test_a_marker_of_a_newer_package_is_refused(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    (Path(day_uri(out, DAY)) / MARKER).write_text('{"format": 2}')
    with pytest.raises(UsageError, match="newer"):
        read.latest(reports_uri(out), STORAGE)
