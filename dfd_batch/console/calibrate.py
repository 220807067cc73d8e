"""`dfd calibrate`: the user's own genuine media set the bands; no training."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dfd_batch import checkpoint as checkpoints
from dfd_batch.checkpoint import Metric, ModelCard, OperatingPoint, Thresholds
from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.scan import say, watched
from dfd_batch.console.text import counts, printable, to_json
from dfd_batch.judge import thresholds as conformal
from dfd_batch.judge.thresholds import Band
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Settings

FIGURE = "false alarm rate"
LIMIT = "Its thresholds hold for media like those they were set on"


@dataclass(frozen=True)
class Wanted:
    """What the user asks for."""

    out: Path
    fpr: float
    best_effort: bool
    command: str


@dataclass(frozen=True)
class Sample:
    """Genuine media that were judged."""

    probabilities: NDArray[np.float64]  # (n,) of the scored ones
    is_video: NDArray[np.bool_]  # (n,)
    outcomes: dict[str, int]

    def media(self) -> dict[str, NDArray[np.float64]]:
        """Return the probabilities by medium, of those that occur."""
        parts = {
            "images": self.probabilities[~self.is_video],
            "videos": self.probabilities[self.is_video],
        }
        return {name: part for name, part in parts.items() if len(part)}


def run(
    source: str | None,
    reports: str | None,
    wanted: Wanted,
    settings: Settings,
    address: str | None,
    as_json: bool,
) -> int:
    """Judge genuine media where they are not judged yet, set the bands, write the checkpoint.

    Raises:
        UsageError: There is nothing to set the bands on, or the output holds another checkpoint.
    """
    console = Console(stderr=as_json)
    out, fpr = wanted.out, wanted.fpr
    if source is None and reports is None:
        raise UsageError("Give genuine media to scan, or --reports where their verdicts lie.")
    base = checkpoints.load(settings.checkpoint).card
    _check_free(out)
    place = reports or str(out / "scan")
    if source is not None:
        done = watched(source, place, settings, address, console)
        if done.stopped is not None:
            raise UsageError(f"Stopped. {done.stopped} Run the same command again to go on.")
        if not done.reconciled:
            return FAILED
    sample = _sample(source, place, base, settings)
    bands = conformal.bands(sample.probabilities, fpr)
    account: dict[str, Any] = {
        "checkpoint": None,
        "n_scored": len(sample.probabilities),
        "outcomes": sample.outcomes,
        "target_fpr": fpr,
        "held_fpr": _held(bands, fpr),
        "n_needed": conformal.samples_needed(fpr),
        "n_for_half_precision": conformal.samples_for_precision(fpr),
        "bands": [asdict(band) for band in bands],
        "media": {name: _at_suspicious(part, bands) for name, part in sample.media().items()},
    }
    if not as_json:
        _tell(console, sample, bands, account)
    supported = conformal.allowed(len(sample.probabilities), fpr) > 0
    if supported or wanted.best_effort:
        card = _card(base, bands, sample, wanted, settings)
        _write(out, card, settings.checkpoint)
        account["checkpoint"] = str(out)
        say(console, f"written   {printable(str(out))}: {card.name} {card.version}")
        if not supported:
            say(console, _less(account))
    else:
        typer.echo(f"dfd: {_too_few(account)}", err=True)
    if as_json:
        typer.echo(to_json(account))
    return OK if supported or wanted.best_effort else FAILED


def _check_free(out: Path) -> None:
    """Refuse to write over any checkpoint but one that was made here."""
    if (out / "card.json").exists() and checkpoints.load_card(str(out)).operating_point is None:
        raise UsageError(f"{out} holds a checkpoint of its own; give --out another directory.")


def _sample(source: str | None, place: str, base: ModelCard, settings: Settings) -> Sample:
    """Return what the reports hold by this detector: of the source's objects, else of all."""
    detector = checkpoints.detector_id(base, *settings.judging)
    wanted = pc.field("detector_id") == detector
    if source is not None:
        from dfd_batch.catalog.listing import listing

        objects = listing(source, settings.select, settings.storage, exclude_under=place)
        wanted &= pc.field("media_id").isin(pa.array([o.media_id for o in objects], pa.string()))
    columns = ["uri", "media", "outcome", "probability"]
    rows = read.latest(reports_uri(place), settings.storage, columns, wanted, by=read.URI_KEY)
    scored = rows.filter(pc.field("outcome") == "scored")
    if not scored.num_rows:
        outcomes = counts(Counter(rows.column("outcome").to_pylist()))
        raise UsageError(
            f"No genuine object was scored by {base.name} {base.version} ({detector}) with these "
            f"settings in {place}; outcomes: {outcomes}."
        )
    return Sample(
        read.probabilities(scored),
        np.array(pc.equal(scored.column("media"), "video")),
        dict(Counter(rows.column("outcome").to_pylist())),
    )


def _held(bands: tuple[Band, ...], fpr: float) -> float:
    """Return the false alarm rate of `suspicious` that the sample can hold: wanted, or above it."""
    return max(fpr, bands[1].fpr or 0.0)


def _at_suspicious(part: NDArray[np.float64], bands: tuple[Band, ...]) -> dict[str, Any]:
    """Return how many of one medium are at or above `suspicious`, with the share's interval."""
    band = bands[1]
    n_above = int((part >= band.threshold).sum())
    low, high = conformal.share_interval(n_above, len(part))
    expected = band.fpr or 0.0
    return {
        "n": len(part),
        "n_suspicious": n_above,
        "low": low,
        "high": high,
        "differs": not low <= expected <= high,
    }


