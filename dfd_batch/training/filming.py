"""How a clip was cut, lit, troubled and encoded on its way to an archive."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from dfd_batch.training import degrade, trouble
from dfd_batch.training.degrade import Geometry
from dfd_batch.training.pools import Image
from dfd_batch.training.trouble import Trouble


@dataclass(frozen=True)
class Filming:
    """Camera, light, troubles and encoder of a clip; replayed on both twins."""

    path: tuple[Geometry, ...]  # one per frame
    worse: degrade.Degradation
    crf: int | None
    brightness: tuple[float, ...]
    order: tuple[int, ...]
    troubles: tuple[Trouble, ...] = ()

    def __call__(self, frames: Image, canonical_px: float, size: int) -> Image:
        """Return crops (T, S, S, 3), S even, of patches (T, P, P, 3)."""
        done: dict[int, Image] = {}
        for k in set(self.order):
            crop = self.path[k].crop(frames[k], canonical_px, size)
            done[k] = replace(self.worse, seed=self.worse.seed + k)(crop)
        crops = np.stack(
            [
                cv2.convertScaleAbs(done[k], alpha=gain)
                for k, gain in zip(self.order, self.brightness, strict=True)
            ]
        ).astype(np.uint8)
        for troubled in self.troubles:
            crops = troubled(crops)
        return crops if self.crf is None else np.stack(degrade.h264(list(crops), self.crf))

    def untouched(self) -> Filming:
        """Return the same camera without troubles, light, degradation and encoder."""
        n = len(self.order)
        return Filming(
            path=self.path,
            worse=degrade.Degradation(seed=self.worse.seed),
            crf=None,
            brightness=(1.0,) * n,
            order=tuple(range(n)),
        )


def draw_filming(n: int, rng: Generator, still: bool) -> Filming:
    """Return how a clip of n frames is filmed.

    Args:
        n: Frames.
        rng: Every choice is drawn from it.
        still: The clip is one picture repeated, so the camera has to bring the motion.
    """
    base = degrade.draw_geometry(rng)
    reach = rng.uniform(0.004, 0.03) if still else rng.uniform(0, 0.004)
    phase, speed = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.05, 0.45, 4)
    sway = np.sin(np.arange(n)[:, None] * speed + phase) * reach
    shake = rng.normal(0, rng.uniform(0, 0.003), (n, 3))
    order = trouble.draw_order(n, rng) if rng.random() < 0.5 else np.arange(n)
    # After a cut the same person is often seen from nearer or farther.
    nearer = np.ones(n)
    if order[0] > order[-1] and rng.random() < 0.5:
        nearer[order[0] :] = np.exp(rng.uniform(-0.15, 0.15))
    path = tuple(
        replace(
            base,
            shift=(base.shift[0] + s[0] + e[0], base.shift[1] + s[1] + e[1]),
            scale=base.scale * float(1 + s[2] + e[2]) * float(zoom),
            degrees=base.degrees + float(60 * s[3]),
        )
        for s, e, zoom in zip(sway, shake, nearer, strict=True)
    )
    worse = degrade.draw(rng)
    roll = rng.uniform(0, 0.08) * (rng.random() < 0.3)
    light = 1 + roll * np.sin(np.arange(n) * rng.uniform(0.2, 1.5) + phase[0])
    return Filming(
        path=path,
        worse=replace(worse, crf=None),
        crf=worse.crf if worse.crf is not None else (28 if rng.random() < 0.3 else None),
        brightness=tuple(float(v) for v in light),
        order=tuple(int(k) for k in order),
        troubles=trouble.draw(rng),
    )
