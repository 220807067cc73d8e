"""Pseudo-fakes in time: clips of a genuine face, forged with per-frame labels.

Every choice that a real forgery makes once (mask, colour, another identity) is drawn once and
replayed on each frame; the temporal operations then add what a forger's frame-by-frame work leaves
behind. As often, genuine clips suffer what honest video suffers (dropped and repeated frames, cuts,
rolling brightness), so that "a frame was repeated" does not come to mean "fake".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training import degrade, forge
from dfd_batch.training.degrade import Geometry
from dfd_batch.training.pools import Image, Points

Labels = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """Consecutive patches of one genuine face."""

    frames: Image  # (T, P, P, 3)
    landmarks: Points  # (T, 68, 2)
    canonical_px: float


@dataclass(frozen=True)
class ForgedClip:
    """A forged clip, its genuine twin, and which frames were forged."""

    genuine: Image  # (T, P, P, 3)
    fake: Image  # (T, P, P, 3)
    labels: Labels  # (T,) 1 where forged
    operation: str


def forge_clip(
    clip: Clip, rng: Generator, donor: forge.Donor | None = None, operation: str | None = None
) -> ForgedClip:
    """Return a clip and its forged twin; about a third are forged in one stretch only.

    Args:
        clip: The genuine clip.
        rng: Every choice is drawn from it.
        donor: Another person's face, for `static`; the clip's own when None.
        operation: One of OPERATIONS; drawn when None.
    """
    name = operation or str(rng.choice(list(OPERATIONS)))
    base, fake = OPERATIONS[name](clip, rng, donor)
    # A frame is labelled by what was done to it: a face held for its first frame is untouched.
    labels = (fake != base).any(axis=(1, 2, 3)).astype(np.float32)
    stretch = _stretch(len(labels), rng)
    if rng.random() < 0.35 and (labels * stretch).any():
        labels *= stretch
        fake = np.where(labels[:, None, None, None] > 0, fake, base).astype(np.uint8)
    return ForgedClip(base, fake, labels, name)


def _stretch(n: int, rng: Generator, shortest: int = 6) -> Labels:
    """Return labels (n,) with one stretch of ones, neither empty nor everything."""
    length = int(rng.integers(min(shortest, n - 1), max(n - 1, shortest + 1)))
    start = int(rng.integers(0, n - length + 1))
    labels = np.zeros(n, np.float32)
    labels[start : start + length] = 1
    return labels


def _static(clip: Clip, rng: Generator, donor: forge.Donor | None) -> tuple[Image, Image]:
    seed = int(rng.integers(2**31))
    twins = [
        forge.forge(frame, points, np.random.default_rng(seed), donor)
        for frame, points in zip(clip.frames, clip.landmarks, strict=True)
    ]
    return np.stack([t.genuine for t in twins]), np.stack([t.fake for t in twins])


def _drift(clip: Clip, rng: Generator, _: forge.Donor | None) -> tuple[Image, Image]:
    """Parts of the face wander: offsets follow an AR(1) process."""
    spread = rng.uniform(0.006, 0.02) * _eye_distance(clip)
    offsets = np.zeros((len(clip.frames), 2))
    for t in range(1, len(offsets)):
        offsets[t] = 0.9 * offsets[t - 1] + rng.normal(0, spread, 2)
    return _moved(clip, offsets, rng)


def _jitter(clip: Clip, rng: Generator, _: forge.Donor | None) -> tuple[Image, Image]:
    """The paste-in is aligned anew, a little differently, in every frame."""
    spread = rng.uniform(0.008, 0.025) * _eye_distance(clip)
    return _moved(clip, rng.normal(0, spread, (len(clip.frames), 2)), rng)


def _moved(clip: Clip, offsets: NDArray[np.float64], rng: Generator) -> tuple[Image, Image]:
    masks = _masks(clip, rng)
    out = []
    for frame, (dx, dy), mask in zip(clip.frames, offsets, masks, strict=True):
        m = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved = cv2.warpAffine(frame, m, frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
        out.append(forge.blend(frame, np.asarray(moved, np.uint8), mask))
    return clip.frames, np.stack(out)


def _flicker(clip: Clip, rng: Generator, _: forge.Donor | None) -> tuple[Image, Image]:
    """The paste-in's strength, brightness and sharpness vary from frame to frame."""
    gains = 1 + rng.normal(0, rng.uniform(0.02, 0.06), (len(clip.frames), 3))
    blurs = np.abs(rng.normal(0, rng.uniform(0.2, 1.0), len(clip.frames)))
    out = []
    for frame, gain, blur, mask in zip(clip.frames, gains, blurs, _masks(clip, rng), strict=True):
        lit = np.clip(frame * gain, 0, 255).astype(np.uint8)
        if blur > 0.2:
            lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), float(blur)), np.uint8)
        out.append(forge.blend(frame, lit, mask))
    return clip.frames, np.stack(out)


