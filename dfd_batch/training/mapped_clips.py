"""Forged clips as the maps that a motion encoder reads, made once and kept on disk.

250 kB a pair: thousands of them fit in memory and an epoch takes seconds. Making goes on after the
last hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfd_batch.features.flow import CELLS, CHANNELS, FlowMaps, Maps, grey
from dfd_batch.training.ahead import made
from dfd_batch.training.clips import ClipForge, Kind
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import device_of, n_loaders
from dfd_batch.training.progress import told

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
        stem: `stem.f16` holds the maps and `stem.npz` the rest.
    """
    n = config.clip_frames
    values, rest = stem.with_suffix(".f16"), stem.with_suffix(".npz")
    labels, operations = np.zeros((0, n), np.float32), []
    if rest.is_file():
        with np.load(rest) as kept:
            labels, operations = kept["labels"], [str(v) for v in kept["operations"]]
    shape = (max(len(labels), 2 * n_pairs), n - 1, len(CHANNELS), CELLS, CELLS)
    values.touch()
    if len(labels) < 2 * n_pairs:
        forge = ClipForge(config, held_out, {"clip": 1.0} if held_out else ODDS)
        kept_maps = np.memmap(values, np.float16, "r+", shape=shape)
        numbers = range(len(labels) // 2, n_pairs)
        twins = made(_Mapper(forge), numbers, n_loaders(config, device_of(config)))
        work = zip(numbers, twins, strict=True)
        for number, made_pair in told(work, "pairs of motion maps", n_pairs, numbers.start):
            maps, fake_labels, operation = made_pair
            kept_maps[2 * number : 2 * number + 2] = maps
            labels = np.concatenate([labels, np.zeros((1, n), np.float32), fake_labels[None]])
            operations += [operation] * 2
            if number % 100 == 99 or number + 1 == n_pairs:
                kept_maps.flush()
                partial = rest.with_suffix(".partial.npz")
                np.savez(partial, labels=labels, operations=np.array(operations))
                partial.replace(rest)
    every = np.fromfile(values, np.float16, int(np.prod(shape))).reshape(shape)
    return MappedClips(every[: 2 * n_pairs], labels[: 2 * n_pairs], operations[: 2 * n_pairs])


class _Mapper:
    """Numbers of pairs to both twins' maps (2, T - 1, C, 14, 14), frame labels and operation."""

    def __init__(self, forge: ClipForge) -> None:
        self._forge, self._mapped = forge, FlowMaps()

    def __call__(self, number: int) -> tuple[Maps, NDArray[np.float32], str]:
        pair = self._forge.pair(number)
        maps = np.stack([self._mapped(grey(crops)) for crops in (pair.genuine, pair.fake)])
        return maps, pair.labels, pair.operation
