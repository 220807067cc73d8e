"""One object that is acted on: looked at, tagged, copied, removed; in a folder or in a bucket.

Every function names the content that is meant by its ETag and refuses to touch another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dfd_batch.settings import Storage
from dfd_batch.storage.uris import is_s3

CHUNK_BYTES = 2**20
NO_VERSION = "null"
"""What S3 calls the version that was written while none were kept; it may be written over."""
Tags = dict[str, str]


class Refused(Exception):  # noqa: N818 - an answer about one object, not an error of the program
    """An object was left alone.

    Args:
        kind: `changed`, `missing`, `locked`, `denied` or `failed`.
        message: One sentence that names the object.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Head:
    """What lies at a URI now."""

    etag: str  # without quotes, as the catalogue has it
    size_bytes: int
    version_id: str | None = None  # of a bucket that keeps versions; NO_VERSION: older than that

    @property
    def pinned(self) -> str | None:
        """Return the version id where it names this content for ever."""
        return None if self.version_id == NO_VERSION else self.version_id


class Place(Protocol):
    """Where objects lie; `S3Place` and `LocalPlace`."""

    def head(self, uri: str) -> Head | None:
        """Return what lies there, or None."""

    def tags(self, uri: str, head: Head) -> Tags:
        """Return an object's tags."""

    def change_tags(self, uri: str, head: Head, change: Mapping[str, str | None]) -> None:
        """Set tags, drop those whose value is None, leave all others; read back."""

    def copy(self, uri: str, head: Head, to: str, new: bool = False) -> Head:
        """Copy content, metadata and tags; compare both; where `new`, write over nothing."""

    def remove(self, uri: str, head: Head, permanent: bool = False) -> None:
        """Remove it; where versions are kept a marker hides it unless `permanent`."""

    def is_locked(self, uri: str, head: Head) -> bool:
        """Return whether retention or a legal hold keeps it from being removed."""


def place_of(uri: str, storage: Storage) -> Place:
    """Return where a URI's object lies."""
    from dfd_batch.storage.acting_local import LocalPlace
    from dfd_batch.storage.acting_s3 import S3Place

    return S3Place(storage) if is_s3(uri) else LocalPlace()


def changed(uri: str) -> Refused:
    """Return the refusal to touch content that nobody judged."""
    return Refused("changed", f"{uri}: it has changed since it was judged; it is left alone.")


def taken(uri: str, to: str) -> Refused:
    """Return the refusal to write over an object that lies where another one is to go."""
    return Refused("changed", f"{to}: another object lies there by now; {uri} stays.")


def digest(chunks: object) -> str:
    """Return the SHA-256 of an iterable of bytes, in hex."""
    told = hashlib.sha256()
    for chunk in chunks:  # type: ignore[attr-defined]
        told.update(chunk)
    return told.hexdigest()