def _hold(clip: Clip, rng: Generator, _: forge.Donor | None) -> tuple[Image, Image]:
    """The face freezes now and then while everything around it moves on."""
    n = len(clip.frames)
    source = np.arange(n)
    for start in rng.integers(0, n - 2, size=max(1, n // 8)):
        source[start : start + int(rng.integers(2, 6))] = start
    return _from_other_frames(clip, source, _masks(clip, rng, "face"))


def _lip_lag(clip: Clip, rng: Generator, _: forge.Donor | None) -> tuple[Image, Image]:
    """The mouth is late, or comes from another moment."""
    n = len(clip.frames)
    lag = int(rng.integers(2, min(9, n)))
    source = np.maximum(np.arange(n) - lag, 0)
    if rng.random() < 0.5:
        source = source[::-1].copy()
    return _from_other_frames(clip, source, _masks(clip, rng, "mouth"))


OPERATIONS: dict[str, Callable[[Clip, Generator, forge.Donor | None], tuple[Image, Image]]] = {
    "static": _static,
    "drift": _drift,
    "jitter": _jitter,
    "flicker": _flicker,
    "hold": _hold,
    "lip_lag": _lip_lag,
}


def _from_other_frames(
    clip: Clip, source: NDArray[np.int64], masks: list[forge.Mask]
) -> tuple[Image, Image]:
    """Return each frame with its masked part taken from frame `source[t]`, aligned to it."""
    out = []
    for t, (k, mask) in enumerate(zip(source, masks, strict=True)):
        frame, other = clip.frames[t], clip.frames[k]
        m, _ = cv2.estimateAffinePartial2D(clip.landmarks[k][17:48], clip.landmarks[t][17:48])
        if k == t or m is None:
            out.append(frame)
            continue
        aligned = cv2.warpAffine(other, m, frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
        out.append(forge.blend(frame, np.asarray(aligned, np.uint8), mask))
    return clip.frames, np.stack(out)


def _masks(clip: Clip, rng: Generator, region: str | None = None) -> list[forge.Mask]:
    """Return the same mask for every frame, carried along by the landmarks."""
    seed, side = int(rng.integers(2**31)), clip.frames.shape[1]
    return [
        forge.draw_mask(side, points, np.random.default_rng(seed), region)
        for points in clip.landmarks
    ]


def _eye_distance(clip: Clip) -> float:
    points = clip.landmarks[0]
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))


def hard_genuine(n: int, rng: Generator) -> NDArray[np.int64]:
    """Return which frame of an honest but troubled video stands at each of n places.

    Whole frames are repeated (a stall), or the clip is cut and goes on elsewhere, or nothing.
    """
    kind = rng.random()
    if kind < 1 / 2:
        again = rng.integers(0, n, size=int(rng.integers(1, 6)))
        return np.sort(np.concatenate([np.arange(n), again]))[:n]
    if kind < 3 / 4:
        return np.roll(np.arange(n), int(rng.integers(1, n)))
    return np.arange(n)


@dataclass(frozen=True)
class Filming:
    """How a clip was cut, lit, degraded and encoded; replayed on both twins."""

    path: tuple[Geometry, ...]  # one per frame
    worse: degrade.Degradation
    crf: int | None
    brightness: tuple[float, ...]
    order: tuple[int, ...]

    def __call__(self, frames: Image, canonical_px: float, size: int) -> Image:
        """Return crops (T, S, S, 3) of patches (T, P, P, 3)."""
        crops = []
        for t, k in enumerate(self.order):
            crop = self.path[k].crop(frames[k], canonical_px, size)
            crop = replace(self.worse, seed=self.worse.seed + k)(crop)
            lit = cv2.convertScaleAbs(crop, alpha=self.brightness[t])
            crops.append(np.asarray(lit, np.uint8))
        if self.crf is not None:
            crops = degrade.h264(crops, self.crf)
        return np.stack(crops).astype(np.uint8)


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
    path = tuple(
        replace(
            base,
            shift=(base.shift[0] + s[0] + e[0], base.shift[1] + s[1] + e[1]),
            scale=base.scale * float(1 + s[2] + e[2]),
            degrees=base.degrees + float(60 * s[3]),
        )
        for s, e in zip(sway, shake, strict=True)
    )
    worse = degrade.draw(rng)
    roll = rng.uniform(0, 0.08) * (rng.random() < 0.3)
    light = 1 + roll * np.sin(np.arange(n) * rng.uniform(0.2, 1.5) + phase[0])
    order = hard_genuine(n, rng) if rng.random() < 0.5 else np.arange(n)
    return Filming(
        path=path,
        worse=replace(worse, crf=None),
        crf=worse.crf if worse.crf is not None else (28 if rng.random() < 0.3 else None),
        brightness=tuple(float(v) for v in light),
        order=tuple(int(k) for k in order),
    )
