"""Twin clips as features of frozen encoders, for the temporal head; made once, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from dfd_batch.training.kept import Pair, kept_pairs
from dfd_batch.training.precision import autocast


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
    stem: Path,
) -> ClipFeatures:
    """Return the features of the first `n_pairs` pairs, from disk where they are.

    Args:
        encoder: Frame encoder.
        motion: Motion encoder, whose features follow the frame encoder's.
        config: Sizes, seed and the work directory.
        n_pairs: Pairs; twice as many clips.
        clip_forge: Makes the pairs.
        stem: Of the files that keep them, named after all that the features depend on.
    """

    def encoded(numbers: range) -> Iterator[Pair]:
        return _encoded(encoder, motion, config, clip_forge, numbers)

    vectors, known = kept_pairs(stem, n_pairs, encoded, "pairs of clips")
    labels = np.stack([np.zeros_like(known["labels"]), known["labels"]], 1)
    operations, groups, troubles = (
        np.repeat(known[name], 2).tolist() for name in ("operations", "groups", "troubles")
    )
    return ClipFeatures(
        vectors.reshape(-1, *vectors.shape[2:]),
        known["frame_logits"].reshape(-1, labels.shape[-1]),
        labels.reshape(-1, labels.shape[-1]),
        operations,
        groups,
        troubles,
    )


class _Forged:
    """Numbers to pairs of clips, with both twins' maps (2, T - 1, C, 14, 14) if wanted."""

    def __init__(self, forge: ClipForge, mapped: bool) -> None:
        self._forge, self._mapped = forge, FlowMaps() if mapped else None

    def __call__(self, number: int) -> tuple[FilmedPair, Maps | None]:
        pair = self._forge.pair(number)
        if self._mapped is None:
            return pair, None
        return pair, np.stack([self._mapped(grey(c)) for c in (pair.genuine, pair.fake)])


def _encoded(
    encoder: nn.Module,
    motion: MotionEncoder | None,
    config: TrainConfig,
    clips: ClipForge,
    numbers: range,
) -> Iterator[Pair]:
    """Yield of each pair the features (2, T, D) of the twins and what else is known of it."""
    encoder.eval()
    device = next(encoder.parameters()).device
    network: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = encoder
    if device.type == "cpu":  # as a scan runs it: several times faster than by PyTorch
        size = config.preprocessing.crop_size
        network = CpuNetwork(encoder, torch.zeros(1, 3, size, size))
    for pair, maps in made(_Forged(clips, motion is not None), numbers, n_loaders(config, device)):
        both = np.concatenate([pair.genuine, pair.fake])
        with torch.inference_mode(), autocast(device.type, config.precision):
            x = normalise(torch.from_numpy(both).to(device), config.preprocessing)
            vector, raw = network(x.contiguous(memory_format=torch.channels_last))
            odds = manipulated_logit(raw.float(), config.architecture)
        if motion is not None and maps is not None:
            with torch.inference_mode():
                moved = motion(torch.from_numpy(maps).to(device))
            vector = torch.cat([vector.float(), moved.flatten(0, 1)], 1)
        n = len(pair.labels)
        yield (
            vector.half().cpu().numpy().reshape(2, n, -1),
            {
                "frame_logits": odds.cpu().numpy().reshape(2, n),
                "labels": pair.labels,
                "operations": pair.operation,
                "groups": pair.group,
                "troubles": pair.trouble,
            },
        )
