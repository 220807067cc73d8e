"""A manifest as a source: a JSONL, CSV or Parquet file that names objects by URI.

Each record has `uri` and may have `etag`, `version_id`, `size_bytes` and `last_modified`. A
relative path is relative to the manifest. Objects of which etag or size is not given are looked
up, 32 at a time; what cannot be found is still an object and becomes a row that says so.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from dfd_batch import storage as store
from dfd_batch.catalog.local import Named
from dfd_batch.catalog.objects import MediaObject, make, of_file
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.storage.tables import require_plain

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
COLUMNS = ("uri", "etag", "version_id", "size_bytes", "last_modified")
LOOKED_UP_AT_ONCE = 1024

Record = dict[str, Any]


def is_manifest(source: str) -> bool:
    """Return whether a source is a manifest by its name."""
    return source.lower().endswith(SUFFIXES)


def read(source: str, storage: Storage) -> Iterator[Named]:
    """Yield the objects that a manifest names, in its order, each once.

    Globs see the key of an S3 object, and the path of a local file below the manifest's folder
    (its whole path where it lies elsewhere).

    Raises:
        UsageError: The manifest cannot be read, or a record is not valid (says which).
    """
    folder = source.rpartition("/")[0] if store.is_s3(source) else ""
    if not folder:
        folder = os.path.abspath(store.local_path(source).parent)  # noqa: PTH100
    seen = set()
    numbered = enumerate(records(source, storage), start=1)
    with ThreadPoolExecutor(store.MAX_CONNECTIONS) as pool:
        while some := list(itertools.islice(numbered, LOOKED_UP_AT_ONCE)):
            asks = any(_asks(record, folder) for _, record in some)
            apply: Any = pool.map if asks else map  # threads cost more than a record that is whole
            for found in apply(lambda item: _object(source, folder, storage, *item), some):
                if found.media_id not in seen:
                    seen.add(found.media_id)
                    yield _name(found, folder), found


def _asks(record: Record, folder: str) -> bool:
    """Return whether the store must be asked for an object's etag or size."""
    told = record.get("etag") and record.get("size_bytes") not in (None, "")
    return not told and (store.is_s3(folder) or store.is_s3(str(record.get("uri"))))


def _name(found: MediaObject, folder: str) -> str:
    if store.is_s3(found.uri):
        return store.split_s3(found.uri)[1]
    return str(store.local_path(found.uri)).removeprefix(folder + "/").lstrip("/")


def records(source: str, storage: Storage) -> Iterator[Record]:
    """Yield the records of a manifest as dictionaries, a bounded part in memory.

    Raises:
        UsageError: The file cannot be read as what its name says.
    """
    import pyarrow as pa

    files, path = store.filesystem(source, storage)
    try:
        if source.lower().endswith(".parquet"):
            with files.open_input_file(path) as file:
                yield from _parquet_records(file, source)
            return
        # newline="": quoted names in CSV may hold line ends
        stream = files.open_input_stream(path)
        with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            is_csv = ".csv" in source.lower()[-7:]
            yield from _csv_records(text, source) if is_csv else _json_records(text, source)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise store.explain(error, source) from error


def _parquet_records(file: Any, source: str) -> Iterator[Record]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    require_plain(table.schema_arrow, source)
    columns = [name for name in COLUMNS if name in table.schema_arrow.names]
    _require_uri(columns, source, table.schema_arrow.names)
    for batch in table.iter_batches(batch_size=10_000, columns=columns):
        yield from batch.to_pylist()


def _csv_records(text: io.TextIOWrapper, source: str) -> Iterator[Record]:
    rows = csv.DictReader(text)
    _require_uri(list(rows.fieldnames or ()), source, list(rows.fieldnames or ()))
    yield from rows


def _require_uri(columns: list[str], source: str, names: list[str]) -> None:
    if "uri" not in columns:
        raise UsageError(f"{source} has no column `uri`, only: {', '.join(names) or 'none'}.")


def _json_records(text: io.TextIOWrapper, source: str) -> Iterator[Record]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{source} line {number} is not JSON: {error}.") from None
        if isinstance(record, str):
            record = {"uri": record}
        if not isinstance(record, dict):
            raise UsageError(f'{source} line {number} is not an object like {{"uri": "…"}}.')
        yield record


def _object(source: str, folder: str, storage: Storage, number: int, record: Record) -> MediaObject:
    uri = record.get("uri")
    try:
        if not isinstance(uri, str) or not uri.strip():
            raise ValueError("`uri` is empty")
        if "://" not in uri and not uri.startswith("/"):
            uri = store.join(folder, uri)
        if not store.is_s3(uri):
            return of_file(Path(store.local_path(uri)))
        store.split_s3(uri)
        size = record.get("size_bytes")
        given = (
            record.get("etag") or None,
            record.get("version_id") or None,
            int(size) if size not in (None, "") else None,
            _time(record.get("last_modified")),
        )
    except (ValueError, TypeError, UsageError) as error:
        raise UsageError(f"{source}, record {number}: {str(error).rstrip('.')}.") from None
    return _looked_up(uri, *given, storage)


def _time(value: Any) -> datetime | None:
    if value in (None, ""):
        return None
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def _looked_up(
    uri: str,
    etag: str | None,
    version_id: str | None,
    size_bytes: int | None,
    last_modified: datetime | None,
    storage: Storage,
) -> MediaObject:
    """Return an S3 object; what the manifest does not tell is asked of the store."""
    from botocore.exceptions import BotoCoreError, ClientError

    if etag is not None and size_bytes is not None:
        return make(uri, etag, version_id, size_bytes, last_modified)
    bucket, key = store.split_s3(uri)
    version = {"VersionId": version_id} if version_id else {}
    try:
        told = store.client(storage).head_object(Bucket=bucket, Key=key, **version)
    except ClientError:  # missing or forbidden: that object's row will say so
        return make(uri, None, version_id, None, last_modified)
    except BotoCoreError as error:  # no store or no credentials: no object can be reached
        raise store.explain(error, uri) from error
    return make(uri, told.get("ETag"), version_id, told["ContentLength"], told["LastModified"])
