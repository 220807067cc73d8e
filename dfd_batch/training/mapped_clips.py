"""Forged clips as the maps that a motion encoder reads, made once and kept on disk.

250 kB a pair: thousands of them fit in memory and an epoch takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfd_batch.features.flow import FlowMaps, Maps, grey
from dfd_batch.training.ahead import made
from dfd_batch.training.clips import ClipForge, Kind
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import device_of, n_loaders
from dfd_batch.training.kept import Pair, kept_pairs

ODDS: dict[Kind, float] = {"clip": 0.75, "still": 0.25}


@dataclass(frozen=True)
class MappedClips:
    """Twins one after the other, genuine before fake."""

    maps: Maps  # (N, T - 1, C, 14, 14)
    labels: NDArray[np.float32]  # (N, T)
    operations: list[str]  # (N,)

    def __len__(self) -> int:
        return len(self.labels)


def mapped_clips(config: TrainConfig, n_pairs: int, held_out: bool, stem: Path) -> MappedClips:
    """Return the first `n_pairs` forged pairs as maps, from disk where they are.

    Args:
        config: Sizes, seed and the work directory.
        n_pairs: Pairs; twice as many clips.
        held_out: Take speakers that training leaves out, and no stills.
        stem: Of the files that keep them.
    """
    mapper = _Mapper(ClipForge(config, held_out, {"clip": 1.0} if held_out else ODDS))
    loaders = n_loaders(config, device_of(config))
    maps, known = kept_pairs(
        stem, n_pairs, lambda numbers: made(mapper, numbers, loaders), "pairs of motion maps"
    )
    labels = np.stack([np.zeros_like(known["labels"]), known["labels"]], 1)
    return MappedClips(
        maps.reshape(-1, *maps.shape[2:]),
        labels.reshape(-1, labels.shape[-1]),
        np.repeat(known["operations"], 2).tolist(),
    )


class _Mapper:
    """Numbers of pairs to both twins' maps (2, T - 1, C, 14, 14), the fake's labels and kind."""

    def __init__(self, forge: ClipForge) -> None:
        self._forge, self._mapped = forge, FlowMaps()

    def __call__(self, number: int) -> Pair:
        pair = self._forge.pair(number)
        maps = np.stack([self._mapped(grey(crops)) for crops in (pair.genuine, pair.fake)])
        return maps, {"labels": pair.labels, "operations": pair.operation}
