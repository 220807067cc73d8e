"""The plan of a million objects against a ledger of ten million rows: time and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.catalog.ledger import LEDGER, read_ledger
from dfd_batch.catalog.objects import MediaObject
from dfd_batch.catalog.plan import plan
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage

N_OBJECTS, N_ROWS, ROWS_PER_FILE = 1_000_000, 10_000_000, 250_000
DETECTOR = "benchmark-detector"
RECIPE = "1"


def measure(bench: Bench) -> list[Line]:
    """Return time and memory of the plan."""
    folder = bench.work / f"ledger-r{RECIPE}"
    if not (folder / "done").exists():
        cpu.apart(_make, folder)
    seconds, memory_gb = [], []
    for _ in range(1 if bench.quick else bench.repeats):
        spent_s, peak_gb = cpu.apart(_plan, folder)
        seconds.append(spent_s)
        memory_gb.append(peak_gb)
    told = f"{N_OBJECTS:,} objects, {N_ROWS:,} rows in {N_ROWS // ROWS_PER_FILE} local files"
    return [
        Line("plan_seconds", "plan of a million objects", "s", seconds, Goal("≤", 60), told),
        Line("plan_memory_gb", "its peak memory", "GB", memory_gb, Goal("≤", 4), told),
    ]


def _ids(start: int, n: int) -> list[str]:
    """Return media ids, 32 hex digits that follow from their numbers alone."""
    words = np.arange(start, start + n, dtype=np.uint64)
    mixed = (words * np.uint64(0x9E3779B97F4A7C15)).view(np.uint8).reshape(n, 8)
    text = np.concatenate([mixed, mixed[:, ::-1]], 1).tobytes().hex()
    return [text[i : i + 32] for i in range(0, len(text), 32)]


def _make(folder: Path) -> None:
    """Write report files: three quarters of the listed objects and many others, ten rows each."""
    day = folder / "reports" / "scan_date=2026-01-01"
    day.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    outcomes = pa.array(["scored", "no_face", "timeout", "unreadable"])
    for index, start in enumerate(range(0, N_ROWS, ROWS_PER_FILE)):
        n = ROWS_PER_FILE
        columns = {
            "media_id": pa.array(_ids(N_OBJECTS // 4 + start, n)),
            "detector_id": pa.array([DETECTOR] * n),
            "outcome": outcomes.take(pa.array(rng.choice(4, n, p=[0.9, 0.05, 0.03, 0.02]))),
            "attempt": pa.array(rng.integers(1, 4, n), pa.int32()),
            "scanned_at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * n, LEDGER.field(4).type),
            "uri": pa.array([f"s3://archive/{start + i:09d}.mp4" for i in range(n)]),
            "probability": pa.array(rng.random(n)),
        }
        fields = [REPORT.field(name) for name in columns]
        table = pa.Table.from_pydict(columns, schema=pa.schema(fields, REPORT.metadata))
        pq.write_table(table, day / f"20260101T000000-{index:08x}.parquet", compression="zstd")
    (folder / "done").touch()


def _objects() -> Iterator[MediaObject]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for start in range(0, N_OBJECTS, 50_000):
        for offset, media_id in enumerate(_ids(start, 50_000)):
            uri = f"s3://archive/{start + offset:09d}.mp4"
            yield MediaObject(media_id, uri, "etag", None, 5_000_000, now, "video")


def _plan(folder: Path) -> tuple[float, float]:
    """Return seconds and peak memory in GB of a plan, listing apart; for a fresh process."""
    started = time.perf_counter()
    ledger = read_ledger(str(folder / "reports"), Storage(), DETECTOR)
    found = plan(_objects(), ledger, DETECTOR, 3)
    spent_s = time.perf_counter() - started
    if found.n_listed != N_OBJECTS or not 0 < found.n_done < N_OBJECTS:
        raise RuntimeError(f"the plan is not what was set up: {found.counts()}")
    return spent_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
