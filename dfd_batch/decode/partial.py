"""A file whose bytes come as they are read.

The decoder opens it like any other. What is missing is asked for ahead of where it is needed:
further with every part that follows the one before, so that a clip takes one or two requests and
a container without an index is read as fast as by a download.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable

FIRST_BYTES, MOST_BYTES = 2**18, 2**23
"""Read ahead at first, and at most."""

Load = Callable[[int, int], None]
"""Brings the bytes from … to … into the file."""


class PartialFile(io.RawIOBase):
    """A read-only file with holes.

    Args:
        path: A local file of the whole size.
        load: Fills holes; is asked for each byte at least once before it is read.
    """

    def __init__(self, path: str, load: Load) -> None:
        self.path = path
        self._load = load
        self._fd = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._fd).st_size
        self._position = 0
        self._here: list[tuple[int, int]] = []  # apart, ascending
        self._ahead = FIRST_BYTES
        self.waited_s = 0.0

    def ensure(self, begin: int, end: int) -> None:
        """Have the bytes from `begin` to `end` at hand."""
        end = min(end, self._size)
        while (begin := self._missing(begin)) < end:
            follows = any(known_end == begin for _, known_end in self._here)
            self._ahead = min(2 * self._ahead, MOST_BYTES) if follows else FIRST_BYTES
            known = min((at for at, _ in self._here if at > begin), default=self._size)
            stop = min(max(end, begin + self._ahead), known)
            started = time.perf_counter()
            self._load(begin, stop)
            self.waited_s += time.perf_counter() - started
            self._note(begin, stop)

    def _missing(self, begin: int) -> int:
        """Return the first position from `begin` on that is not here."""
        return next((b for a, b in self._here if a <= begin < b), begin)

    def _note(self, begin: int, end: int) -> None:
        joined = [(a, b) for a, b in self._here if a <= end and begin <= b] + [(begin, end)]
        apart = [(a, b) for a, b in self._here if not (a <= end and begin <= b)]
        self._here = sorted([*apart, (min(a for a, _ in joined), max(b for _, b in joined))])

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size` of them unless it is negative."""
        left = max(self._size - self._position, 0)
        wanted = left if size < 0 else min(size, left)
        self.ensure(self._position, self._position + wanted)
        found = os.pread(self._fd, wanted, self._position)
        self._position += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.closed:
            os.close(self._fd)
        super().close()
