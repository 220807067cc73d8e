"""An S3 Inventory as a source: the daily or weekly list that S3 writes of a bucket.

Format: Amazon S3 User Guide, "Amazon S3 Inventory", `manifest.json`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.parse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dfd_batch import storage as store
from dfd_batch.catalog.local import Named
from dfd_batch.catalog.objects import hidden, make
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.storage.tables import require_plain

CSV_NAMES = {
    "Bucket": "bucket",
    "Key": "key",
    "VersionId": "version_id",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
}
"""Columns of a CSV inventory, and the names that Parquet and ORC inventories give them."""

Record = dict[str, Any]


def is_inventory(source: str) -> bool:
    """Return whether a source is an S3 Inventory by its name, `…/manifest.json`."""
    return source.rpartition("/")[2] == "manifest.json"


def read(source: str, storage: Storage) -> Iterator[Named]:
    """Yield the current objects of an inventory: no delete markers, no earlier versions.

    Raises:
        UsageError: The manifest or a file that it names cannot be read.
    """
    import pyarrow as pa

    manifest = _manifest(source, storage)
    try:
        for file in manifest["files"]:
            uri = _file_uri(source, manifest, str(file["key"]), storage)
            if manifest["fileFormat"].upper() == "CSV":
                records = _csv_records(uri, str(manifest["fileSchema"]), storage)
            else:
                records = _table_records(uri, manifest["fileFormat"].lower(), storage)
            for record in records:
                if found := _named(record):
                    yield found
    except (pa.ArrowException, OSError, csv.Error, KeyError, ValueError) as error:
        raise store.explain(error, source) from error


def _manifest(source: str, storage: Storage) -> dict[str, Any]:
    try:
        manifest = json.loads(store.read_bytes(source, storage))
    except ValueError as error:
        raise UsageError(f"{source} is not JSON: {error}.") from None
    needed = ("fileFormat", "fileSchema", "files")
    if not isinstance(manifest, dict) or not all(name in manifest for name in needed):
        raise UsageError(f"{source} is not an S3 Inventory manifest: it lacks one of {needed}.")
    # names as CSV, Parquet and ORC write them; without it a changed object looks unchanged
    if not re.search(r"\be_?tag\b", str(manifest["fileSchema"]), re.IGNORECASE):
        raise UsageError(
            f"{source} does not list ETags, so objects that changed cannot be told; add the fields "
            "ETag and Size to the inventory's configuration."
        )
    return manifest


def _file_uri(source: str, manifest: dict[str, Any], key: str, storage: Storage) -> str:
    """Return where a file of the inventory lies.

    Its key counts from the root of the bucket that holds the manifest. Beside a manifest that was
    copied to a local folder, the files are looked for in it and in `../data`.
    """
    if store.is_s3(source):
        return f"{store.S3_SCHEME}{store.split_s3(source)[0]}/{key}"
    folder, name = store.local_path(source).parent, key.rpartition("/")[2]
    for path in (folder / key, folder / name, folder.parent / "data" / name):
        if path.is_file():
            return store.local_uri(path)
    bucket = str(manifest.get("destinationBucket", "")).removeprefix("arn:aws:s3:::")
    if not bucket:
        raise UsageError(f"{source}: its file {key} is not beside it; copy it there.")
    return f"{store.S3_SCHEME}{bucket}/{key}"


def _csv_records(uri: str, schema: str, storage: Storage) -> Iterator[Record]:
    names = [CSV_NAMES.get(name.strip(), name.strip()) for name in schema.split(",")]
    files, path = store.filesystem(uri, storage)
    with io.TextIOWrapper(files.open_input_stream(path), encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text, fieldnames=names):
            # S3 writes a space as "+" and a plus as "%2B"
            yield {**row, "key": urllib.parse.unquote_plus(row["key"])}


def _table_records(uri: str, file_format: str, storage: Storage) -> Iterator[Record]:
    import pyarrow.dataset

    files, path = store.filesystem(uri, storage)
    table = pyarrow.dataset.dataset(path, format=file_format, filesystem=files)
    require_plain(table.schema, uri)
    columns = [name for name in table.schema.names if name in CSV_NAMES.values()]
    for batch in table.to_batches(columns=columns, batch_size=10_000):
        yield from batch.to_pylist()


def _named(record: Record) -> Named | None:
    """Return one object of the inventory, or None for what is none or is out of date."""
    key, size = record["key"], record.get("size")
    size_bytes = int(size) if size not in (None, "") else None
    if _says(record.get("is_delete_marker"), True) or _says(record.get("is_latest"), False):
        return None
    if hidden(key) or (key.endswith("/") and size_bytes == 0):
        return None
    modified = record.get("last_modified_date") or None
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    uri = f"{store.S3_SCHEME}{record['bucket']}/{key}"
    found = make(uri, record.get("e_tag"), record.get("version_id"), size_bytes, modified)
    return key, found


def _says(value: object, wanted: bool) -> bool:
    return value is not None and str(value).lower() == str(wanted).lower()
