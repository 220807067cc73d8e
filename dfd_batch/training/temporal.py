"""Stage B: motion encoder, temporal head on frozen features, then calibration and thresholds.

Works on any encoder checkpoint, a finished or an intermediate one. The motion encoder does not
depend on it and is trained once in a work directory; the rest takes minutes.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

from dfd_batch import checkpoint
from dfd_batch.checkpoint import Checkpoint, Metric, ModelCard
from dfd_batch.features.cnn import network
from dfd_batch.features.motion import MotionEncoder
from dfd_batch.features.synthesis import PART
from dfd_batch.judge.lstm import TemporalHead
from dfd_batch.judge.thresholds import highest, thresholds
from dfd_batch.training import cards, clip_features, evaluate
from dfd_batch.training.clip_features import ClipFeatures
from dfd_batch.training.clips import ClipForge, clips_mark
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import device_of
from dfd_batch.training.motion import digest, encoder_of, fit_motion
from dfd_batch.training.temporal_figures import judge_head, pooled_logits
from dfd_batch.training.temporal_head import fit_head

MOST_HELD_OUT_PAIRS = 300
DEGRADED = "clips and filmed stills of people not trained on, degraded as in archives"
UNTOUCHED = "clips of people not trained on, not degraded"


def add_temporal(config: TrainConfig, encoder_checkpoint: Path, out: Path) -> ModelCard:
    """Write the encoder's checkpoint with a trained temporal head and return its card.

    Args:
        config: As for stage A; the clip pools must be prepared.
        encoder_checkpoint: A checkpoint with an encoder; a former temporal head is replaced.
        out: Directory of the new checkpoint.
    """
    started = time.monotonic()
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    base = checkpoint.load(str(encoder_checkpoint))
    config = _fitting(config, base.card)
    architecture, device = config.architecture, device_of(config)
    encoder = network(base)
    encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    motion = None
    if architecture.motion:
        learned = (
            encoder_of(config.motion_from, architecture.motion)
            if config.motion_from
            else fit_motion(config)
        )
        motion = learned.half().float().to(device)  # as a checkpoint keeps it
    train, held_out, untouched = clip_sets(encoder, motion, config)
    head = fit_head(train, config, encoder.feature_dim)
    command = cards.command(config)
    metrics = judge_head(head, held_out, command, DEGRADED)
    metrics += judge_head(head, untouched, command, UNTOUCHED)
    for metric in metrics:
        print(f"{metric.name} [{metric.data}]: {metric.value:.4f}", flush=True)
    card = _card(base, config, head, held_out, metrics)
    hours = base.card.training.hours + (time.monotonic() - started) / 3600
    training = card.training.model_copy(
        update={
            "command": _commands(base.card, command),
            "seed": config.seed,  # of these clips, which `evaluation.left_out` asks for again
            "clips_seen": config.clips,
            "hours": hours,
            "data": cards.with_sources(card.training.data, cards.sources(config)),
        }
    )
    weights = {k: v for k, v in base.weights.items() if k.startswith(("encoder.", f"{PART}."))}
    for name, part in (("temporal", head), ("motion", motion)):
        if part is not None:
            weights |= {f"{name}.{k}": v.cpu().numpy() for k, v in part.state_dict().items()}
    return checkpoint.save(out, card.model_copy(update={"training": training}), weights).card


def clip_sets(
    encoder: nn.Module, motion: MotionEncoder | None, config: TrainConfig
) -> tuple[ClipFeatures, ClipFeatures, ClipFeatures]:
    """Return the clips to learn from, those to measure on, and such as nothing was done to.

    Args:
        encoder: Frame encoder, whatever else its detector has.
        motion: Motion encoder, if any.
        config: Number of clips, their length and media; made once in its work directory.
    """
    mark = f"{digest(encoder)}-{clips_mark(config)}"
    if motion is not None:
        mark += "-" + digest(motion)
    n_held_out = min(MOST_HELD_OUT_PAIRS, config.clips // 4)

    def made(name: str, n: int, forge: ClipForge) -> ClipFeatures:
        stem = config.work / f"clips-{mark}-{name}"
        return clip_features.features(encoder, motion, config, n, forge, stem)

    return (
        made("train", config.clips // 2, ClipForge(config, False)),
        made("held_out", n_held_out, ClipForge(config, True)),
        made("untouched", n_held_out, ClipForge(config, True, {"clip": 1.0}, untouched=True)),
    )


def _commands(card: ModelCard, command: str) -> str:
    """Return the command lines that make a detector: that of its encoder, then ours if another."""
    before = card.training.command
    return before if before.endswith(command) else f"{before}; {command}"


def _fitting(config: TrainConfig, card: ModelCard) -> TrainConfig:
    """Return the settings with the checkpoint's own encoder, crops and normalisation."""
    ours = config.architecture
    own = {name: getattr(ours, name) for name in ("temporal", "hidden", "layers", "motion")}
    return config.model_copy(
        update={
            "architecture": card.architecture.model_copy(update=own),
            "preprocessing": card.preprocessing,
        }
    )


def _card(
    base: Checkpoint,
    config: TrainConfig,
    head: TemporalHead,
    held_out: ClipFeatures,
    metrics: tuple[Metric, ...],
) -> ModelCard:
    """Return the card with films calibrated on clips not trained on; stills stay as they were.

    A threshold that genuine clips would reach too often is raised, and never lowered: it holds for
    stills as well.
    """
    card = base.card
    image, bands = card.image_calibration, card.thresholds
    odds = pooled_logits(head, held_out, cards.POOLING)
    video = evaluate.platt(held_out.clip_labels, odds)
    genuine = evaluate.probability(odds[held_out.clip_labels == 0], video)
    of_films = thresholds(genuine, config.target_fpr)
    bands = highest(bands, of_films) if image.n_samples else of_films
    kept = tuple(m for m in card.metrics if not m.name.startswith("clip "))
    told = tuple(line for line in config.limitations if line not in card.limitations)
    return card.model_copy(
        update={
            **cards.renamed(card, config),
            "provisional": config.provisional or card.provisional,
            "limitations": (*told, *cards.limitations_of(card, config)),
            "architecture": config.architecture,
            "description": cards.description(config, config.architecture),
            "video_calibration": video,
            "pooling": cards.POOLING,
            "thresholds": bands,
            "metrics": kept + metrics,
        }
    )
