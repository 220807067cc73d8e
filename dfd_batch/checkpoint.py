"""A detector on disk: `model.safetensors` beside `card.json`, never a pickle.

The card holds all that training and scanning must agree on (architecture, crop geometry,
normalisation, calibration, thresholds) and all that a user must know before trusting a verdict
(data, licences, metrics, limits).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfd_batch.outcomes import UsageError
from dfd_batch.schema import SCHEMA_VERSION

SHIPPED = Path(__file__).parent / "detectors"
MAX_WEIGHTS_BYTES = 2 * 2**30
MAX_CARD_BYTES = 2**20
Probability = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(_Part):
    """Frame encoder, temporal head and what either has beside it."""

    encoder: str = "mobilenetv2_100"
    """A timm model name."""
    temporal: Literal["lstm", "gru", "none"] = "lstm"
    hidden: Annotated[int, Field(ge=1)] = 256
    layers: Annotated[int, Field(ge=1, le=4)] = 1
    motion: Annotated[int, Field(ge=0, le=512)] = 0
    """Width of the motion features that the temporal head reads beside the encoder's; 0: none."""
    motion_input: Literal["flow"] = "flow"
    """What motion features are made of: maps of flow, light and sharpness (`features.flow`)."""
    synthesis: bool = False
    """Whether a second network looks at stills for faces made whole (`features.synthesis`)."""
    output: Literal["sigmoid", "softmax"] = "sigmoid"
    classes: tuple[str, ...] = ("genuine", "manipulated")
    """With softmax, one logit each, the first genuine; with sigmoid one logit for the second."""


class Preprocessing(_Part):
    """From a displayed frame to the encoder's input; the same in training and scanning."""

    crop_size: Annotated[int, Field(ge=32, le=1024)] = 192
    """Side S of the square crop in pixels."""
    margin: Annotated[float, Field(gt=0)] = 2.15
    """Crop side in units of the face's size (see `faces.crop`)."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class Calibration(_Part):
    """Platt scaling of a pooled logit: P = sigmoid(slope * logit + intercept)."""

    slope: Annotated[float, Field(gt=0)] = 1.0
    intercept: float = 0.0
    n_samples: int = 0
    """0: not calibrated."""


class Thresholds(_Part):
    """Lower bounds of the calibrated probability of each band above `authentic`."""

    inconclusive: Probability = 0.35
    suspicious: Probability = 0.6
    manipulated: Probability = 0.85


class OperatingPoint(_Part):
    """From which genuine media, and for which false alarm rate, a user set the thresholds."""

    target_fpr: Annotated[float, Field(gt=0, lt=1)]
    """Share of genuine media that may come out `suspicious` or worse."""
    n_images: int
    n_videos: int
    coverage: str
    looks: str = ""
    """`looks_id` of the settings that they were judged with; cards from before they were noted
    have none."""
    date: str
    base: str
    """Name and version of the detector that was given its own thresholds."""
    command: str


class Pooling(_Part):
    """From a track's frame logits to one logit (see `judge.pool`)."""

    strategy: Literal["top", "mean", "max", "confident"] = "top"
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """With `top`, the share of the most suspicious frames that is averaged …"""
    min_frames: Annotated[int, Field(ge=1)] = 32
    """… but never fewer than these: one odd frame is no evidence."""
    clip_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the temporal head's clip logit in the logit of each of its frames."""
    encoder_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of the frame encoder's own logit, added to the temporal head's: traces in frames that the
    head has not learned still count."""


class DataSource(_Part):
    """One part of the training data."""

    name: str
    licence: str
    n: int
    use: str = "training"


class Metric(_Part):
    """One measured figure with its 95 % interval and the command that makes it."""

    name: str
    data: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    command: str


class Training(_Part):
    """How the weights came to be."""

    command: str = ""
    seed: int = 0
    git_commit: str = ""
    images_seen: int = 0
    clips_seen: int = 0
    hours: float = 0.0
    hardware: str = ""
    data: tuple[DataSource, ...] = ()


class ModelCard(_Part):
    """What must be known of a detector."""

    format: Literal[1] = 1
    name: str
    version: str
    description: str
    provisional: bool = False
    architecture: Architecture = Architecture()
    preprocessing: Preprocessing = Preprocessing()
    image_calibration: Calibration = Calibration()
    video_calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    operating_point: OperatingPoint | None = None
    """None: the thresholds are those of its training."""
    pooling: Pooling = Pooling()
    training: Training = Training()
    metrics: tuple[Metric, ...] = ()
    limitations: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    weights_sha256: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A detector's card and weights; their names begin with the part that they belong to."""

    card: ModelCard
    weights: dict[str, NDArray[Any]]

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the weights of one part as float32 (integers unchanged), prefix removed."""
        return {
            name.removeprefix(f"{prefix}."): (
                array.astype(np.float32) if array.dtype.kind == "f" else array
            )
            for name, array in self.weights.items()
            if name.startswith(f"{prefix}.")
        }


def resolve(name_or_path: str) -> Path:
    """Return the directory of a shipped detector's name or of a user's path.

    Raises:
        UsageError: Neither names a directory with card.json and model.safetensors.
    """
    for path in (SHIPPED / name_or_path, Path(name_or_path)):
        if (path / "card.json").is_file() and (path / "model.safetensors").is_file():
            return path
    shipped = ", ".join(sorted(p.name for p in SHIPPED.glob("*/") if (p / "card.json").exists()))
    raise UsageError(
        f"No checkpoint {name_or_path!r}: give a directory with card.json and model.safetensors, "
        f"or one of the shipped detectors ({shipped or 'none'})."
    )


def load_card(name_or_path: str) -> ModelCard:
    """Return the card alone, without reading the weights.

    Raises:
        UsageError: There is none, or it is oversized or not a card.
    """
    path = resolve(name_or_path) / "card.json"
    _check_size(path, MAX_CARD_BYTES)
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageError(f"{path} is not a model card: {error}") from None


def load(name_or_path: str) -> Checkpoint:
    """Return a checkpoint whose weights are those that its card was written for.

    Raises:
        UsageError: Missing, unreadable or oversized files, or a checksum that does not match.
    """
    directory = resolve(name_or_path)
    card = load_card(name_or_path)
    path = directory / "model.safetensors"
    _check_size(path, MAX_WEIGHTS_BYTES)
    blob = path.read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    if digest != card.weights_sha256:
        raise UsageError(
            f"{path} has sha256 {digest[:12]}…, its card says {card.weights_sha256[:12]}…; "
            "the weights were changed or belong to another card."
        )
    try:
        return Checkpoint(card, safetensors.numpy.load(blob))
    except safetensors.SafetensorError as error:
        raise UsageError(f"{path} is not a safetensors file: {error}") from None


def _check_size(path: Path, most_bytes: int) -> None:
    if path.stat().st_size > most_bytes:
        raise UsageError(f"{path} is larger than {most_bytes} bytes; refused.")


def narrow(weights: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return weights as a checkpoint keeps them: floats as float16."""
    return {
        name: np.ascontiguousarray(array.astype(np.float16) if array.dtype.kind == "f" else array)
        for name, array in weights.items()
    }


