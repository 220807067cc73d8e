from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch import storage as store
from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.catalog.objects import MediaObject, make
from dfd_batch.catalog.plan import LEDGER, Plan, plan
from dfd_batch.outcomes import RETRYABLE, Outcome, UsageError
from dfd_batch.schema import MANIFEST
from dfd_batch.settings import Storage

START = datetime(2024, 1, 1, tzinfo=UTC)
FAST = Storage(max_retries=1, read_timeout_s=5)

Row = tuple[str, str, str, int, datetime]


def archive(n: int) -> list[MediaObject]:
    return [make(f"/v/{i}.mp4", f"e{i}", None, i) for i in range(n)]


def ledger(rows: list[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(LEDGER)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, LEDGER, strict=True)], schema=LEDGER
    )


def attempts(planned: Plan) -> dict[str, int]:
    table = planned.table
    return dict(zip(table["media_id"].to_pylist(), table["attempt"].to_pylist(), strict=True))


outcomes = st.sampled_from([str(outcome) for outcome in Outcome])
rows = st.tuples(
    st.integers(0, 5), st.sampled_from(["d1", "d2"]), outcomes, st.integers(1, 4), st.integers(0, 3)
)


@given(st.lists(rows, max_size=40), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_plan_is_what_the_newest_final_row_or_else_the_latest_asks_for(
    told: list[tuple[int, str, str, int, int]], limit: int, shuffle: random.Random
) -> None:
    objects = archive(5)  # the sixth of the rows is no longer listed
    ids = [item.media_id for item in archive(6)]
    latest: dict[str, tuple[bool, int, int]] = {}
    for index, detector, outcome, attempt, second in told:
        row = (outcome not in RETRYABLE, second, attempt)
        if detector == "d1":
            latest[ids[index]] = max(latest.get(ids[index], row), row)
    expected = {}
    for item in objects:
        final, _, attempt = latest.get(item.media_id, (False, 0, 0))
        if not final and (attempt == 0 or attempt < limit):
            expected[item.media_id] = attempt + 1

    table = ledger([(ids[i], d, o, a, START + timedelta(seconds=s)) for i, d, o, a, s in told])
    shuffle.shuffle(objects)
    planned = plan(objects, table, "d1", limit)
    assert attempts(planned) == expected
    assert planned.n_listed == 5
    assert planned.n_done + planned.n_exhausted + planned.n_retry + planned.n_new == 5
    assert planned.n_new + planned.n_retry == len(planned.table)
    uris = planned.table["uri"].to_pylist()
    assert uris == sorted(uris)
    assert planned.digest == plan(reversed(objects), table, "d1", limit).digest


@given(
    st.lists(st.dictionaries(st.integers(0, 5), outcomes, max_size=6), min_size=1, max_size=12),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_runs_that_are_cut_off_anywhere_end_with_one_final_answer_or_all_attempts(
    runs: list[dict[int, str]], limit: int
) -> None:
    """Each run executes its plan but writes only the rows that `answers` names."""
    objects = archive(6)
    written: list[Row] = []
    for number, answers in enumerate(runs):
        todo = attempts(plan(objects, ledger(written), "d1", limit))
        for index, outcome in answers.items():
            media = objects[index].media_id
            if media in todo:
                now = START + timedelta(hours=number)
                written.append((media, "d1", outcome, todo[media], now))
    for item in objects:
        mine = [row for row in written if row[0] == item.media_id]
        finals = [row for row in mine if row[2] not in RETRYABLE]
        assert len(finals) <= 1
        assert [row[3] for row in mine] == list(range(1, len(mine) + 1))
        assert len(mine) <= limit
        todo = attempts(plan(objects, ledger(written), "d1", limit))
        assert (item.media_id in todo) == (not finals and len(mine) < limit)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), outcomes), max_size=60),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_runs_that_overlap_in_any_way_leave_nothing_undone_and_try_nothing_too_often(
    events: list[tuple[int, int, str]], limit: int
) -> None:
    """Each event writes one row of a run, which was planned by what lay there at its first."""
    objects = archive(6)
    written: list[Row] = []
    open_runs: dict[int, dict[str, int]] = {}
    for second, (run, index, outcome) in enumerate(events):
        if run not in open_runs:
            open_runs[run] = attempts(plan(objects, ledger(written), "d1", limit))
        attempt = open_runs[run].pop(objects[index].media_id, None)
        if attempt is not None:
            now = START + timedelta(seconds=second)
            written.append((objects[index].media_id, "d1", outcome, attempt, now))
    for n_more in range(limit + 1):  # undisturbed ones, in which everything fails
        todo = attempts(plan(objects, ledger(written), "d1", limit))
        now = START + timedelta(hours=1 + n_more)
        written += [(media, "d1", "timeout", attempt, now) for media, attempt in todo.items()]
    assert not todo
    assert max(row[3] for row in written) <= limit
    for item in objects:
        mine = [row for row in written if row[0] == item.media_id]
        assert len(mine) <= len(open_runs) + limit
        latest = max(mine, key=lambda row: (row[4], row[3]))
        assert latest[3] == limit or any(row[2] not in RETRYABLE for row in mine)