def _card(
    base: ModelCard,
    bands: tuple[Band, ...],
    sample: Sample,
    wanted: Wanted,
    settings: Settings,
) -> ModelCard:
    n, n_videos = len(sample.probabilities), int(sample.is_video.sum())
    now, coverage = datetime.now(UTC), settings.sampling.coverage.value
    origin, held = base.operating_point, _held(bands, wanted.fpr)
    point = OperatingPoint(
        target_fpr=held,
        n_images=n - n_videos,
        n_videos=n_videos,
        coverage=coverage,
        looks=checkpoints.looks_id(*settings.judging),
        date=f"{now:%Y-%m-%d}",
        base=origin.base if origin else f"{base.name} {base.version}",
        command=wanted.command,
    )
    data = f"{n:,} genuine objects of the user, expected at or above the band's threshold"
    figures = tuple(
        Metric(
            name=f"{FIGURE}, {band.name}",
            data=data,
            value=band.fpr,
            low=band.low,
            high=band.high,
            n=n,
            command=wanted.command,
        )
        for band in bands
        if band.fpr is not None
    )
    limit = f"{LIMIT}: {n - n_videos:,} images and {n_videos:,} videos, coverage {coverage}."
    return base.model_copy(
        update={
            "name": wanted.out.resolve().name,
            "version": f"{point.base.rsplit(' ', 1)[-1]}+fpr{held:g}.{now:%Y%m%d}",
            "thresholds": Thresholds(**{band.name: band.threshold for band in bands}),
            "operating_point": point,
            "metrics": tuple(m for m in base.metrics if not m.name.startswith(FIGURE)) + figures,
            "limitations": (*(t for t in base.limitations if not t.startswith(LIMIT)), limit),
        }
    )


def _write(out: Path, card: ModelCard, checkpoint: str) -> None:
    """Write the checkpoint: the very same weights beside the new card."""
    weights = checkpoints.resolve(checkpoint) / "model.safetensors"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / weights.name).exists() or not weights.samefile(out / weights.name):
            shutil.copyfile(weights, out / weights.name)
        (out / "card.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:.2g} %" if value < 10 else f"{value:.0f} %"


def _less(account: dict[str, Any]) -> str:
    """Return what the sample holds instead of what was asked for."""
    asked, held = _percent(account["target_fpr"]), _percent(account["held_fpr"])
    return (
        f"held      a false alarm rate of {held}, which the checkpoint says, not the {asked} asked "
        f"for: {account['n_scored']:,} genuine objects hold no less; add media"
    )


def _too_few(account: dict[str, Any]) -> str:
    n = account["n_scored"]
    return (
        f"{n:,} genuine objects cannot hold a false alarm rate of "
        f"{_percent(account['target_fpr'])}: that takes {account['n_needed']:,}, these support "
        f"{_percent(1 / (n + 1))}; add media, raise --fpr, or say --best-effort."
    )


def _tell(
    console: Console, sample: Sample, bands: tuple[Band, ...], account: dict[str, Any]
) -> None:
    parts = sample.media()
    by_medium = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    say(console, f"sample    {account['n_scored']:,} genuine objects scored: {by_medium}")
    lost = {name: n for name, n in sample.outcomes.items() if name != "scored"}
    if lost:
        say(console, f"left out  {counts(lost)}")
    say(
        console,
        f"needed    {account['n_needed']:,} for a false alarm rate of "
        f"{_percent(account['target_fpr'])}, {account['n_for_half_precision']:,} to hold it "
        "within ±50 %",
    )
    console.print(_table(bands, parts))
    for name, found in account["media"].items():
        if found["differs"] and len(parts) > 1:  # of equal scores fewer pass: no harm
            share = _percent(found["n_suspicious"] / found["n"])
            interval = f"{_percent(found['low'])} – {_percent(found['high'])}"
            say(
                console,
                f"warning   {name} alone: {share} ({interval}) suspicious or worse; the rate "
                "holds only for images and videos mixed as in this sample",
            )


def _table(bands: tuple[Band, ...], parts: dict[str, NDArray[np.float64]]) -> Table:
    """Return the bands, the most serious first, and how much of the sample is in each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("band", no_wrap=True)
    for title in ("from P ≥", "false alarms", "95 % interval", *parts):
        table.add_column(title, justify="right", no_wrap=True)
    edges = [0.0, *(band.threshold for band in bands), np.inf]
    shares = [np.histogram(part, edges)[0] / len(part) for part in parts.values()]
    for row in range(len(bands), -1, -1):
        inside = [_percent(share[row]) for share in shares]
        if row == 0:
            table.add_row("authentic", "0", "", "", *inside)
            continue
        band = bands[row - 1]
        if band.fpr is None or band.low is None or band.high is None:
            needs = f"needs {band.n_needed:,}"
            table.add_row(band.name, "never", needs, "", *inside)
            continue
        rate = f"≤ {_percent(band.fpr)}"
        interval = f"{_percent(band.low)} – {_percent(band.high)}"
        table.add_row(band.name, f"{band.threshold:.4f}", rate, interval, *inside)
    return table
