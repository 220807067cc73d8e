"""Random looks at the same crop: what an attack on one exact crop did not reckon with.

Each view mirrors, shifts and zooms a little, as the training does, adds noise and softens it again,
so that a detector's answer should hardly change; perturbations made for one pixel grid do (Xie et
al., Mitigating adversarial effects through randomization, ICLR 2018), and those that are smaller
than the noise drown in it (randomised smoothing: Cohen et al., ICML 2019). It raises the price of
an attack and is no proof against one that averages over views itself (Athalye et al., ICML 2018).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Seeds = NDArray[np.uint64]
SHIFT, ZOOM = 0.04, 0.06
"""Most that a view is moved, in units of the crop side, and scaled."""
NOISE = 14.0
"""Standard deviation, of 255 …"""
SOFTEN = 2 / 3
"""… before the view is brought to this resolution and back, which spares the face more of it."""


def object_seeds(crops: NDArray[np.uint8], counts: Sequence[int], n_views: int) -> Seeds:
    """Return a seed per crop (K,), drawn from the bytes of all crops of its object.

    One object's crops share their views: drawn anew for every frame, the views themselves would be
    a jitter over time, which is what the temporal head looks for.

    Args:
        crops: (K, S, S, 3) of several objects, one after the other.
        counts: Crops of each object; their sum is K.
        n_views: With one view, the crops themselves, nothing is drawn.
    """
    if n_views == 1:
        return np.zeros(len(crops), np.uint64)
    ends = np.cumsum(counts)
    digests = [
        hashlib.blake2b(np.ascontiguousarray(crops[end - n : end]).data, digest_size=8).digest()
        for n, end in zip(counts, ends, strict=True)
    ]
    return np.repeat(np.frombuffer(b"".join(digests), np.uint64), counts)


def view(x: Tensor, seeds: Seeds, index: int, level: Tensor) -> Tensor:
    """Return one view of crops, differentiable.

    Args:
        x: (N, 3, S, S) in any affine scaling of pixel values.
        seeds: (N,) from `object_seeds`.
        index: Which view; the same seed and index give the same view.
        level: (3,) what one of 255 levels is in `x`.
    """
    own, row = np.unique(seeds, return_inverse=True)
    rows, size = torch.from_numpy(row).to(x.device), x.shape[-1]
    theta = torch.from_numpy(np.stack([_affine(int(seed), index) for seed in own]))
    grid = F.affine_grid(theta.to(x.device)[rows], [len(x), 3, size, size], align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    noise = torch.stack([_noise(int(seed), index, size) for seed in own])
    noise = noise.to(x.device) * (NOISE * level.to(x.device)).view(1, 3, 1, 1)
    small = round(size * SOFTEN)
    noised = moved + noise[rows]
    soft = F.interpolate(noised, (small, small), mode="bilinear", antialias=True)
    soft = F.interpolate(soft, (size, size), mode="bicubic")
    return soft.contiguous(memory_format=torch.channels_last)


def _affine(seed: int, index: int) -> NDArray[np.float32]:
    """Return a map (2, 3) from a view's coordinates to the crop's, both -1..1."""
    rng = np.random.default_rng([seed, index])
    zoom = np.exp(rng.uniform(-ZOOM, ZOOM))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    shift = 2 * rng.uniform(-SHIFT, SHIFT, 2)
    return np.array([[mirror * zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float32)


def _noise(seed: int, index: int, size: int) -> Tensor:
    """Return noise (3, S, S) of variance 1, the same for all crops of an object."""
    rng = np.random.default_rng([seed, index, 1])
    return torch.from_numpy(rng.standard_normal((3, size, size), np.float32))
