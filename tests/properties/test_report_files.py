"""What reports hold, written and read as files: whatever runs wrote, all readers agree on it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.catalog.objects import make
from dfd_batch.catalog.plan import plan
from dfd_batch.outcomes import Outcome
from dfd_batch.reports.read import latest, run_rows
from dfd_batch.reports.write import reports_uri, write_rows
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage

DAY = date(2026, 5, 4)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STORAGE = Storage()
OBJECTS = [make(f"/v/{i}.mp4", "etag", None, i) for i in range(4)]
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def values(kind: pa.DataType, nullable: bool = True) -> st.SearchStrategy[Any]:
    """All values of an Arrow type that a report may hold."""
    if pa.types.is_struct(kind):
        found: Any = st.fixed_dictionaries({f.name: values(f.type) for f in kind})
    elif pa.types.is_list(kind):
        found = st.lists(values(kind.value_type, nullable=False), max_size=3)
    elif pa.types.is_string(kind):
        found = st.text(max_size=8)  # without surrogates, as UTF-8 is
    elif pa.types.is_boolean(kind):
        found = st.booleans()
    elif pa.types.is_integer(kind):
        most = 2 ** (kind.bit_width - 1)
        found = st.integers(-most, most - 1)
    elif pa.types.is_timestamp(kind):
        found = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
    else:
        found = st.floats(width=kind.bit_width, allow_nan=False)
    return st.none() | found if nullable else found


rows = st.fixed_dictionaries({f.name: values(f.type, f.nullable) for f in REPORT})


@few
@given(st.lists(rows, min_size=1, max_size=4))
def test_every_row_of_the_schema_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, Any]]
) -> None:
    out = str(tmp_path_factory.mktemp("out"))
    write_rows(pa.Table.from_pylist(told, schema=REPORT), out, DAY, "run", STORAGE)
    found = run_rows(reports_uri(out), STORAGE, "run")
    assert found.schema.equals(REPORT)
    assert found.to_pylist() == told


written = st.tuples(
    st.integers(0, len(OBJECTS)),  # the last is no longer listed
    st.sampled_from(["d1", "d2"]),
    st.sampled_from([str(outcome) for outcome in Outcome]),
    st.integers(1, 4),
    st.integers(0, 3),
)


@few
@given(st.lists(st.lists(written, min_size=1, max_size=6), max_size=5), st.integers(1, 4))
def test_the_plan_asks_for_what_the_latest_rows_leave_open(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[list[tuple[int, str, str, int, int]]],
    limit: int,
) -> None:
    """Any interleaving of runs, detectors, attempts, outcomes and (equal) times."""
    out = str(tmp_path_factory.mktemp("out"))
    ids = [item.media_id for item in OBJECTS] + ["gone"]
    for number, told in enumerate(runs):
        table = [
            dict.fromkeys(REPORT.names)
            | {
                "media_id": ids[at], "uri": f"/v/{at}.mp4", "detector_id": detector,
                "outcome": outcome, "attempt": attempt, "run_id": f"r{number}",
                "scanned_at": NOON + timedelta(seconds=second),
            }
            for at, detector, outcome, attempt, second in told
        ]  # fmt: skip
        write_rows(pa.Table.from_pylist(table, schema=REPORT), out, DAY, f"r{number}", STORAGE)
    reports = reports_uri(out)
    newest = {
        (row["media_id"], row["detector_id"]): row
        for row in latest(
            reports, STORAGE, ["media_id", "detector_id", "outcome", "attempt"]
        ).to_pylist()
    }
    assert set(newest) == {(ids[row[0]], row[1]) for told in runs for row in told}
    planned = plan(OBJECTS, read_ledger(reports, STORAGE, "d1"), "d1", limit).table
    attempts = dict(
        zip(planned["media_id"].to_pylist(), planned["attempt"].to_pylist(), strict=True)
    )
    for item in OBJECTS:
        row = newest.get((item.media_id, "d1"))
        if row is None:
            assert attempts[item.media_id] == 1
        elif Outcome(row["outcome"]).retryable and row["attempt"] < limit:
            assert attempts[item.media_id] == row["attempt"] + 1
        else:
            assert item.media_id not in attempts
