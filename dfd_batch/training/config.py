"""Settings of a training run, validated once at the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dfd_batch.checkpoint import Architecture, Preprocessing

Share = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """What a training run reads, writes and does; equal settings and seed give equal weights.

    With `minutes` the learning rate follows the clock instead of the images seen: the run ends on
    time on a shared machine, but is then repeatable only in its data, not bit for bit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    """Folder laid out as the README of the training data says."""
    work: Path
    """Prepared faces, training state, logs and curves; holds media, so keep it to yourself."""
    out: Path
    """Where the best checkpoint so far is kept."""
    seed: int = 0
    images: Annotated[int, Field(ge=1)] = 150_000
    """Images that stage A sees (both twins of a pair count)."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    architecture: Architecture = Architecture()
    preprocessing: Preprocessing = Preprocessing()
    initial_weights: Path | None = None
    """ImageNet weights; `weights/mobilenet_v2_imagenet.safetensors` in `data` when None."""

    batch_pairs: Annotated[int, Field(ge=1)] = 20
    labelled_share: Share = 0.5
    """Pairs of a labelled fake and its own genuine source."""
    generated_share: Share = 0.15
    """Pairs of a wholly generated face and some genuine one; the rest are pseudo-fakes."""
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    warmup_images: Annotated[int, Field(ge=0)] = 2_000
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    pair_weight: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the loss that asks only for the right order inside a pair."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    look_images: Annotated[int, Field(ge=1)] = 4_000
    """Images between two looks at the development data."""
    save_minutes: Annotated[float, Field(gt=0)] = 3.0
    threads: Annotated[int, Field(ge=1)] = 2
    workers: Annotated[int, Field(ge=0)] = 1

    clip_frames: Annotated[int, Field(ge=4)] = 16
    clips: Annotated[int, Field(ge=2)] = 2_400
    """Clips forged for the temporal head (stage B)."""
    temporal_epochs: Annotated[int, Field(ge=1)] = 12
    temporal_learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    target_fpr: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Share of held-out genuine media allowed at or above `suspicious`."""
