"""An object as a local file: used in place, downloaded, or filled in as it is read.

Only the version that the manifest names is read: by version id, or under the condition that the
ETag is still the same, whether the store knows such conditions or not. An object that has changed
since becomes `changed`; so does a local file that changes while it is read. A large object on S3 is
not downloaded: its file has its size and holes, and `Fetched.load` fills those that the decoder is
about to read.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from dfd_batch.decode.download import Download, check_etag, fault
from dfd_batch.outcomes import MediaFault, Outcome, UsageError
from dfd_batch.settings import Limits, Storage
from dfd_batch.storage import is_s3, local_path
from dfd_batch.storage.uris import local_etag

BLOCK_BYTES = 2**18
"""What a large object is read in; less costs a request as well."""


@dataclass
class Fetched:
    """An object that lies on this machine, or as much of it as is wanted."""

    path: str
    bytes_read: int
    fetch_ms: float
    load: Callable[[int, int], None] | None = None
    """Brings the bytes from … to …; None: all are there."""


class Fetcher:
    """Brings objects to where a decoder can open them.

    Args:
        storage: How object storage is reached.
        limits: `max_object_bytes`.
    """

    def __init__(self, storage: Storage, limits: Limits) -> None:
        self._storage = storage
        self._limits = limits

    @contextmanager
    def fetch(
        self,
        uri: str,
        etag: str | None = None,
        version_id: str | None = None,
        size_bytes: int | None = None,
        *,
        in_parts: bool = False,
    ) -> Iterator[Fetched]:
        """Yield the object as a local file that is there until the context ends.

        Args:
            uri: Local path, `file://` or `s3://` URI.
            etag: The content that was listed; None reads whatever is there.
            version_id: Of a versioned bucket; then the ETag is not asked.
            size_bytes: As listed.
            in_parts: A large object on S3 may come with holes, which `Fetched.load` fills.

        Raises:
            MediaFault: `missing`, `changed`, `access_denied`, `throttled`, `timeout`, `empty` or
                `too_large`.
        """
        started = time.perf_counter()
        if size_bytes is not None:
            self._check_size(uri, size_bytes)
        if not is_s3(uri):
            path, n_bytes = self._in_place(uri, etag)
            try:
                yield Fetched(path, n_bytes, _ms_since(started))
            except MediaFault:  # of a file that changed or went meanwhile it says nothing
                self._in_place(uri, etag)
                raise
            with suppress(FileNotFoundError):  # gone by now, but it was read
                check_etag(uri, etag, local_etag(local_path(uri).stat()))
            return
        with tempfile.NamedTemporaryFile(prefix="dfd-object-") as file:
            object_ = Download(
                self._storage, uri, etag, version_id, lambda size: self._check_size(uri, size)
            )
            if in_parts and size_bytes is not None and size_bytes > self._storage.parts_from_bytes:
                yield _in_parts(object_, file, size_bytes)
                return
            n_bytes = object_.read(file)
            yield Fetched(file.name, n_bytes, _ms_since(started))

    def _check_size(self, uri: str, size_bytes: int) -> None:
        if size_bytes == 0:
            raise MediaFault(Outcome.EMPTY, "zero_bytes", f"{uri}: the object has no content.")
        if size_bytes > self._limits.max_object_bytes:
            raise MediaFault(
                Outcome.TOO_LARGE,
                "too_many_bytes",
                f"{uri}: {size_bytes} bytes are more than limits.max_object_bytes = "
                f"{self._limits.max_object_bytes}.",
            )

    def _in_place(self, uri: str, etag: str | None) -> tuple[str, int]:
        try:
            path = local_path(uri)
            told = path.stat()
            if not stat.S_ISREG(told.st_mode):
                raise MediaFault(
                    Outcome.MISSING, "not_a_file", f"{uri}: it is a folder or device, not a file."
                )
            path.open("rb").close()
        except PermissionError as error:
            raise fault(uri, Outcome.ACCESS_DENIED, "permission") from error
        except (OSError, ValueError, UsageError) as error:
            raise fault(uri, Outcome.MISSING, "not_found") from error
        check_etag(uri, etag, local_etag(told))
        self._check_size(uri, told.st_size)
        return str(path), told.st_size


def _in_parts(object_: Download, file: IO[bytes], size_bytes: int) -> Fetched:
    """Return an object of which nothing is here yet; each of its blocks is read at most once."""
    os.truncate(file.fileno(), size_bytes)
    here = bytearray(-(-size_bytes // BLOCK_BYTES))
    fetched = Fetched(file.name, 0, 0.0)

    def load(begin: int, end: int) -> None:
        started = time.perf_counter()
        block, last = max(begin, 0) // BLOCK_BYTES, (min(end, size_bytes) - 1) // BLOCK_BYTES
        while (first := here.find(0, block, last + 1)) >= 0:
            block = here.find(1, first, last + 1)  # what is here already ends a part
            block = last + 1 if block < 0 else block
            stop = min(block * BLOCK_BYTES, size_bytes)
            fetched.bytes_read += object_.read(file, first * BLOCK_BYTES, stop)
            here[first:block] = b"\1" * (block - first)
        fetched.fetch_ms += _ms_since(started)

    fetched.load = load
    return fetched


def _ms_since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)
