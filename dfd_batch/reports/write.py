"""Report rows to Parquet files that are either whole or absent.

One file per batch of rows, named by the run and by what it holds: a task that is executed twice
writes the same file again, and a killed one leaves nothing that a reader could trip over.
"""

from __future__ import annotations

import hashlib
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from dfd_batch import storage as stores
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage


def reports_uri(out: str) -> str:
    """Return where all verdicts of an output folder lie."""
    return stores.join(out, "reports")


def day_uri(out: str, scan_date: date) -> str:
    """Return the folder of one day's verdicts."""
    return stores.join(reports_uri(out), f"scan_date={scan_date.isoformat()}")


def file_name(run_id: str, media_ids: list[str]) -> str:
    """Return the name of a run's report file, which follows from the objects it holds."""
    told = hashlib.sha256("\n".join(sorted(media_ids)).encode()).hexdigest()
    return f"{run_id}-{told[:16]}.parquet"


def write_rows(rows: pa.Table, out: str, scan_date: date, run_id: str, storage: Storage) -> str:
    """Write report rows as one Parquet file and return its URI.

    Args:
        rows: Of `schema.REPORT`, at least one.
        out: Output folder or prefix.
        scan_date: UTC day the run began.
        run_id: Of all rows.
        storage: How to reach `out`.

    Raises:
        UsageError: `out` cannot be written.
    """
    name = file_name(run_id, rows.column("media_id").to_pylist())
    uri = stores.join(day_uri(out, scan_date), name)
    write_table(rows.cast(REPORT).replace_schema_metadata(REPORT.metadata), uri, storage)
    return uri


def write_table(table: pa.Table, uri: str, storage: Storage) -> None:
    """Write one Parquet file in a single atomic step."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    stores.write_bytes(uri, sink.getvalue().to_pybytes(), storage)
