"""Reading from the reports what a plan needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfd_batch import storage as store
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.files import ReportFile, reading
from dfd_batch.schema import TIMESTAMP
from dfd_batch.settings import Storage

if TYPE_CHECKING:
    import pyarrow.dataset

LEDGER = pa.schema(
    [
        ("media_id", pa.string()),
        ("detector_id", pa.dictionary(pa.int32(), pa.string())),
        ("outcome", pa.dictionary(pa.int32(), pa.string())),
        ("attempt", pa.int32()),
        ("scanned_at", TIMESTAMP),
    ]
)
"""The columns of a report that a plan needs; every row of every run."""


def read_ledger(
    reports_uri: str,
    storage: Storage,
    detector_id: str | None = None,
    narrowed: pyarrow.dataset.Expression | None = None,
) -> pa.Table | None:
    """Return the rows of all reports with the columns of `LEDGER`, or None where there are none.

    Only those columns are read; one that an older report lacks is null.

    Args:
        reports_uri: The folder `OUT/reports`; it may not exist yet.
        storage: How object storage is reached.
        detector_id: Reads the rows of this detector alone, which saves memory.
        narrowed: Reads those of them alone for which this holds.

    Raises:
        UsageError: The folder or one of its files cannot be read (says which).
    """
    import pyarrow.dataset as ds

    filesystem, _ = store.filesystem(reports_uri, storage)
    dictionaries = {field.name for field in LEDGER if pa.types.is_dictionary(field.type)}
    reader = ds.ParquetFileFormat(
        read_options=ds.ParquetReadOptions(dictionary_columns=dictionaries)
    )
    wanted = narrowed
    if detector_id is not None:
        mine = ds.field("detector_id") == detector_id
        wanted = mine if narrowed is None else mine & narrowed
    paths: list[str] = []

    def read(files: list[ReportFile]) -> pa.Table | None:
        paths[:] = [file.path for file in files]
        if not paths:
            return None
        reports = ds.dataset(paths, schema=LEDGER, format=reader, filesystem=filesystem)
        return reports.to_table(columns=LEDGER.names, filter=wanted)

    try:
        return reading(reports_uri, storage, read)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(filesystem, paths, reports_uri, error) from error


def _unreadable(
    filesystem: Any, paths: list[str], reports_uri: str, error: BaseException
) -> UsageError:
    """Return an error that names the report file that is not one, else the cause."""
    import pyarrow.parquet as pq

    for path in paths:
        try:
            pq.read_schema(path, filesystem=filesystem)
        except (pa.ArrowException, OSError):
            uri = store.S3_SCHEME + path if store.is_s3(reports_uri) else path
            return UsageError(
                f"{uri} is not a whole Parquet file: the run that wrote it was cut off. Move it "
                "away; what it held is scanned again."
            )
    return store.explain(error, reports_uri)
