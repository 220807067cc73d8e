"""Names of objects are data: whatever they are, a run writes below its output folder alone."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfd_batch import storage
from dfd_batch.catalog.objects import make
from dfd_batch.catalog.plan import plan
from dfd_batch.checkpoint import ModelCard
from dfd_batch.failures import MAX_URI
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.read import run_summary
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, close_run, open_run
from dfd_batch.schema import REPORT
from dfd_batch.settings import Settings, Storage
from dfd_batch.watch import WRITTEN, RunWatch

HOSTILE = [
    "/in/../../../etc/x.mp4", "../../x", "/in/a\0b.jpg", "/in/\n.jpg", "/in/..", "/in/%2e%2e%2fx",
    "s3://b/../../x", "s3://b//etc/passwd", "/in/" + "x" * 2000, "/in/<script>", "file:///etc/x",
]  # fmt: skip
DAY = date(2026, 5, 4)
STORAGE = Storage()
BELOW = re.compile(
    r"reports|runs|reports/scan_date=2026-05-04"
    r"|reports/scan_date=2026-05-04/20260504T120000-[0-9a-f]{8}-[0-9a-f]{16}\.parquet"
    r"|runs/20260504T120000-[0-9a-f]{8}(/(manifest\.parquet|run\.json|summary\.json|metrics\.prom|failures\.jsonl))?"
)


def a_run(out: Path, uris: list[str]) -> Run:
    """Everything that a scan writes for objects of these names."""
    found = plan([make(uri, "e", None, 1) for uri in uris], None, "d", 3)
    run = Run(f"20260504T120000-{found.digest[:8]}", str(out), datetime(2026, 5, 4, 12, tzinfo=UTC))
    card = ModelCard(name="n", version="1", description="d")
    open_run(run, found.table, uris[0], Settings(), card, "d")
    rows = [
        dict.fromkeys(REPORT.names)
        | item
        | {"outcome": "empty", "detector_id": "d", "run_id": run.run_id}
        for item in found.table.to_pylist()
    ]
    report = pa.Table.from_pylist(rows, schema=REPORT)
    write_rows(report, str(out), DAY, run.run_id, STORAGE)
    told = RunWatch(run, Settings(), len(rows))
    told.wrote(report.append_column("node", pa.nulls(len(rows), pa.string())).select(WRITTEN), 0, 0)
    result = close_run(run, found.table, found.counts(), "d", 1.0, STORAGE, None, told.work())
    assert result.reconciled
    told.ended(result)
    return run


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=30), min_size=1))
def test_no_name_of_an_object_becomes_part_of_a_path(
    tmp_path_factory: pytest.TempPathFactory, uris: list[str]
) -> None:
    place = tmp_path_factory.mktemp("place")
    a_run(place / "out", uris)
    found = {str(path.relative_to(place)) for path in place.rglob("*")} - {"out"}
    for name in found:
        assert BELOW.fullmatch(name.removeprefix("out/")), name
    (failures,) = (place / "out").glob("runs/*/failures.jsonl")
    lines = [json.loads(line) for line in failures.read_text().split("\n") if line]
    assert {line["uri"] for line in lines[:-1]} <= {uri[:MAX_URI] for uri in uris}


@pytest.mark.parametrize("asked", ["..", "../..", "/etc", "../../etc/passwd", "."])
def test_a_run_that_is_asked_for_is_one_of_those_that_are_there(asked: str, tmp_path: Path) -> None:
    a_run(tmp_path / "out", ["/a"])
    (tmp_path / "run.json").write_text('{"run_id": "strange"}')
    with pytest.raises(UsageError, match="No run"):
        run_summary(str(tmp_path / "out"), STORAGE, asked)


def test_a_file_is_replaced_and_not_followed_where_it_is_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.json").symlink_to(victim)
    storage.write_bytes(str(out / "a.json"), b"new", STORAGE)
    assert victim.read_text() == "mine"
    assert (out / "a.json").read_bytes() == b"new" and not (out / "a.json").is_symlink()
