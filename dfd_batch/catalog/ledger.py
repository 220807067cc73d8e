"""Reading from the reports what a plan needs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dfd_batch import storage as store
from dfd_batch.outcomes import UsageError
from dfd_batch.schema import TIMESTAMP
from dfd_batch.settings import Storage

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
    reports_uri: str, storage: Storage, detector_id: str | None = None
) -> pa.Table | None:
    """Return the rows of all reports with the columns of `LEDGER`, or None where there are none.

    Only those columns are read; one that an older report lacks is null.

    Args:
        reports_uri: The folder `OUT/reports`; it may not exist yet.
        storage: How object storage is reached.
        detector_id: Reads the rows of this detector alone, which saves memory.

    Raises:
        UsageError: The folder or one of its files cannot be read (says which).
    """
    import pyarrow.dataset as ds

    filesystem, folder = store.filesystem(reports_uri, storage)
    paths = _parquet_files(filesystem, folder, reports_uri)
    if not paths:
        return None
    dictionaries = {field.name for field in LEDGER if pa.types.is_dictionary(field.type)}
    reader = ds.ParquetFileFormat(
        read_options=ds.ParquetReadOptions(dictionary_columns=dictionaries)
    )
    reports = ds.dataset(paths, schema=LEDGER, format=reader, filesystem=filesystem)
    wanted = None if detector_id is None else ds.field("detector_id") == detector_id
    try:
        return reports.to_table(columns=LEDGER.names, filter=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(filesystem, paths, reports_uri, error) from error


def _parquet_files(filesystem: Any, folder: str, reports_uri: str) -> list[str]:
    import pyarrow.fs

    selector = pyarrow.fs.FileSelector(folder, recursive=True, allow_not_found=True)
    try:
        infos = filesystem.get_file_info(selector)
    except (pa.ArrowException, OSError) as error:
        raise store.explain(error, reports_uri) from error
    return sorted(info.path for info in infos if info.is_file and info.path.endswith(".parquet"))


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
