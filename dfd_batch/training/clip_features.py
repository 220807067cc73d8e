"""Twin clips as features of frozen encoders, for the temporal head; made once, kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dfd_batch.features.cnn import manipulated_logit, normalise
from dfd_batch.features.flow import FlowMaps, Maps, grey
from dfd_batch.features.motion import MotionEncoder
from dfd_batch.inference import CpuNetwork
from dfd_batch.training.ahead import made
from dfd_batch.training.clips import ClipForge, FilmedPair
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.devices import n_loaders
from dfd_batch.training.precision import autocast
from dfd_batch.training.progress import told


@dataclass(frozen=True)
class ClipFeatures:
    """Clips as the temporal head sees them."""

    features: NDArray[np.float16]  # (N, T, D)
    frame_logits: NDArray[np.float32]  # (N, T) of the frame encoder alone
    labels: NDArray[np.float32]  # (N, T) 1 where forged
    operations: list[str]  # of the pair, for both twins
    groups: list[str]  # pair by pair
    troubles: list[str]  # what the whole pair suffered; empty when nothing

    @property
    def clip_labels(self) -> NDArray[np.float32]:
        """Return 1 (N,) for clips with any forged frame."""
        return np.asarray(self.labels.max(1), np.float32)

    def of(self, rows: NDArray[np.int64]) -> ClipFeatures:
        """Return some of the clips (n,), twins together."""
        return ClipFeatures(
            self.features[rows],
            self.frame_logits[rows],
            self.labels[rows],
            [self.operations[i] for i in rows],
            [self.groups[i] for i in rows],
            [self.troubles[i] for i in rows],
        )


def features(
    encoder: nn.Module,
    motion: MotionEncoder | None,
    config: TrainConfig,
    n_pairs: int,
    clip_forge: ClipForge,
    cache: Path,
) -> ClipFeatures:
    """Return the features of the first `n_pairs` pairs, from the cache where it has them.

    Args:
        encoder: Frame encoder.
        motion: Motion encoder, whose features follow the frame encoder's.
        config: Sizes, seed and the work directory.
        n_pairs: Pairs; twice as many clips.
        clip_forge: Makes the pairs.
        cache: An .npz file, named after all that the features depend on.
    """
    if cache.is_file():
        with np.load(cache) as kept:
            return ClipFeatures(
                kept["features"],
                kept["frame_logits"],
                kept["labels"],
                [str(v) for v in kept["operations"]],
                [str(v) for v in kept["groups"]],
                [str(v) for v in kept["troubles"]],
            )
    found = _encode(encoder, motion, config, clip_forge, n_pairs)
    partial = cache.with_suffix(".partial.npz")
    np.savez(
        partial,
        features=found.features,
        frame_logits=found.frame_logits,
        labels=found.labels,
        operations=np.array(found.operations),
        groups=np.array(found.groups),
        troubles=np.array(found.troubles),
    )
    partial.replace(cache)
    return found


class _Forged:
    """Numbers to pairs of clips, with both twins' maps (2, T - 1, C, 14, 14) if wanted."""

    def __init__(self, forge: ClipForge, mapped: bool) -> None:
        self._forge, self._mapped = forge, FlowMaps() if mapped else None

    def __call__(self, number: int) -> tuple[FilmedPair, Maps | None]:
        pair = self._forge.pair(number)
        if self._mapped is None:
            return pair, None
        return pair, np.stack([self._mapped(grey(c)) for c in (pair.genuine, pair.fake)])


@torch.inference_mode()
def _encode(
    encoder: nn.Module,
    motion: MotionEncoder | None,
    config: TrainConfig,
    clips: ClipForge,
    n_pairs: int,
) -> ClipFeatures:
    encoder.eval()
    device = next(encoder.parameters()).device
    network: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = encoder
    if device.type == "cpu":  # as a scan runs it: several times faster than by PyTorch
        size = config.preprocessing.crop_size
        network = CpuNetwork(encoder, torch.zeros(1, 3, size, size))
    n = config.clip_frames
    # Filled in place: small arrays that stay, between the large ones of each pair, would leave the
    # heap full of holes that no later pair fits in, 10 MB a pair.
    vectors = np.zeros((0, 2, n, 0), np.float16)
    odds = np.zeros((n_pairs, 2, n), np.float32)
    labels = np.zeros((n_pairs, 2, n), np.float32)
    operations, groups, troubles = [], [], []
    twins = made(_Forged(clips, motion is not None), range(n_pairs), n_loaders(config, device))
    for number, (pair, maps) in enumerate(told(twins, "pairs of clips", n_pairs)):
        both = np.concatenate([pair.genuine, pair.fake])
        x = normalise(torch.from_numpy(both).to(device), config.preprocessing)
        with autocast(device.type, config.precision):
            vector, raw = network(x.contiguous(memory_format=torch.channels_last))
        if motion is not None and maps is not None:
            moved = motion(torch.from_numpy(maps).to(device))
            vector = torch.cat([vector.float(), moved.flatten(0, 1)], 1)
        logit = manipulated_logit(raw.float(), config.architecture)
        if not len(vectors):
            vectors = np.zeros((n_pairs, 2, n, vector.shape[1]), np.float16)
        vectors[number] = vector.half().cpu().numpy().reshape(2, n, -1)
        odds[number] = logit.cpu().numpy().reshape(2, n)
        labels[number, 1] = pair.labels
        operations += [pair.operation] * 2
        groups += [pair.group] * 2
        troubles += [pair.trouble] * 2
    return ClipFeatures(
        vectors.reshape(2 * n_pairs, n, -1),
        odds.reshape(2 * n_pairs, n),
        labels.reshape(2 * n_pairs, n),
        operations,
        groups,
        troubles,
    )
