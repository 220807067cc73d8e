"""Random looks at the same crop: what an attack on one exact crop did not reckon with.

Each view mirrors, shifts, zooms and softens a little, as the training does, so that a detector's
answer should hardly change; perturbations made for one pixel grid do (Xie et al., Mitigating
adversarial effects through randomization, ICLR 2018). It raises the price of an attack and is no
proof against one that averages over views itself (Athalye et al., ICML 2018).
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
SOFTEN = (1.0, 0.8, 0.65)
"""Resolutions that the views take turns at."""


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


def view(x: Tensor, seeds: Seeds, index: int) -> Tensor:
    """Return one view of crops, differentiable; view 0 is the crops themselves.

    Args:
        x: (N, 3, S, S) in any affine scaling of pixel values.
        seeds: (N,) from `object_seeds`.
        index: Which view; the same seed and index give the same view.
    """
    if index == 0:
        return x
    maps = {int(seed): _affine(int(seed), index) for seed in np.unique(seeds)}
    theta = torch.tensor(np.stack([maps[int(seed)] for seed in seeds]), device=x.device)
    size = x.shape[-1]
    small = round(size * SOFTEN[index % len(SOFTEN)])
    grid = F.affine_grid(theta, [len(x), 3, size, size], align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if small < size:
        moved = F.interpolate(moved, (small, small), mode="bilinear", antialias=True)
        moved = F.interpolate(moved, (size, size), mode="bicubic")
    return moved.contiguous(memory_format=torch.channels_last)


def _affine(seed: int, index: int) -> NDArray[np.float32]:
    """Return a map (2, 3) from a view's coordinates to the crop's, both -1..1."""
    rng = np.random.default_rng([seed, index])
    zoom = np.exp(rng.uniform(-ZOOM, ZOOM))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    shift = 2 * rng.uniform(-SHIFT, SHIFT, 2)
    return np.array([[mirror * zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float32)
