"""What is known of an object before anything of its content is read, and its identity."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dfd_batch.storage import S3_SCHEME, local_etag, local_uri

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".ogv", ".ts", ".webm", ".wmv",
})
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif",
    ".tiff", ".webp",
})
# fmt: on

_CANONICAL = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class MediaObject:
    """One object of the archive; fields that the storage did not tell are None.

    An object that was named but cannot be found has neither etag nor size: it is still an object,
    and ends as a row that says `missing`.
    """

    media_id: str
    uri: str
    etag: str | None
    """Opaque: equal means unchanged, and nothing else; without quotes."""
    version_id: str | None
    size_bytes: int | None
    last_modified: datetime | None
    """In UTC."""
    media: str | None
    """What the name says: `video`, `image`; the content decides later."""


def media_id(uri: str, token: str | None, size_bytes: int | None) -> str:
    """Return the identity of an object's content, 32 hex digits.

    Args:
        uri: Where the object lies.
        token: Its etag, or its version id where no etag is known. The etag comes first so that a
            listing, an inventory and a manifest of one bucket agree, and so that uploading the
            same bytes again asks for no second verdict.
        size_bytes: Its size.
    """
    # JSON quotes: no two triples have the same text, whatever characters a name holds
    return hashlib.sha256(_CANONICAL([uri, token, size_bytes]).encode()).hexdigest()[:32]


def media_hint(name: str) -> str | None:
    """Return "video" or "image" by a name's extension, else None."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    suffix = dot + extension.lower() if stem else ""  # ".mp4" alone is a dot-file
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "image" if suffix in IMAGE_SUFFIXES else None


def make(
    uri: str,
    etag: str | None = None,
    version_id: str | None = None,
    size_bytes: int | None = None,
    last_modified: datetime | None = None,
) -> MediaObject:
    """Return an object with its identity; naive times are taken as UTC, etags lose their quotes."""
    etag = (etag or "").removeprefix("W/").strip('"') or None
    if last_modified is not None:
        naive = last_modified.tzinfo is None
        last_modified = (
            last_modified.replace(tzinfo=UTC) if naive else last_modified.astimezone(UTC)
        )
    return MediaObject(
        media_id=media_id(uri, etag or version_id, size_bytes),
        uri=uri,
        etag=etag,
        version_id=version_id or None,
        size_bytes=size_bytes,
        last_modified=last_modified,
        media=media_hint(uri),
    )


def of_file(path: Path) -> MediaObject:
    """Return a local file as an object; its etag tells a change of time or size.

    What is not there, or is no regular file, comes back without a size.
    """
    uri = local_uri(path)
    try:
        told = path.stat()
    except OSError:
        return make(uri)
    if not stat.S_ISREG(told.st_mode):
        return make(uri)
    modified = datetime.fromtimestamp(told.st_mtime_ns // 10**9, UTC).replace(
        microsecond=told.st_mtime_ns % 10**9 // 1000
    )
    return make(uri, local_etag(told), None, told.st_size, modified)


def of_entry(bucket: str, entry: dict[str, Any]) -> MediaObject:
    """Return an object of a bucket from an entry of S3's `list_objects_v2`."""
    return make(
        f"{S3_SCHEME}{bucket}/{entry['Key']}",
        entry.get("ETag"),
        entry.get("VersionId"),
        entry.get("Size"),
        entry.get("LastModified"),
    )


def hidden(name: str) -> bool:
    """Return whether a name belongs to tools, not to the archive, at any level of a path.

    These are dot-files (`.DS_Store`, `._clip.mov`, `.git`) and what writers of tables and
    archives leave behind. To scan such a file, name it: as the source or in a manifest.
    """
    return any(
        (part.startswith(".") and part not in _STEPS) or part in _METADATA
        for part in name.split("/")
    )


_STEPS = (".", "..")
"""In a key they are text like any other; no tool calls its files so."""
_METADATA = frozenset({"_SUCCESS", "_temporary", "__MACOSX", "Thumbs.db", "desktop.ini"})
