"""Files that several processes change: written only where nobody else has, listed, removed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from dfd_batch.settings import Storage
from dfd_batch.storage.access import client
from dfd_batch.storage.errors import explain
from dfd_batch.storage.files import write_bytes
from dfd_batch.storage.uris import is_s3, local_path, split_s3

_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_ABSENT = {"NoSuchKey", "404"}
_UNKNOWN = {"NotImplemented", "InvalidArgument", "InvalidRequest", "501"}


def read_token(uri: str, storage: Storage) -> tuple[bytes | None, str | None]:
    """Return a file's content and the token of this content; both None where there is no file.

    Raises:
        UsageError: It cannot be read.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if is_s3(uri):
            bucket, key = split_s3(uri)
            found = client(storage).get_object(Bucket=bucket, Key=key)
            return found["Body"].read(), found["ETag"].strip('"')
        blob = local_path(uri).read_bytes()
        return blob, hashlib.sha256(blob).hexdigest()
    except FileNotFoundError:
        return None, None
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _ABSENT:
            return None, None
        raise explain(error, uri) from error
    except (BotoCoreError, OSError) as error:
        raise explain(error, uri) from error


def write_if(uri: str, data: bytes, token: str | None, storage: Storage) -> bool:
    """Write a small file in one step if nobody has written it since; return whether it was.

    A store that knows no conditional writes writes always.

    Args:
        uri: Of the file.
        data: Its new content.
        token: Of `read_token`; None: there was no file.
        storage: How to reach it.

    Raises:
        UsageError: It cannot be written.
    """
    if not is_s3(uri):
        return _write_local(uri, data, token, storage)
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = split_s3(uri)
    # without quotes: Ceph compares the ETag's text
    condition = {"IfNoneMatch": "*"} if token is None else {"IfMatch": token}
    try:
        client(storage).put_object(Bucket=bucket, Key=key, Body=data, **condition)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _LOST or (token is not None and code in _ABSENT):
            return False
        if code not in _UNKNOWN:
            raise explain(error, uri) from error
        write_bytes(uri, data, storage)
    except BotoCoreError as error:
        raise explain(error, uri) from error
    return True


def age_s(uri: str, storage: Storage) -> float | None:
    """Return how long ago a file was written, in seconds; None where there is no file.

    Of an object, by the store's own clock, to the second.

    Raises:
        UsageError: The storage cannot be asked.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if not is_s3(uri):
            return time.time() - local_path(uri).stat().st_mtime
        bucket, key = split_s3(uri)
        told = client(storage).head_object(Bucket=bucket, Key=key)
        clock = told["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(clock) if clock else datetime.now(UTC)
        return float((now - told["LastModified"]).total_seconds())
    except FileNotFoundError:
        return None
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _ABSENT:
            return None
        raise explain(error, uri) from error
    except (BotoCoreError, OSError) as error:
        raise explain(error, uri) from error


def list_files(uri: str, storage: Storage) -> dict[str, tuple[int, datetime]]:
    """Return size in bytes and time of change of the files directly below a folder, by name.

    Raises:
        UsageError: It cannot be listed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if not is_s3(uri):
            return _list_local(local_path(uri))
        bucket, key = split_s3(uri)
        prefix = key.rstrip("/") + "/" if key else ""
        found = {}
        pages = client(storage).get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            for entry in page.get("Contents", ()):
                name = entry["Key"].removeprefix(prefix)
                found[name] = (entry["Size"], entry["LastModified"])
        return found
    except (BotoCoreError, ClientError, OSError) as error:
        raise explain(error, uri) from error


def _list_local(folder: Path) -> dict[str, tuple[int, datetime]]:
    if not folder.is_dir():
        return {}
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                told = entry.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            if entry.is_file():
                found[entry.name] = (told.st_size, datetime.fromtimestamp(told.st_mtime, UTC))
    return found


def remove(uri: str, storage: Storage) -> None:
    """Remove a file of our own; one that is gone already is no fault.

    Raises:
        UsageError: It cannot be removed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if is_s3(uri):
            bucket, key = split_s3(uri)
            client(storage).delete_object(Bucket=bucket, Key=key)
        else:
            local_path(uri).unlink(missing_ok=True)
    except (BotoCoreError, ClientError, OSError) as error:
        raise explain(error, uri) from error


def _write_local(uri: str, data: bytes, token: str | None, storage: Storage) -> bool:
    path = local_path(uri)
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with Path(lock).open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if read_token(uri, storage)[1] != token:
                return False
            write_bytes(uri, data, storage)
            return True
    except OSError as error:
        raise explain(error, uri) from error
