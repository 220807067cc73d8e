"""What a detector says of faces as stills, of faces that no training saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.cnn import Embedder
from dfd_batch.features.synthesis import PART, either
from dfd_batch.training import cards, held_out
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import device_of
from dfd_batch.training.pools import Image, evaluation_crops, work_pool
from dfd_batch.training.selection import measured_rows, training_pools

FEWEST_PEOPLE = 99
"""Whose faces make all bands at a target of 3 %, see `judge.thresholds.samples_needed`."""


@dataclass(frozen=True)
class Faces:
    """Faces that no training saw, a row each."""

    labels: NDArray[np.int64]  # (N,) 1 = manipulated
    crops: Image  # (N, S, S, 3)
    groups: list[str]  # (N,)
    about: str
    """What they are, for the card."""
    paired: bool
    """Whether each group is a fake and its genuine source."""

    def __len__(self) -> int:
        return len(self.labels)


def faces(config: TrainConfig) -> Faces:
    """Return the faces that images are calibrated on; none when nothing was kept out."""
    size = config.preprocessing.crop_size
    if (config.work / "pools" / "dfdc_dev" / "index.parquet").is_file():
        pool = work_pool(config.work, "dfdc_dev")
        crops = evaluation_crops(pool, size, np.arange(len(pool)))
        about = cards.CHOSEN_ON["dfdc_auc"]
        return Faces(pool.labels.astype(np.int64), crops, pool.groups, about, True)
    media = held_out.faces(config)
    if media is None:
        nothing = np.empty((0, size, size, 3), np.uint8)
        return Faces(np.zeros(0, np.int64), nothing, [], "", False)
    about = f"{cards.CHOSEN_ON['held_out_auc']} ({media.kind} fakes)"
    return Faces(media.labels, media.crops, media.groups, about, False)


def genuine(config: TrainConfig) -> dict[str, Image]:
    """Return genuine faces (N, S, S, 3) that no training saw, one a person, by pool.

    Pools of too few people for bands are left out, and development pools, which `faces` gives.
    """
    found = {}
    for name, pool in training_pools(config.work).items():
        first: dict[str, int] = {}
        for i in measured_rows(name, pool, 0):
            if config.allows(pool.licences[i]):
                first.setdefault(pool.groups[i], int(i))
        if len(first) >= FEWEST_PEOPLE:
            rows = np.array(list(first.values()))
            found[name] = evaluation_crops(pool, config.preprocessing.crop_size, rows)
    return found


def odds(detector: Checkpoint, crops: Image, config: TrainConfig) -> NDArray[np.float64]:
    """Return the log-odds (N,) that a scan would give crops (N, S, S, 3) of stills."""
    device = device_of(config).type
    _, found = Embedder(detector, device)(crops)
    if detector.card.architecture.synthesis:
        _, second = Embedder(detector, device, part=PART)(crops)
        found = either(found, second)
    return found.astype(np.float64)
