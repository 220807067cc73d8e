"""The names of things in storage.

A URI is either a plain local path, a `file://` URI or `s3://bucket/key`. Keys are taken literally
(no percent-decoding). A local path that is not valid UTF-8 cannot be a Parquet string, so it is
written as a percent-encoded `file://` URI; every other local path stays as it is.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

from dfd_batch.outcomes import UsageError

S3_SCHEME = "s3://"
FILE_SCHEME = "file://"


def is_s3(uri: str) -> bool:
    """Return whether a URI names something in object storage."""
    return uri.startswith(S3_SCHEME)


def split_s3(uri: str) -> tuple[str, str]:
    """Return the bucket and the literal key (maybe empty) of an `s3://` URI.

    Raises:
        UsageError: The URI is not of S3 or names no bucket.
    """
    bucket, _, key = uri.removeprefix(S3_SCHEME).partition("/")
    if not is_s3(uri) or not bucket:
        raise UsageError(f"{uri!r} is not of the form s3://bucket/key.")
    return bucket, key


def local_path(uri: str) -> Path:
    """Return the path of a local URI; the inverse of `local_uri`.

    Raises:
        UsageError: The URI has a scheme other than `file` or names another host.
    """
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", uri)
    if scheme is None:
        return Path(uri)
    host, slash, path = uri.removeprefix(FILE_SCHEME).partition("/")
    if scheme.group() != FILE_SCHEME or host not in ("", "localhost"):
        raise UsageError(
            f"{uri!r} cannot be read: give a local path, file:///… or s3://bucket/prefix."
        )
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(slash + path)))


def local_uri(path: Path) -> str:
    """Return the URI of a local file: its absolute path (links kept) as valid UTF-8."""
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links
    try:
        absolute.encode()
    except UnicodeEncodeError:
        return FILE_SCHEME + urllib.parse.quote(os.fsencode(absolute))
    return absolute


def local_etag(told: os.stat_result) -> str:
    """Return a token of a local file that differs after a change of its time or size."""
    return f"{told.st_mtime_ns:x}-{told.st_size:x}"


def join(uri: str, *parts: str) -> str:
    """Return the URI of something below `uri`."""
    if uri.startswith(FILE_SCHEME):
        return local_uri(local_path(uri).joinpath(*parts))
    return "/".join([uri.rstrip("/"), *parts])
