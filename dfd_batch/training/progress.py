"""How far long work is: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
EVERY_S = 10.0


def told(work: Iterable[T], what: str, total: int, done: int = 0) -> Iterator[T]:
    """Yield each piece of work, and tell how many are done.

    Args:
        work: What is left to do.
        what: Its name, in the plural.
        total: All of it, with what was done before.
        done: Before.
    """
    console = Console()
    if console.is_terminal:
        yield from track(work, what, total, done, console=console, transient=True)
        return
    began = said = time.monotonic()
    for n, piece in enumerate(work, 1):
        yield piece
        now = time.monotonic()
        if now - said >= EVERY_S or done + n == total:
            said = now
            left = timedelta(seconds=round((now - began) / n * (total - done - n)))
            print(f"{what}: {done + n:,} of {total:,}, {left} to go", flush=True)