def test_without_a_ledger_everything_is_planned_once() -> None:
    planned = plan([*archive(3), *archive(3)], None, "d1", 3)
    assert planned.table.schema.equals(MANIFEST)
    assert set(attempts(planned).values()) == {1}
    assert (planned.n_listed, planned.n_new, planned.bytes_planned) == (3, 3, 0 + 1 + 2)


def test_a_limit_takes_the_first_and_leaves_the_rest_to_later_runs() -> None:
    limited = plan(reversed(archive(5)), None, "d1", 3, limit=2)
    assert limited.table["uri"].to_pylist() == ["/v/0.mp4", "/v/1.mp4"]
    assert (limited.n_new, limited.n_held_back, limited.bytes_planned) == (5, 3, 1)
    assert limited.digest == plan(archive(2), None, "d1", 3).digest
    assert plan(archive(5), None, "d1", 3, limit=9).n_held_back == 0


def test_the_digest_tells_detector_objects_and_attempts() -> None:
    objects = archive(2)
    failed = ledger([(objects[0].media_id, "d1", "timeout", 1, START)])
    digests = {
        plan(objects, None, "d1", 3).digest,
        plan(objects, None, "d2", 3).digest,
        plan(objects[:1], None, "d1", 3).digest,
        plan(objects, failed, "d1", 3).digest,
        plan([], None, "d1", 3).digest,
    }
    assert len(digests) == 5


def test_plain_string_columns_and_nulls_of_old_reports_are_understood() -> None:
    objects = archive(2)
    plain = pa.schema([(f.name, pa.string()) for f in list(LEDGER)[:3]] + list(LEDGER)[3:])
    rows = [(item.media_id, "d1", "missing", None, None) for item in objects]
    table = pa.Table.from_pylist([dict(zip(plain.names, row, strict=True)) for row in rows], plain)
    assert set(attempts(plan(objects, table, "d1", 3)).values()) == {2}


def write_reports(folder: str, parts: list[list[Row]]) -> None:
    files, path = store.filesystem(folder, FAST)
    for number, part in enumerate(parts):
        below = f"{path}/scan_date=2024-01-0{number + 1}"
        files.create_dir(below, recursive=True)
        wide = ledger(part).append_column("probability", pa.nulls(len(part), pa.float64()))
        pq.write_table(wide, f"{below}/{number}.parquet", filesystem=files)


def test_no_reports_are_no_ledger(tmp_path: Path, bucket: str) -> None:
    assert read_ledger(str(tmp_path / "reports"), FAST) is None
    assert read_ledger(f"{bucket}/reports", FAST) is None


@pytest.mark.parametrize("where", ["local", "s3"])
def test_the_ledger_is_all_rows_of_all_dates(where: str, tmp_path: Path, bucket: str) -> None:
    folder = f"{bucket}/reports" if where == "s3" else str(tmp_path / "reports")
    one: Row = ("m1", "d1", "scored", 1, START)
    two: Row = ("m2", "d2", "timeout", 2, START)
    write_reports(folder, [[one], [two]])
    table = read_ledger(folder, FAST)
    assert table is not None
    assert table.schema.equals(LEDGER)
    assert table.to_pylist() == ledger([one, two]).to_pylist()
    mine = read_ledger(folder, FAST, "d2")
    assert mine is not None
    assert mine["media_id"].to_pylist() == ["m2"]


def test_columns_that_an_old_report_lacks_are_null(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"media_id": ["m"], "detector_id": ["d"], "outcome": ["scored"]}),
        tmp_path / "a.parquet",
    )
    table = read_ledger(str(tmp_path), FAST)
    assert table is not None
    assert table["attempt"].to_pylist() == [None]


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off"])
def test_a_torn_report_is_named(tmp_path: Path, content: bytes) -> None:
    write_reports(str(tmp_path), [[("m1", "d1", "scored", 1, START)]])
    (tmp_path / "torn.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=r"torn\.parquet is not a whole Parquet file"):
        read_ledger(str(tmp_path), FAST)
