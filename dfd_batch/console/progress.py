"""How far a scan is: a live bar on a terminal, a plain line every few seconds without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dfd_batch.console.text import counts, duration

if TYPE_CHECKING:
    from dfd_batch import pipeline

PLAIN_EVERY_S = 5.0
SELDOM_S = 60.0
WIDE = 120
"""Columns of what is printed where there is no terminal to ask: logs are not wrapped at 80."""


class Listener(Protocol):
    """Is told how far a run is."""

    def __call__(self, progress: pipeline.Progress) -> None:
        """Take note of the progress."""


@contextmanager
def watching(console: Console) -> Iterator[Listener]:
    """Yield the listener that suits the console; what it shows is gone or final at the end."""
    if not console.is_terminal:
        with PlainLines(console) as lines:
            yield lines
        return
    bar = LiveBar(console)
    with bar:
        yield bar.update_to


class PlainLines:
    """Prints a line every few seconds at first, once a minute later, news or not, and at the end.

    A log that is read afterwards stays short, and one that is followed shows that work goes on.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._last: pipeline.Progress | None = None
        self._heard_at_s = self._told_at_s = float("-inf")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> PlainLines:
        """Begin to tell of work that goes on without news."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Tell no more."""
        self._over.set()
        self._thread.join()

    def __call__(self, progress: pipeline.Progress) -> None:
        """Print the progress unless that was done just now."""
        with self._lock:
            now_s = self._heard_at_s = self._clock()
            self._last = progress
            every_s = min(SELDOM_S, max(PLAIN_EVERY_S, progress.elapsed_s / 20))
            if not progress.n_left or now_s - self._told_at_s >= every_s:
                self._tell(progress, now_s)

    def beat(self) -> None:
        """Print the last progress as of now, where nothing was printed for long."""
        with self._lock:
            now_s = self._clock()
            if self._last is not None and now_s - self._told_at_s >= SELDOM_S:
                elapsed_s = self._last.elapsed_s + now_s - self._heard_at_s
                self._tell(replace(self._last, elapsed_s=elapsed_s), now_s)

    def _beat(self) -> None:
        while not self._over.wait(PLAIN_EVERY_S):
            self.beat()

    def _tell(self, progress: pipeline.Progress, now_s: float) -> None:
        self._told_at_s = now_s
        self._console.print(line(progress), markup=False, highlight=False, soft_wrap=True)


class LiveBar(Progress):
    """A bar with rate and time to go, and the outcomes so far below it."""

    def __init__(self, console: Console) -> None:
        self._counts = Text("starting", style="dim")
        super().__init__(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self.add_task("", total=None, rate="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar and the line of counts."""
        yield from super().get_renderables()
        yield self._counts

    def update_to(self, progress: pipeline.Progress) -> None:
        """Show the progress."""
        rate = f"{_rate(progress):.2g}/s" if progress.n_done else ""
        self.update(self._task, total=progress.n_total, completed=progress.n_done, rate=rate)
        told = counts(progress.outcomes) if progress.outcomes else "starting"
        self._counts = Text(f"  {told}", style="dim")


def line(progress: pipeline.Progress) -> str:
    """Return the progress in one line, e.g. `12.0 s: 8 of 14, 0.67/s, 9.0 s to go; 8 scored`."""
    told = f"{duration(progress.elapsed_s)}: {progress.n_done:,} of {progress.n_total:,}"
    if not progress.n_done:
        return told
    to_go = f", {duration(progress.eta_s)} to go" if progress.n_left and progress.eta_s else ""
    return f"{told}, {_rate(progress):.2g}/s{to_go}; {counts(progress.outcomes)}"


def _rate(progress: pipeline.Progress) -> float:
    return progress.n_done / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
