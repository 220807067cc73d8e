"""The checkpoint of a look: weights, and a card of facts that the run knows of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dfd_batch import __version__, checkpoint
from dfd_batch.checkpoint import Architecture, DataSource, Metric, ModelCard, Pooling, Training
from dfd_batch.training import initial, record
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Pool
from dfd_batch.training.selection import Rows, used_rows

HINT = "A verdict is a hint for a human, not a proof."
POOLING = Pooling(strategy="mean", encoder_weight=0.5)
"""Calibrated on single faces or clips, and only a mean stays comparable when a video has more. Of
kinds of fakes that it has not learned a head forgets what the frames tell (`evaluation.left_out`),
hence the encoder's own word."""
TITLES = {"dfdc": "DFDC training-set face crops"}
CHOSEN_ON = {
    "dfdc_auc": "labelled/dfdc split dev (400 pairs), faces; chosen on it",
    "held_out_auc": "held-out groups of the training pools, faces; chosen on it",
}


def command(config: TrainConfig) -> str:
    """Return the command line that makes the run."""
    return config.command or f"dfd train --work WORK --out OUT --seed {config.seed}"


def description(config: TrainConfig, architecture: Architecture) -> str:
    """Return the card's description: the user's, or what the architecture says.

    Args:
        config: Settings.
        architecture: What the checkpoint has.
    """
    size, temporal = config.preprocessing.crop_size, architecture.temporal
    head = "" if temporal == "none" else f" with a {temporal.upper()} over time"
    stills = " and a second look at stills" if architecture.synthesis else ""
    return config.description or f"{architecture.encoder} on {size} px face crops{head}{stills}."


def renamed(card: ModelCard, config: TrainConfig) -> dict[str, str]:
    """Return name and version of a detector that gets a new part, as updates of its card."""
    name = config.name or config.out.resolve().name
    return {"name": name, "version": card.version if name == card.name else __version__}


def limitations_of(card: ModelCard, config: TrainConfig) -> tuple[str, ...]:
    """Return what the card of a detector says it cannot do, for that of the one made of it."""
    if renamed(card, config)["name"] == card.name or not card.limitations:
        return card.limitations
    told = f"What follows was said of {card.name} {card.version}, before a part of it was trained."
    return (told, *card.limitations)


def export(
    encoder: nn.Module, config: TrainConfig, entry: dict[str, Any], directory: Path
) -> ModelCard:
    """Write the encoder as a checkpoint without a temporal head and return its card.

    Args:
        encoder: Its weights.
        config: Settings of the run.
        entry: What the look found, with `images` and `hours` so far.
        directory: Of the checkpoint.
    """
    weights = {f"encoder.{k}": v.cpu().numpy() for k, v in encoder.state_dict().items()}
    calibration = checkpoint.Calibration(**entry.get("calibration", {}))
    bare = {"temporal": "none", "motion": 0, "synthesis": False}
    architecture = config.architecture.model_copy(update=bare)
    card = ModelCard(
        name=config.name or config.out.resolve().name,
        version=__version__,
        description=description(config, architecture),
        provisional=config.provisional,
        architecture=architecture,
        preprocessing=config.preprocessing,
        image_calibration=calibration,
        video_calibration=calibration,
        thresholds=checkpoint.Thresholds(**entry.get("thresholds", {})),
        pooling=POOLING,
        training=Training(
            command=command(config),
            seed=config.seed,
            git_commit=record.git_commit(),
            images_seen=entry["images"],
            hours=entry["hours"],
            hardware=record.hardware(config, next(encoder.parameters()).device),
            data=initial.ancestry(config) + sources(config),
        ),
        metrics=_metrics(entry, config),
        limitations=(*config.limitations, *_limitations(entry), HINT),
    )
    return checkpoint.save(directory, card, weights).card


def sources(config: TrainConfig) -> tuple[DataSource, ...]:
    """Return what is trained on, media counted by source and licence."""
    return counted(used_rows(config))


def counted(used: Mapping[str, tuple[Pool, Rows]]) -> tuple[DataSource, ...]:
    """Return the media of some rows of pools (by name), counted by source and licence."""
    counts: Counter[tuple[str, str]] = Counter()
    for name, (pool, rows) in used.items():
        media = {(pool.files[i], pool.methods[i], pool.licences[i]) for i in rows}
        title = TITLES.get(name)
        counts.update((title or method or name, licence) for _, method, licence in media)
    return tuple(DataSource(name=s, licence=lic, n=n) for (s, lic), n in sorted(counts.items()))


def with_sources(
    data: tuple[DataSource, ...], more: tuple[DataSource, ...]
) -> tuple[DataSource, ...]:
    """Return what a detector's encoder has learned from, and what a later part saw beside."""
    known = {(source.name, source.licence) for source in data}
    return data + tuple(s for s in more if (s.name, s.licence) not in known)


def _limitations(entry: dict[str, Any]) -> tuple[str, ...]:
    if "dfdc_auc" in entry:
        return (
            "Chosen on the DFDC development pairs, whose identities may also occur in the "
            "training pools; figures on them flatter.",
        )
    figure = entry.get("held_out_auc")
    if figure is None:
        return ("Nothing was kept out of its training: neither measured nor calibrated.",)
    told = []
    if figure["value"] <= 0.5:
        told.append("No better than chance on the faces that were kept out of its training.")
    if entry["held_out"] == "forged":
        told.append("Measured on pseudo-fakes alone: how it does on real deepfakes is unknown.")
    return tuple(told)


def _metrics(entry: dict[str, Any], config: TrainConfig) -> tuple[Metric, ...]:
    found = list(config.metrics)
    for key, data in CHOSEN_ON.items():
        if key in entry:
            kind = f" ({entry['held_out']} fakes)" if key == "held_out_auc" else ""
            found.append(
                Metric(name="AUC", data=data + kind, command=command(config), **entry[key])
            )
    if "dfdc_pair_order" in entry:
        found.append(
            Metric(
                name="pair order",
                data=CHOSEN_ON["dfdc_auc"],
                value=entry["dfdc_pair_order"],
                n=entry["dfdc_auc"]["n"] // 2,
                command=command(config),
            )
        )
    return tuple(found)
