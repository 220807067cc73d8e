"""Twin clips for the temporal head, as features of a frozen encoder; made once, kept on disk.

Two kinds, half and half: genuine clips and their temporal forgeries; and labelled stills filmed
with a moving camera, both twins alike, so that the head keeps what the frames themselves tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from dfd_batch.features.cnn import manipulated_logit, normalise
from dfd_batch.training import forge, forge_clip, pools
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Image, Pool

STILL_SHARE = 0.45


@dataclass(frozen=True)
class ClipFeatures:
    """Clips as the temporal head sees them."""

    features: NDArray[np.float16]  # (N, T, D)
    frame_logits: NDArray[np.float32]  # (N, T) of the frame encoder alone
    labels: NDArray[np.float32]  # (N, T) 1 where forged
    operations: list[str]  # of the pair, for both twins
    groups: list[str]  # pair by pair

    @property
    def clip_labels(self) -> NDArray[np.float32]:
        """Return 1 (N,) for clips with any forged frame."""
        return np.asarray(self.labels.max(1), np.float32)


@dataclass(frozen=True)
class FilmedPair:
    """Twin clips of crops (T, S, S, 3) and the fake's frame labels (T,)."""

    genuine: Image
    fake: Image
    labels: NDArray[np.float32]
    operation: str
    group: str


class ClipForge:
    """Pairs of clips, each a function of seed and number.

    Args:
        config: Sizes, seed and the work directory.
        held_out: Take speakers that training leaves out, and the stills of the development split.
    """

    def __init__(self, config: TrainConfig, held_out: bool) -> None:
        self._config, self._held_out = config, held_out
        root = config.work / "pools"
        self._clips = pools.read(root / "clips")
        starts = self._clips.rows(0, held_out)
        self._starts = _starts(self._clips, starts, config.clip_frames)
        stills = root / ("dfdc_dev" if held_out else "dfdc")
        self._stills = pools.read(stills) if (stills / "index.parquet").is_file() else None

    def pair(self, number: int) -> FilmedPair:
        """Return pair `number`."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self._config.seed, 11, int(self._held_out), number])
        if self._stills is not None and rng.random() < STILL_SHARE:
            return self._still(self._stills, rng)
        return self._forged(rng)

    def _still(self, pool: Pool, rng: Generator) -> FilmedPair:
        n, size = self._config.clip_frames, self._config.preprocessing.crop_size
        row = int(rng.integers(len(pool)))
        group = pool.groups[row]
        twin = [i for i in _same_group(pool, row) if pool.labels[i] != pool.labels[row]]
        genuine, fake = sorted([row, *twin[:1]], key=lambda i: int(pool.labels[i]))[:2]
        film = forge_clip.draw_filming(n, rng, still=True)
        side = float(pool.canonical_px[row])
        genuine_clip, fake_clip = (
            film(np.broadcast_to(pool.patches[i], (n, *pool.patches.shape[1:])), side, size)
            for i in (genuine, fake)
        )
        return FilmedPair(genuine_clip, fake_clip, np.ones(n, np.float32), "labelled", group)

    def _forged(self, rng: Generator) -> FilmedPair:
        n, size = self._config.clip_frames, self._config.preprocessing.crop_size
        first = int(rng.choice(self._starts))
        rows = slice(first, first + n)
        clip = forge_clip.Clip(
            np.array(self._clips.patches[rows]),
            self._clips.landmarks[rows],
            float(self._clips.canonical_px[first]),
        )
        donor = self._donor(first, rng) if rng.random() < 0.5 else None
        made = forge_clip.forge_clip(clip, rng, donor)
        film = forge_clip.draw_filming(n, rng, still=False)
        return FilmedPair(
            film(made.genuine, clip.canonical_px, size),
            film(made.fake, clip.canonical_px, size),
            made.labels[list(film.order)],
            made.operation,
            self._clips.groups[first],
        )

    def _donor(self, row: int, rng: Generator) -> forge.Donor | None:
        other = int(rng.choice(self._starts))
        if self._clips.groups[other] == self._clips.groups[row]:
            return None
        return forge.Donor(np.array(self._clips.patches[other]), self._clips.landmarks[other])


def features(
    encoder: nn.Module, config: TrainConfig, n_pairs: int, held_out: bool, cache: Path
) -> ClipFeatures:
    """Return the features of the first `n_pairs` pairs, from the cache where it has them."""
    if cache.is_file():
        with np.load(cache) as kept:
            return ClipFeatures(
                kept["features"],
                kept["frame_logits"],
                kept["labels"],
                [str(v) for v in kept["operations"]],
                [str(v) for v in kept["groups"]],
            )
    made = _encode(encoder, config, ClipForge(config, held_out), n_pairs)
    partial = cache.with_suffix(".partial.npz")
    np.savez(
        partial,
        features=made.features,
        frame_logits=made.frame_logits,
        labels=made.labels,
        operations=np.array(made.operations),
        groups=np.array(made.groups),
    )
    partial.replace(cache)
    return made


@torch.inference_mode()
def _encode(
    encoder: nn.Module, config: TrainConfig, clips: ClipForge, n_pairs: int
) -> ClipFeatures:
    encoder.eval()
    device = next(encoder.parameters()).device
    vectors, odds, labels, operations, groups = [], [], [], [], []
    for number in range(n_pairs):
        pair = clips.pair(number)
        crops = torch.from_numpy(np.concatenate([pair.genuine, pair.fake])).to(device)
        x = normalise(crops, config.preprocessing).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            vector, raw = encoder(x)
        logit = manipulated_logit(raw.float(), config.architecture)
        vectors.append(vector.half().cpu().numpy().reshape(2, config.clip_frames, -1))
        odds.append(logit.cpu().numpy().reshape(2, -1))
        labels += [np.zeros_like(pair.labels), pair.labels]
        operations += [pair.operation] * 2
        groups += [pair.group] * 2
        if number % 100 == 99:
            print(f"clips: {number + 1} of {n_pairs} pairs", flush=True)
    return ClipFeatures(
        np.concatenate(vectors), np.concatenate(odds), np.stack(labels), operations, groups
    )


def _starts(pool: Pool, rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return those rows from which n consecutive frames of one file follow."""
    good = [
        int(i)
        for i in rows
        if i + n <= len(pool)
        and pool.files[i] == pool.files[i + n - 1]
        and pool.frames[i + n - 1] - pool.frames[i] == n - 1
    ]
    return np.array(good, np.int64)


def _same_group(pool: Pool, row: int) -> Iterator[int]:
    """Yield the other rows of a labelled pair's group, which lie beside it."""
    for i in range(max(0, row - 1), min(len(pool), row + 2)):
        if i != row and pool.groups[i] == pool.groups[row]:
            yield i
