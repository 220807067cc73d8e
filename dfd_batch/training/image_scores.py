"""What a detector says of faces as stills, of faces that no training saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.cnn import FrameEncoder, load_part
from dfd_batch.features.synthesis import PART, either, network_of
from dfd_batch.training import held_out, looks
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import device_of
from dfd_batch.training.pools import Image, evaluation_crops, work_pool


@dataclass(frozen=True)
class Scores:
    """What a detector says of faces, a row per face."""

    labels: NDArray[np.int64]  # (N,) 1 = manipulated
    odds: NDArray[np.float64]  # (N,) log-odds
    groups: list[str]  # (N,)

    def __len__(self) -> int:
        return len(self.labels)


def of_faces(detector: Checkpoint, config: TrainConfig) -> Scores:
    """Return what a detector says of faces not trained on; of none when nothing was kept out.

    Args:
        detector: Its frame encoder, and its second network where it has one.
        config: Pools and the detector's own preprocessing.
    """
    labels, crops, groups = _faces(config)
    if not len(labels):
        return Scores(labels, np.zeros(0), [])
    architecture = detector.card.architecture
    odds = _odds(
        detector, "encoder", config.model_copy(update={"architecture": architecture}), crops
    )
    if architecture.synthesis:
        own = config.model_copy(update={"architecture": network_of(architecture)})
        odds = either(odds, _odds(detector, PART, own, crops)).astype(np.float64)
    return Scores(labels, odds, groups)


def _odds(
    detector: Checkpoint, part: str, config: TrainConfig, crops: Image
) -> NDArray[np.float64]:
    network = FrameEncoder(config.architecture)
    load_part(network, detector, part)
    network.to(device_of(config), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return looks.logits(network, crops, config)


def _faces(config: TrainConfig) -> tuple[NDArray[np.int64], Image, list[str]]:
    size = config.preprocessing.crop_size
    if (config.work / "pools" / "dfdc_dev" / "index.parquet").is_file():
        pool = work_pool(config.work, "dfdc_dev")
        crops = evaluation_crops(pool, size, np.arange(len(pool)))
        return pool.labels.astype(np.int64), crops, pool.groups
    media = held_out.faces(config)
    if media is None:
        return np.zeros(0, np.int64), np.empty((0, size, size, 3), np.uint8), []
    return media.labels, media.crops, media.groups
