"""Small files, whole: settings, summaries, manifests of a run."""

from __future__ import annotations

import mimetypes
import os
import tempfile
from pathlib import Path

from dfd_batch.settings import Storage
from dfd_batch.storage.access import client
from dfd_batch.storage.errors import explain, raised
from dfd_batch.storage.uris import is_s3, local_path, split_s3


def read_bytes(uri: str, storage: Storage) -> bytes:
    """Return the content of a small file.

    Raises:
        UsageError: It does not exist or cannot be read.
    """
    try:
        if is_s3(uri):
            bucket, key = split_s3(uri)
            body: bytes = client(storage).get_object(Bucket=bucket, Key=key)["Body"].read()
            return body
        return local_path(uri).read_bytes()
    except raised() as error:
        raise explain(error, uri) from error


def write_bytes(uri: str, data: bytes, storage: Storage) -> None:
    """Write a small file in one step: readers see the old content or the new, never a part.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        if is_s3(uri):
            bucket, key = split_s3(uri)
            kind = mimetypes.guess_type(key)[0] or "application/octet-stream"  # pages open as pages
            client(storage).put_object(Bucket=bucket, Key=key, Body=data, ContentType=kind)
        else:
            _replace(local_path(uri), data)
    except raised() as error:
        raise explain(error, uri) from error


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp's 0600 would hide reports from a group
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def exists(uri: str, storage: Storage) -> bool:
    """Return whether a file, or a folder with something in it, lies at a URI.

    Raises:
        UsageError: The storage cannot be asked.
    """
    if not is_s3(uri):
        return local_path(uri).exists()
    bucket, key = split_s3(uri)
    folder = key if not key or key.endswith("/") else key + "/"
    try:
        # the object itself sorts first among all keys that start with its own
        for prefix, wanted in ((key, key), (folder, None)):
            page = client(storage).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
            keys = [entry["Key"] for entry in page.get("Contents", ())]
            if keys and wanted in (None, keys[0]):
                return True
    except raised() as error:
        raise explain(error, uri) from error
    return False


def list_names(uri: str, storage: Storage) -> list[str]:
    """Return the sorted names of the files and folders directly below a URI; none if missing.

    Raises:
        UsageError: The folder cannot be listed.
    """
    try:
        if not is_s3(uri):
            path = local_path(uri)
            return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        bucket, key = split_s3(uri)
        prefix = key.rstrip("/") + "/" if key else ""
        names = set()
        pages = client(storage).get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            names |= {entry["Key"].removeprefix(prefix) for entry in page.get("Contents", ())}
            names |= {
                folder["Prefix"].removeprefix(prefix).rstrip("/")
                for folder in page.get("CommonPrefixes", ())
            }
        return sorted(names - {""})
    except raised() as error:
        raise explain(error, uri) from error
