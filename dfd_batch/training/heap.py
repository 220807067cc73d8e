"""Memory that a network's steps on CPUs use again and again, instead of the system's anew."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_LIBC = ctypes.CDLL(None)
# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 256 << 20}
USUAL = {
    M_MMAP_MAX: 65_536,
    M_TRIM_THRESHOLD: 64 << 20,
    M_TOP_PAD: 128 << 10,
    M_MMAP_THRESHOLD: 32 << 20,
}
"""Where glibc's own adjustment, which any wish ends, would have come to."""


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory for the next step while the context lasts.

    glibc maps every activation of more than 32 MB anew and gives it back when it is freed, so that
    a step spends its time on page faults: a training step of the default encoder took twice as
    long. Where malloc cannot be told (not glibc), nothing changes.
    """
    _tell(KEPT)
    try:
        yield
    finally:
        usual_heap()


def usual_heap() -> None:
    """Give freed memory back as processes do, also in one that was forked in a `kept_heap`."""
    _tell(USUAL)
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def _tell(options: dict[int, int]) -> None:
    for option, value in options.items() if hasattr(_LIBC, "mallopt") else ():
        _LIBC.mallopt(option, value)
