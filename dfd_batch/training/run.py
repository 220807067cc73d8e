"""A whole training: pools, frame encoder, temporal head; and what it would take."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfd_batch import checkpoint
from dfd_batch.checkpoint import DataSource, ModelCard
from dfd_batch.outcomes import UsageError
from dfd_batch.training import cards, consecutive, initial, record, synthesis
from dfd_batch.training.clips import ClipForge
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches
from dfd_batch.training.devices import device_of, n_loaders
from dfd_batch.training.fit import EncoderRun, Listener, best_of
from dfd_batch.training.motion import encoder_of
from dfd_batch.training.prepare import prepare
from dfd_batch.training.redraw import redraw
from dfd_batch.training.selection import check_margin, used_rows
from dfd_batch.training.temporal import add_temporal

PROBED_STEPS = 2


@dataclass(frozen=True)
class Outlook:
    """What a training would use and take."""

    pools: dict[str, dict[str, int]]  # name -> genuine, manipulated faces
    data: tuple[DataSource, ...]
    begins_from: str
    hardware: str
    images_per_step: int
    n_steps: int | None  # None: until the time is up
    seconds_per_step: float | None  # measured on this machine; None before preparation


def train(
    config: TrainConfig, listener: Listener | None = None, address: str | None = None
) -> Path:
    """Train encoder and temporal head and return the checkpoint's directory; run again, it goes on.

    Args:
        config: What to read, write and do.
        listener: Told how far the frame encoder is.
        address: Ray cluster for several workers; None: `RAY_ADDRESS`, else this machine.

    Raises:
        UsageError: Settings, data or weights cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state was saved.
    """
    config = settled(config, address)
    with _terminable():
        config = _opened(config, "run", address)
        here = _here(config, address)
        if "redrawn" not in config.without:
            redraw(
                config.work,
                used_rows(config),
                config.redraw_steps,
                device=device_of(here),
                mark=config.media_mark,
            )
        if _on_cluster(config, address):
            from dfd_batch.training.cluster import fit_on_ray

            finished = fit_on_ray(config, listener, address)
        else:
            finished = EncoderRun(config, listener).run()
        if not finished:
            raise KeyboardInterrupt
        if config.architecture.temporal != "none":
            add_temporal(here, best_of(config.work), config.out)
    return config.out


def train_temporal(config: TrainConfig, encoder_checkpoint: str) -> Path:
    """Give a checkpoint's encoder a temporal head (stage B alone) and return the new directory.

    Args:
        config: As for `train`; encoder, crops and normalisation are the checkpoint's.
        encoder_checkpoint: Directory or shipped name; a temporal head that it has is replaced.

    Raises:
        UsageError: Settings, data or checkpoint cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was made so far is kept.
    """
    if config.architecture.temporal == "none":
        raise UsageError("A temporal head alone needs --temporal lstm or gru.")
    directory, card = (
        checkpoint.resolve(encoder_checkpoint),
        checkpoint.load_card(encoder_checkpoint),
    )
    _check_base(card, config, encoder_checkpoint)
    config = config.model_copy(update={"preprocessing": card.preprocessing})
    with _terminable():
        config = _opened(config, "temporal")
        add_temporal(config, directory, config.out)
    return config.out


def train_synthesis(config: TrainConfig, detector: str) -> Path:
    """Give a checkpoint a second network for stills and return the new directory.

    Args:
        config: As for `train`; the encoder's kind, crops and normalisation are the checkpoint's.
        detector: Directory or shipped name; a second network that it has is replaced.

    Raises:
        UsageError: Settings, data, weights or checkpoint cannot be used.
    """
    base = checkpoint.load(detector)
    _check_base(base.card, config, detector)
    if config.mixture == "genuine":
        raise UsageError(
            "A second look at stills learns from generated faces: leave --mixture out."
        )
    config = synthesis.fitting(config, base.card)
    network = initial.general(config)  # refuses before faces are prepared for hours
    with _terminable():
        config = _opened(config, "synthesis")
        synthesis.add_synthesis(config, base, network, config.out)
    return config.out


def _opened(
    config: TrainConfig, name: Literal["run", "temporal", "synthesis"], address: str | None = None
) -> TrainConfig:
    """Prepare what is learned from, refuse what does not fit, and write the run's account.

    Args:
        config: Of the run.
        name: Of its account.
        address: Ray cluster that trains, if any.

    Returns:
        The settings, with the shares that the pools can serve.
    """
    config.work.mkdir(parents=True, exist_ok=True)
    if config.data is not None:
        prepare(config.data, config.work, config.preprocessing.margin)
    if name == "synthesis":
        check_margin(config)
    else:
        config = mixed(config)
    here = _here(config, address)
    record.open_run(config, record.hardware(here, device_of(here)), name)
    return config


def _check_base(card: ModelCard, config: TrainConfig, named: str) -> None:
    """Refuse a detector that no part may be added to."""
    initial.check_licences(card, config, named)
    if card.operating_point is not None:
        raise UsageError(
            f"{named} was fitted to genuine media by `dfd calibrate`, which a new part would undo: "
            f"train on {card.operating_point.base}, and calibrate afterwards."
        )


def settled(config: TrainConfig, address: str | None = None) -> TrainConfig:
    """Return the settings with what follows from data and weights filled in.

    Args:
        config: As given.
        address: Ray cluster that trains, if any.

    Raises:
        UsageError: They contradict each other or name what does not exist.
    """
    if config.data is not None and not config.data.is_dir():
        raise UsageError(
            f"No training data at {config.data}; give --data the folder that holds it."
        )
    device_of(_here(config, address))
    if config.workers > config.batch_pairs:
        raise UsageError(
            f"{config.workers} workers cannot share {config.batch_pairs} pairs per step; raise "
            "--batch or lower --workers."
        )
    if config.architecture.synthesis:
        raise UsageError(
            "A second look at stills is added to a finished detector: leave architecture.synthesis "
            "out, then train with --synthesis-only."
        )
    if config.initial_weights is None and initial.source(config) is None:
        raise UsageError(
            "Say what the encoder begins from: --init timm, a safetensors file, a checkpoint, or "
            "none (random weights)."
        )
    return initial.inherit(config)


def mixed(config: TrainConfig) -> TrainConfig:
    """Return the settings with the shares of each batch that prepared pools can serve.

    Raises:
        UsageError: What the settings ask for is not in the pools.
    """
    check_margin(config)
    if config.mixture == "genuine":
        config = config.model_copy(update={"labelled_share": 0.0, "generated_share": 0.0})
    batches = PairBatches(config, 1)
    if config.mixture == "labelled":
        labelled = config.labelled_share if batches.n_labelled else 0.0
        generated = config.generated_share if batches.n_generated else 0.0
        if not labelled + generated:
            raise UsageError(
                f"{config.work / 'pools'} holds no labelled fakes to train on; prepare some, or "
                "give --mixture genuine."
            )
        share = labelled / (labelled + generated)
        config = config.model_copy(update={"labelled_share": share, "generated_share": 1 - share})
    if config.architecture.temporal != "none" and not consecutive.has_clips(config):
        raise UsageError(
            f"{config.work / 'pools'} has no {config.clip_frames} consecutive frames for the "
            "temporal head: prepare videos, or train without it by --temporal none."
        )
    if config.architecture.temporal != "none":
        # Refuses what stage B would, hours later: clips not to be measured on, others' weights.
        ClipForge(config, True, {"clip": 1.0})
        for taken in filter(None, (config.motion_from, config.motion_start)):
            initial.check_licences(checkpoint.load_card(taken), config, taken)
            encoder_of(taken, config.architecture.motion)
    return config


def outlook(config: TrainConfig, address: str | None = None) -> Outlook:
    """Return what a training would use and take, by a few steps of it that leave no trace.

    Args:
        config: As for `train`.
        address: Ray cluster that would train, if any; the steps are taken on this machine.

    Raises:
        UsageError: As `train`.
    """
    config = _here(settled(config, address), address)
    seconds = None
    if used_rows(config) or config.data is None:
        config = mixed(config)
        seconds = _seconds_per_step(config)
    per_step = 2 * config.batch_pairs
    return Outlook(
        pools={name: _faces(pool.labels[used]) for name, (pool, used) in used_rows(config).items()},
        data=initial.ancestry(config) + cards.sources(config),
        begins_from=str(initial.source(config)),
        hardware=record.hardware(config, device_of(config)),
        images_per_step=per_step,
        n_steps=None if config.minutes else math.ceil(config.images / per_step),
        seconds_per_step=seconds,
    )


def _on_cluster(config: TrainConfig, address: str | None) -> bool:
    return config.workers > 1 or bool(address)


def _here(config: TrainConfig, address: str | None) -> TrainConfig:
    """Return the settings for what runs on this machine, which may lack the cluster's GPUs."""
    if config.device == "cuda" and _on_cluster(config, address):
        return config.model_copy(update={"device": "auto"})
    return config


def _faces(labels: Any) -> dict[str, int]:
    return {"genuine": int((labels == 0).sum()), "manipulated": int((labels == 1).sum())}


def _seconds_per_step(config: TrainConfig) -> float:
    run = EncoderRun(config)
    making, learning = min((run.probe() for _ in range(PROBED_STEPS)), key=sum)
    if run.device.type == "cuda":
        return max(learning, making / max(n_loaders(config, run.device), 1))
    return learning + making / config.threads  # they share the processors


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what is no step of a loop as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: Any = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