def save(directory: Path, card: ModelCard, weights: dict[str, NDArray[Any]]) -> Checkpoint:
    """Write a checkpoint and return it with its checksum; float weights are kept as float16."""
    directory.mkdir(parents=True, exist_ok=True)
    stored = narrow(weights)
    blob = safetensors.numpy.save(stored)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(blob).hexdigest()})
    (directory / "model.safetensors").write_bytes(blob)
    (directory / "card.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Checkpoint(card, stored)


def looks_id(*plans: BaseModel) -> str:
    """Return the fingerprint of settings that change what is looked at, whatever the detector."""
    return _digest([plan.model_dump(mode="json") for plan in plans])


def detector_id(card: ModelCard, *plans: BaseModel) -> str:
    """Return the fingerprint of everything that a verdict depends on.

    Args:
        card: The detector: weights, preprocessing, calibration, thresholds.
        plans: Settings that change what is looked at (sampling, faces).
    """
    architecture = card.architecture.model_dump(mode="json")
    if not card.architecture.synthesis:
        del architecture["synthesis"]  # detectors from before it judge as they did: no new scans
    pooling = card.pooling.model_dump(mode="json")
    if not card.pooling.encoder_weight:
        del pooling["encoder_weight"]
    told = {
        "schema": SCHEMA_VERSION,
        "weights": card.weights_sha256,
        "architecture": architecture,
        "preprocessing": card.preprocessing.model_dump(mode="json"),
        "calibration": [
            card.image_calibration.model_dump(mode="json"),
            card.video_calibration.model_dump(mode="json"),
        ],
        "thresholds": card.thresholds.model_dump(mode="json"),
        "pooling": pooling,
        "plans": [plan.model_dump(mode="json") for plan in plans],
    }
    return _digest(told)


def _digest(told: Any) -> str:
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
