"""Motion encoder: what changed in a grid of cells in, a vector per frame out.

A CNN of stills throws away what time tells: a paste-in that trembles, a mouth that belongs to
another moment. The maps of `features.flow` are computed; this small network looks along time and
over the face for what parts do on their own: 2 million multiplications a frame, a hundredth of a
MobileNetV2.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.cnn import load_part
from dfd_batch.features.flow import CELLS, CHANNELS, Maps, runs_of
from dfd_batch.features.memory import in_halves

WIDTH = 32
"""Channels inside, twice as many where the cells are halved."""
TIME_KERNEL = 5


class MotionEncoder(nn.Module):
    """Maps of a run's steps to features of its frames.

    Args:
        width: M, features per frame.
        dropout: Of what the last layer reads, while training.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        n, n_in = WIDTH, len(CHANNELS)
        self.norm = nn.BatchNorm2d(n_in)
        self.stem = nn.Sequential(
            nn.Conv2d(2 * n_in + 2, n, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU()
        )
        self.near = nn.ModuleList([_Time(n), _Space(n)])
        self.halve = nn.Sequential(
            nn.Conv2d(n, n, 3, 2, 1, groups=n, bias=False),
            nn.Conv2d(n, 2 * n, 1, bias=False),
            nn.BatchNorm2d(2 * n),
            nn.ReLU(),
        )
        self.far = nn.ModuleList([_Time(2 * n), _Space(2 * n), _Time(2 * n)])
        # A weight per place: the crops show the eyes, the mouth and the seam always about there.
        self.places = nn.Conv2d(2 * n, 4 * n, CELLS // 2, groups=2 * n)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8 * n, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Return features (B, T, M) of the maps (B, T - 1, C, 14, 14) between T frames."""
        n_runs, n_steps = maps.shape[:2]
        x = self.norm(maps.float().flatten(0, 1)).view(maps.shape)
        # Every frame sees the step before and the step after it, and whether there is one.
        known = torch.cat([x, torch.ones_like(x[:, :, :1])], 2)
        none = torch.zeros_like(known[:, :1])
        x = torch.cat([torch.cat([none, known], 1), torch.cat([known, none], 1)], 2)
        length = n_steps + 1
        x = self.stem(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        for part in self.near:
            x = part(x, length)
        x = self.halve(x)
        for part in self.far:
            x = part(x, length)
        everywhere = torch.relu(self._at_places(x))
        seen = torch.cat([everywhere, x.amax((2, 3)), x.mean((2, 3))], 1)
        features: Tensor = self.out(self.dropout(seen))
        return features.view(n_runs, length, -1)

    def _at_places(self, x: Tensor) -> Tensor:
        """Return what the convolution `places` gives (N, 8 * WIDTH), ten times as fast to train."""
        weight = self.places.weight.view(x.shape[1], -1, x.shape[2] * x.shape[3])
        found = torch.einsum("ncp,cop->nco", x.flatten(2), weight.to(x.dtype)).flatten(1)
        return found + self.places.get_parameter("bias")


class _Time(nn.Module):
    """A residual separable convolution along time, in every cell alike."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n, n, (TIME_KERNEL, 1), padding=(TIME_KERNEL // 2, 0), groups=n, bias=False),
            nn.BatchNorm2d(n),
            nn.ReLU(),
            nn.Conv2d(n, n, 1, bias=False),
            nn.BatchNorm2d(n),
        )

    def forward(self, x: Tensor, length: int) -> Tensor:
        last = x.permute(0, 2, 3, 1)  # of channels last these are views
        along = last.reshape(-1, length, last.shape[1] * last.shape[2], last.shape[3])
        moved = self.body(along.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # inside: (B, n, T, cells)
        return torch.relu(x + moved.reshape(last.shape).permute(0, 3, 1, 2))


class _Space(nn.Module):
    """A residual separable convolution over cells, in every frame alike."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n, n, 3, 1, 1, groups=n, bias=False),
            nn.BatchNorm2d(n),
            nn.ReLU(),
            nn.Conv2d(n, n, 1, bias=False),
            nn.BatchNorm2d(n),
        )

    def forward(self, x: Tensor, length: int) -> Tensor:
        return torch.relu(x + self.body(x))


class MotionEmbedder:
    """Runs a checkpoint's motion encoder over the maps of several objects.

    Args:
        checkpoint: With `architecture.motion` > 0.
        device: "cpu" or "cuda".
        micro_batch: Crops per forward pass.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, micro_batch: int) -> None:
        self._device = torch.device(device)
        self._micro_batch = micro_batch
        self.width = checkpoint.card.architecture.motion
        encoder = MotionEncoder(self.width)
        load_part(encoder, checkpoint, "motion")
        self._encoder = encoder.eval().to(self._device)

    @torch.inference_mode()
    def __call__(self, maps: Maps, keys: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return features (K, M) of K crops, zeros where a run is a single crop.

        Args:
            maps: (M, C, 14, 14) of `MotionMaps`.
            keys: (K, n) of `runs_of`.
        """
        out = np.zeros((len(keys), self.width), np.float16)
        by_length: dict[int, list[tuple[slice, Maps]]] = {}
        at = 0
        for run in runs_of(keys):
            n_steps = run.stop - run.start - 1
            if n_steps:
                by_length.setdefault(n_steps + 1, []).append((run, maps[at : at + n_steps]))
            at += n_steps
        for length, runs in by_length.items():
            at_once = max(1, self._micro_batch // length)
            for start in range(0, len(runs), at_once):
                part = runs[start : start + at_once]
                (found,) = in_halves(self._forward, np.stack([own for _, own in part]))
                for (run, _), features in zip(part, found.cpu().numpy(), strict=True):
                    out[run] = features
        return out

    def _forward(self, maps: Maps) -> tuple[Tensor]:
        features = self._encoder(torch.from_numpy(maps).to(self._device))
        widest = torch.finfo(torch.float16).max
        return (features.clamp(-widest, widest).half(),)
