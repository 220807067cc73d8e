"""Batches of twins for the frame encoder, each a pure function of seed and step.

Every pair holds a genuine crop and a manipulated one under the same geometry and the same
degradation. Because a batch depends on nothing but (seed, step), a resumed run sees exactly what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from dfd_batch.faces.crop import Square, cut
from dfd_batch.training import degrade, forge, pools
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Image, Pool

RENDERED_SHARE = 0.12
"""Pseudo-fakes that carry a generator's traces all over instead of a blend."""
SWAP_SHARE = 0.35
FORGED_FROM = {"portraits": 0.4, "clips": 0.25, "dfdc": 0.35}
"""Where the genuine faces of pseudo-fakes come from."""
BESIDE_GENERATED = {"portraits": 0.7, "clips": 0.1, "dfdc": 0.2}
"""Where the genuine faces beside generated ones come from: mostly as well lit as those."""


@dataclass(frozen=True)
class Twins:
    """A genuine and a manipulated crop (S, S, 3)."""

    genuine: Image
    fake: Image


class PairBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch `step` -> crops uint8 (2n, S, S, 3), genuine and fake alternating, and labels (2n,).

    Only training pools are opened here; development data cannot leak in.
    """

    def __init__(self, config: TrainConfig, n_steps: int) -> None:
        self._config = config
        self._n_steps = n_steps
        root = config.work / "pools"
        self._pools = {name: pools.read(root / name) for name in self.needed(config)}
        # All labelled pairs are trained on: their own development split is kept elsewhere.
        self._genuine = {
            name: np.flatnonzero(pool.labels == 0) if name == "dfdc" else pool.rows(0, False)
            for name, pool in self._pools.items()
        }
        self._pairs = _pairs(self._pools["dfdc"]) if "dfdc" in self._pools else np.empty((0, 2))
        made = self._pools.get("generated")
        self._made = made.rows(1, False) if made else np.empty(0, np.int64)

    @staticmethod
    def needed(config: TrainConfig) -> list[str]:
        """Return the pools that a run reads."""
        wanted = ["portraits", "clips"]
        if config.labelled_share > 0:
            wanted.append("dfdc")
        if config.generated_share > 0:
            wanted.append("generated")
        return [
            name for name in wanted if (config.work / "pools" / name / "index.parquet").is_file()
        ]

    def __len__(self) -> int:
        return self._n_steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(1)
        n = self._config.batch_pairs
        crops = []
        for k in range(n):
            rng = np.random.default_rng([self._config.seed, step, k])
            twins = self._twins(step * n + k, k, rng)
            crops += [twins.genuine, twins.fake]
        return torch.from_numpy(np.stack(crops)), torch.tensor([0.0, 1.0] * n)

    def _twins(self, pair: int, k: int, rng: Generator) -> Twins:
        # Kinds have fixed places in the batch, so that every batch holds the same mixture.
        place = (k + 0.5) / self._config.batch_pairs
        if place < self._config.labelled_share and len(self._pairs):
            return self._labelled(pair, rng)
        if place > 1 - self._config.generated_share and len(self._made):
            return self._generated(rng)
        return self._forged(rng)

    def _labelled(self, pair: int, rng: Generator) -> Twins:
        genuine, fake = self._pair_rows(pair)
        pool = self._pools["dfdc"]
        return self._finish(
            pool.patches[genuine], pool.patches[fake], float(pool.canonical_px[genuine]), rng
        )

    def _pair_rows(self, pair: int) -> tuple[int, int]:
        """Return the pool's rows of the labelled pair at a place in the run's endless order."""
        epoch, offset = divmod(pair, len(self._pairs))
        order = np.random.default_rng([self._config.seed, 7, epoch]).permutation(len(self._pairs))
        genuine, fake = self._pairs[order[offset]]
        return int(genuine), int(fake)

    def _forged(self, rng: Generator) -> Twins:
        name, i = self._draw_genuine(FORGED_FROM, rng)
        pool = self._pools[name]
        image, points = np.array(pool.patches[i]), pool.landmarks[i]
        if rng.random() < RENDERED_SHARE:
            made = forge.rendered(image, rng)
        else:
            donor = self._donor(name, i, rng) if rng.random() < SWAP_SHARE else None
            made = forge.forge(image, points, rng, donor)
        return self._finish(made.genuine, made.fake, float(pool.canonical_px[i]), rng)

    def _generated(self, rng: Generator) -> Twins:
        name, i = self._draw_genuine(BESIDE_GENERATED, rng)
        pool = self._pools[name]
        made, j = self._pools["generated"], int(rng.choice(self._made))
        # Crops drawn tight: what is left of the studio around a generated head is no clue then.
        geometry = degrade.draw_geometry(rng)
        geometry = replace(geometry, scale=float(rng.uniform(0.8, 1.02)))
        worse, size = degrade.draw(rng), self._config.preprocessing.crop_size
        return Twins(
            worse(geometry.crop(pool.patches[i], float(pool.canonical_px[i]), size)),
            worse(geometry.crop(made.patches[j], float(made.canonical_px[j]), size)),
        )

    def _finish(self, genuine: Image, fake: Image, canonical_px: float, rng: Generator) -> Twins:
        geometry, worse = degrade.draw_geometry(rng), degrade.draw(rng)
        size = self._config.preprocessing.crop_size
        return Twins(
            worse(geometry.crop(genuine, canonical_px, size)),
            worse(geometry.crop(fake, canonical_px, size)),
        )

    def _draw_genuine(self, shares: dict[str, float], rng: Generator) -> tuple[str, int]:
        names = [name for name in shares if name in self._pools]
        odds = np.array([shares[name] for name in names])
        name = str(rng.choice(names, p=odds / odds.sum()))
        return name, int(rng.choice(self._genuine[name]))

    def _donor(self, name: str, i: int, rng: Generator, n_tried: int = 24) -> forge.Donor:
        """Return the face of another person whose landmarks fit best, of a few drawn ones."""
        pool = self._pools[name]
        tried = rng.choice(self._genuine[name], n_tried)
        others = [int(j) for j in tried if pool.groups[j] != pool.groups[i]] or [i]
        ours = _shape(pool.landmarks[i])
        best = min(others, key=lambda j: float(np.square(_shape(pool.landmarks[j]) - ours).sum()))
        return forge.Donor(np.array(pool.patches[best]), pool.landmarks[best])


def _pairs(pool: Pool) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return rows (P, 2) of each group's genuine crop and fake crop."""
    by_group: dict[str, dict[int, int]] = defaultdict(dict)
    for row, (group, label) in enumerate(zip(pool.groups, pool.labels, strict=True)):
        by_group[group][int(label)] = row
    return np.array([[g[0], g[1]] for g in by_group.values() if len(g) == 2], np.int64)


def _shape(landmarks: pools.Points) -> pools.Points:
    """Return landmarks (68, 2) without place and size."""
    centred = landmarks - landmarks.mean(0)
    return np.asarray(centred / np.linalg.norm(centred), np.float32)


def evaluation_crops(
    pool: Pool, size: int, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Image:
    """Return the crops (N, S, S, 3) that a scan would cut of some of a pool's faces."""
    middle = pool.patches.shape[1] / 2
    return np.stack(
        [
            cut(
                np.array(pool.patches[i]), Square(middle, middle, float(pool.canonical_px[i])), size
            )
            for i in rows
        ]
    )


def work_pool(work: Path, name: str) -> Pool:
    """Return a prepared pool of a work directory."""
    return pools.read(work / "pools" / name)
