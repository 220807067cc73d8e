"""`dfd train`: what it would take, how far it is, and where the checkpoint lies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from dfd_batch.console.scan import say
from dfd_batch.console.text import duration
from dfd_batch.outcomes import UsageError
from dfd_batch.training.config import TrainConfig

if TYPE_CHECKING:
    from dfd_batch.training.fit import Listener, Standing
    from dfd_batch.training.run import Outlook

PLAIN_EVERY_S = 10.0


def run(
    config: TrainConfig,
    address: str | None,
    dry_run: bool,
    temporal_only: str | None = None,
    synthesis_only: str | None = None,
) -> None:
    """Train (all of it, or one part of a checkpoint), or say what it would take."""
    console = Console()
    from dfd_batch.training import run as training

    if temporal_only is not None and synthesis_only is not None:
        raise UsageError("Give --temporal-only or --synthesis-only, one after the other.")
    part = "temporal" if temporal_only is not None else "synthesis"
    base = temporal_only if temporal_only is not None else synthesis_only
    if base is not None:
        if dry_run or address or config.workers > 1:
            raise UsageError(
                f"--{part}-only trains here and now: leave out --dry-run, --address and --workers."
            )
        alone = {"temporal": training.train_temporal, "synthesis": training.train_synthesis}
        out = alone[part](config, base)
        say(console, f"checkpoint  {out}")
        say(console, f"run         {config.work / f'{part}.json'}")
        return
    if dry_run:
        for line in outlook_lines(config, training.outlook(config, address)):
            say(console, line)
        return
    with watching(console) as listener:
        out = training.train(config, listener, address)
    say(console, f"checkpoint  {out}")
    say(console, f"run         {config.work / 'run.json'}, {config.work / 'curves.png'}")


@contextmanager
def watching(console: Console) -> Iterator[Listener]:
    """Yield the listener that suits the console: a live bar, or a plain line now and then."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    with Bar(console) as bar:
        yield bar.update_to


class PlainLines:
    """Prints a line when the last one is some seconds old, after a look, and at the end."""

    def __init__(self, console: Console) -> None:
        self._console, self._told_at_s = console, float("-inf")
        self._look: dict[str, Any] | None = None

    def __call__(self, standing: Standing) -> None:
        """Print how far a run is unless that was done just now."""
        now_s = time.monotonic()
        news = standing.look != self._look or standing.done >= 1
        if news or now_s - self._told_at_s >= PLAIN_EVERY_S:
            self._told_at_s, self._look = now_s, standing.look
            say(self._console, f"{standing.done:6.1%}  {line(standing)}")


class Bar(Progress):
    """A bar with what the plain line says."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
        super().__init__(*columns, console=console, transient=True)
        self._task = self.add_task("preparing", total=1.0)

    def update_to(self, standing: Standing) -> None:
        """Show how far a run is."""
        self.update(self._task, completed=standing.done, description=line(standing))


def line(standing: Standing) -> str:
    """Return how a run stands, e.g. `1,200 images, 21.3/s, loss 0.612, 14 min to go, AUC 0.871`."""
    told = [f"{standing.images:,} images", f"{standing.images_per_s:.3g}/s"]
    if not math.isnan(standing.loss):
        told.append(f"loss {standing.loss:.3f}")
    told.append(f"{duration(standing.left_s)} to go")
    figure = (standing.look or {}).get("dfdc_auc") or (standing.look or {}).get("held_out_auc")
    if figure:
        told.append(f"AUC {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]")
    return ", ".join(told)


def outlook_lines(config: TrainConfig, found: Outlook) -> Iterator[str]:
    """Yield what a training would use and take, line by line."""
    for name, faces in found.pools.items():
        told = ", ".join(f"{n:,} {kind}" for kind, n in faces.items() if n)
        yield f"pool      {name}: {told or 'nothing that may be used'}"
    if not found.pools:
        yield f"pool      none yet: they are made of {config.data} first"
    for source in found.data:
        licence = source.licence or "no licence"
        before = "" if source.use == "training" else f", {source.use}"
        yield f"data      {source.name}: {source.n:,} media under {licence}{before}"
    yield f"encoder   {config.architecture.encoder}, from {found.begins_from}"
    yield f"machine   {found.hardware}"
    per_step = f"{found.images_per_step:,} images"
    if found.n_steps is None:
        yield f"course    steps of {per_step}, for {config.minutes:g} minutes"
    else:
        yield f"course    {found.n_steps:,} steps of {per_step}"
    more = []
    if "redrawn" not in config.without:
        more.append(f"autoencoders that redraw faces, {config.redraw_steps:,} steps each, before")
    if config.architecture.temporal != "none":
        more.append(f"a temporal part on {config.clips:,} forged clips after")
    if more:
        yield f"beside    {'; '.join(more)} (once for a --work)"
    if found.seconds_per_step is not None:
        rate = found.images_per_step / found.seconds_per_step
        took = f", {duration(found.n_steps * found.seconds_per_step)}" if found.n_steps else ""
        yield f"cost      about {rate:.3g} images/s here with one worker{took} (measured just now)"
