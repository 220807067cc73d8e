"""S3 prefixes as a source of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dfd_batch import storage as store
from dfd_batch.catalog.local import Named
from dfd_batch.catalog.objects import hidden, make, of_entry
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage


def walk(source: str, storage: Storage) -> Iterator[Named]:
    """Yield the object at an `s3://` URI and those below it, page by page, in the order of keys.

    `s3://bucket/a` means the object `a` and all below `a/`; never `ab/…`, which merely starts the
    same. Folder markers (empty objects whose key ends in "/") are no objects.

    Raises:
        UsageError: The bucket cannot be listed, or only keys beside the prefix exist.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = store.split_s3(source)
    client = store.client(storage)
    prefix = key if not key or key.endswith("/") else key + "/"
    n_found = 0
    try:
        # the object itself sorts before all other keys that start with its own
        first = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", ())
        for entry in first:
            if entry["Key"] == key and prefix != key:
                n_found += 1
                yield key.rpartition("/")[2], of_entry(bucket, entry)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                n_found += 1
                below = entry["Key"][len(prefix) :]
                if not _marker(entry) and not hidden(below):
                    yield below, of_entry(bucket, entry)
        if first and not n_found:
            raise UsageError(
                f"There is nothing at {source}; the nearest object is "
                f"s3://{bucket}/{first[0]['Key']}. Give a whole folder or object name."
            )
    except ClientError as error:
        single = None if n_found else _head(client, bucket, key)
        if single is None:
            raise store.explain(error, source) from error
        yield key.rpartition("/")[2], make(source, *single)
    except BotoCoreError as error:
        raise store.explain(error, source) from error


def _marker(entry: dict[str, Any]) -> bool:
    return bool(entry["Key"].endswith("/")) and entry["Size"] == 0


def _head(client: Any, bucket: str, key: str) -> tuple[Any, ...] | None:
    """Return what `make` needs of an object that may be read though its bucket is not listed."""
    from botocore.exceptions import ClientError

    if not key or key.endswith("/"):
        return None
    try:
        told = client.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return None
    return told.get("ETag"), None, told["ContentLength"], told["LastModified"]
