"""How far a scan is: a live bar on a terminal, a plain line every few seconds without one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


class Listener(Protocol):
    """Is told how far a run is."""

    def __call__(self, progress: pipeline.Progress) -> None:
        """Take note of the progress."""


@contextmanager
def watching(console: Console) -> Iterator[Listener]:
    """Yield the listener that suits the console; what it shows is gone or final at the end."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    bar = LiveBar(console)
    with bar:
        yield bar.update_to


class PlainLines:
    """Prints a line when the last one is some seconds old, and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told_at_s = float("-inf")

    def __call__(self, progress: pipeline.Progress) -> None:
        """Print the progress unless that was done just now."""
        now_s = time.monotonic()
        finished = progress.n_done >= progress.n_total
        if finished or now_s - self._told_at_s >= PLAIN_EVERY_S:
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
    rate = _rate(progress)
    left = progress.n_total - progress.n_done
    to_go = f", {duration(left / rate)} to go" if left and rate else ""
    return f"{told}, {rate:.2g}/s{to_go}; {counts(progress.outcomes)}"


def _rate(progress: pipeline.Progress) -> float:
    return progress.n_done / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
