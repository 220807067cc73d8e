"""Faces of the groups that training leaves out, to look at where there is no development set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator

from dfd_batch.training.config import TrainConfig
from dfd_batch.training.datasets import PairBatches
from dfd_batch.training.pools import Image, Pool, evaluation_crops
from dfd_batch.training.selection import Rows, measured_rows, training_pools

MOST_FACES = 400
"""Of each class."""
BATCH_PAIRS = 20


@dataclass(frozen=True)
class HeldOut:
    """Crops (N, S, S, 3) with labels and groups."""

    crops: Image
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]
    groups: list[str]
    kind: str  # of the fakes: labelled or forged


@lru_cache(maxsize=1)
def faces(config: TrainConfig) -> HeldOut | None:
    """Return held-out labelled faces, or forged ones where those lack a class, or None."""
    return _labelled(config) or _forged(config)


def _rows(name: str, pool: Pool, label: int, config: TrainConfig) -> Rows:
    rows = measured_rows(name, pool, label)
    return rows[[config.allows(pool.licences[i]) for i in rows]] if len(rows) else rows


def _labelled(config: TrainConfig) -> HeldOut | None:
    pools = training_pools(config.work)
    crops, labels, groups = [], [], []
    for label in (0, 1):
        found = [
            (pool, i) for name, pool in pools.items() for i in _rows(name, pool, label, config)
        ]
        if not found:
            return None
        # Evenly over all pools; neighbours are often frames of one clip.
        for k in np.linspace(0, len(found) - 1, min(MOST_FACES, len(found))).astype(int):
            pool, i = found[k]
            crops.append(evaluation_crops(pool, config.preprocessing.crop_size, np.array([i]))[0])
            labels.append(label)
            groups.append(pool.groups[i])
    return HeldOut(np.stack(crops), np.array(labels), groups, "labelled")


def _forged(config: TrainConfig) -> HeldOut | None:
    pairs = _HeldOutPairs(config)
    if not pairs.n_faces:
        return None
    batches = [pairs[step] for step in range(len(pairs))]
    crops = np.concatenate([crops.numpy() for crops, _ in batches])
    labels = np.concatenate([labels.numpy() for _, labels in batches]).astype(np.int64)
    groups = [group for group in pairs.drawn for _ in range(2)]
    return HeldOut(crops, labels, groups, "forged")


class _HeldOutPairs(PairBatches):
    """Forged pairs of held-out genuine faces, the same in every run."""

    def __init__(self, config: TrainConfig) -> None:
        alike = {"labelled_share": 0.0, "generated_share": 0.0, "batch_pairs": BATCH_PAIRS}
        config = config.model_copy(update={**alike, "seed": 0})
        super().__init__(config, 1)
        self._genuine = {name: _rows(name, pool, 0, config) for name, pool in self._pools.items()}
        self.n_faces = sum(len(rows) for rows in self._genuine.values())
        self._n_steps = -(-min(self.n_faces, MOST_FACES // 2) // BATCH_PAIRS)
        self.drawn: list[str] = []
        """Group of each pair so far."""

    def _draw_genuine(self, shares: dict[str, float], rng: Generator) -> tuple[str, int]:
        name, i = super()._draw_genuine(shares, rng)
        self.drawn.append(self._pools[name].groups[i])
        return name, i
