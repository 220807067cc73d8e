"""What a forger's frame-by-frame work leaves behind in time: one function per trace.

Parts that wander (the idea of FakeSTormer, ICCV 2025), paste-ins that jitter or flicker, faces and
mouths out of step, eyes that never close, skin without a pulse, stills brought to life. Each
returns the frames that are then blended into the clip inside a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training import style
from dfd_batch.training.animate import ANCHORS, eye_distance, reenacted, similarity
from dfd_batch.training.pools import Image, Points

Openness = NDArray[np.float32]
Frames = NDArray[np.int64]

WHOLE = "whole"
"""The region of what replaces all of a frame."""
PARTS = (range(36, 42), range(42, 48), range(27, 36), range(48, 68), range(6, 11))


@dataclass(frozen=True)
class Clip:
    """Consecutive patches of one genuine face."""

    frames: Image  # (T, P, P, 3)
    landmarks: Points  # (T, 68, 2)
    canonical_px: float
    driving: Points | None = None
    """(T, 68, 2) how a still would move, did it live."""


def _drift(clip: Clip, rng: Generator) -> Image:
    """Parts of the face wander, each on its own: offsets follow AR(1) processes."""
    n, side = clip.frames.shape[:2]
    eyes = eye_distance(clip.landmarks[0])
    reach = eyes * _between(rng, 0.006, 0.025)
    offsets = np.zeros((n, len(PARTS), 2))
    offsets[0] = rng.normal(0, reach, offsets[0].shape)
    for t in range(1, n):
        offsets[t] = 0.9 * offsets[t - 1] + rng.normal(0, reach * np.sqrt(0.19), offsets[t].shape)
    grid = np.arange(side, dtype=np.float32)
    coarse = (np.arange(side // 8) + 0.5) * 8
    out = []
    for frame, points, moves in zip(clip.frames, clip.landmarks, offsets, strict=True):
        middles = np.stack([points[list(part)].mean(0) for part in PARTS])
        dx2 = np.square(coarse[None] - middles[:, :1])[:, None, :]
        dy2 = np.square(coarse[None] - middles[:, 1:])[:, :, None]
        weights = np.exp(-(dx2 + dy2) / (2 * (0.4 * eyes) ** 2))
        field = np.einsum("kyx,kc->yxc", weights, moves).astype(np.float32)
        field = np.asarray(cv2.resize(field, (side, side)), np.float32)
        x, y = grid[None] - field[..., 0], grid[:, None] - field[..., 1]
        out.append(cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))
    return np.stack(out).astype(np.uint8)


def _jitter(clip: Clip, rng: Generator) -> Image:
    """The paste-in is aligned anew, a little differently, in every frame."""
    reach = _between(rng, 0.006, 0.025)
    out = []
    for frame, points in zip(clip.frames, clip.landmarks, strict=True):
        x, y = (float(v) for v in points.mean(0))
        turn, zoom = rng.normal(0, 30 * reach), 1 + rng.normal(0, reach / 2)
        m = np.array(cv2.getRotationMatrix2D((x, y), turn, zoom), np.float64)
        m[:, 2] += rng.normal(0, reach * eye_distance(clip.landmarks[0]), 2)
        out.append(_warp(frame, m))
    return np.stack(out)


def _flicker(clip: Clip, rng: Generator) -> Image:
    """The paste-in's brightness, colour and sharpness vary from frame to frame."""
    n, depth = len(clip.frames), _between(rng, 0.01, 0.06)
    gains = 1 + rng.normal(0, depth, (n, 1)) + rng.normal(0, depth / 3, (n, 3))
    blurs = np.abs(rng.normal(0, rng.uniform(0.1, 0.7), n))
    out = []
    for frame, gain, blur in zip(clip.frames, gains, blurs, strict=True):
        lit = np.clip(frame * gain.astype(np.float32), 0, 255).astype(np.uint8)
        out.append(cv2.GaussianBlur(lit, (0, 0), float(blur)) if blur > 0.2 else lit)
    return np.stack(out).astype(np.uint8)


def _hold(clip: Clip, rng: Generator) -> Image:
    """The face freezes now and then, or is late, while everything around it moves on."""
    n = len(clip.frames)
    source = np.arange(n)
    if rng.random() < 0.5:
        source = _where_there(source - int(rng.integers(1, min(9, n))))
    else:
        for start in rng.integers(0, n - 2, size=max(1, n // 8)):
            source[start : start + int(rng.integers(2, 9))] = start
    return _from_other_frames(clip, source)


def _lip_lag(clip: Clip, rng: Generator) -> Image:
    """The mouth is late or early, or comes from another moment."""
    n = len(clip.frames)
    lag = int(rng.integers(2, min(9, n))) * int(rng.choice([-1, 1]))
    source = _where_there(np.arange(n) + lag)
    if rng.random() >= 0.7:
        source = np.clip(np.arange(n) + lag, 0, n - 1)[::-1]
    return _from_other_frames(clip, source)


def _eyes_open(clip: Clip, rng: Generator) -> Image:
    """Blinks are painted over by the most open eyes; without a blink, the eyes do not move."""
    openness, n = eye_openness(clip), len(clip.frames)
    closed = openness < 0.85
    if closed.any():
        closed = np.convolve(closed, np.ones(3), "same") > 0  # lids are half-way there
        source = np.where(closed, openness.argmax(), np.arange(n))
    else:
        source = np.full(n, int(rng.integers(n)))
    return _from_other_frames(clip, source)


def _pulse_kill(clip: Clip, rng: Generator) -> Image:
    """The skin's colour is low-passed in time, in the face's own coordinates."""
    n, side = clip.frames.shape[:2]
    slow, smooth = rng.uniform(2, n), rng.uniform(1, 4)
    poses = [similarity(points, clip.landmarks[n // 2]) for points in clip.landmarks]
    still = np.stack([_warp(f, m) for f, m in zip(clip.frames, poses, strict=True)])
    colour = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2YCrCb)[..., 1:] for f in still])
    colour = colour.astype(np.float32)
    when = np.arange(n, dtype=np.float32)
    weights = np.exp(-np.square((when[:, None] - when) / slow) / 2)
    weights /= weights.sum(1, keepdims=True)
    change = np.tensordot(weights, colour, 1).astype(np.float32) - colour
    out = []
    for frame, pose, delta in zip(clip.frames, poses, change, strict=True):
        soft = cv2.GaussianBlur(delta, (0, 0), smooth)
        back = cv2.warpAffine(
            soft, pose, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        red, blue = back[..., 0], back[..., 1]
        # ITU-R BT.601: luma stays as it is.
        rgb = np.stack([1.403 * red, -0.714 * red - 0.344 * blue, 1.773 * blue], -1)
        out.append(np.clip(frame + rgb + 0.5, 0, 255).astype(np.uint8))
    return np.stack(out)


def _reenact(clip: Clip, rng: Generator) -> Image:
    """One frame moves as a face did: a still brought to life, as talking heads are."""
    k = int(rng.integers(len(clip.frames)))
    still = clip.frames[k]
    if rng.random() < 0.5:
        still = style.generator_trace(still, rng)
    driving = clip.landmarks if clip.driving is None else clip.driving
    return reenacted(still, clip.landmarks[k], driving, rng)


TRACES: dict[str, tuple[str | None, Callable[[Clip, Generator], Image]]] = {
    "drift": ("face", _drift),
    "jitter": (None, _jitter),
    "flicker": (None, _flicker),
    "hold": ("face", _hold),
    "lip_lag": ("mouth", _lip_lag),
    "eyes_open": ("eyes", _eyes_open),
    "pulse_kill": ("face", _pulse_kill),
    "reenact": (WHOLE, _reenact),
}
"""The region that each blends (drawn when None), and what it blends in there."""


def eye_openness(clip: Clip) -> Openness:
    """Return how open the eyes are in each frame (T,), 1 for the median frame.

    Landmarks of small faces hardly follow the lids, so their aspect ratio is multiplied by how much
    darker than its surroundings the darkest of each eye is: a lid hides iris and lashes.
    """
    points = clip.landmarks
    upper, lower, inner, outer = (
        points[:, columns] for columns in ([37, 38, 43, 44], [41, 40, 47, 46], [36, 42], [39, 45])
    )
    ratio = np.linalg.norm(upper - lower, axis=-1).mean(1)
    ratio /= np.maximum(np.linalg.norm(inner - outer, axis=-1).mean(1), 1e-3)
    places = np.array([[16, 10], [48, 10]], np.float32)  # where the eyes stand in a 64 x 20 strip
    dark = np.zeros(len(points), np.float32)
    for t, frame in enumerate(clip.frames):
        eyes = np.stack([points[t, 36:42].mean(0), points[t, 42:48].mean(0)])
        strip = _warp(frame, similarity(eyes, places), (64, 20))
        grey = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY)
        both = np.concatenate([grey[4:16, 8:24], grey[4:16, 40:56]])
        dark[t] = both.mean() - np.quantile(both, 0.08)
    openness = ratio * dark
    return np.asarray(openness / max(float(np.median(openness)), 1e-6), np.float32)


def _where_there(source: Frames) -> Frames:
    """Return frames (T,), their own where the clip has none: late is not frozen."""
    n = len(source)
    return np.where((source >= 0) & (source < n), source, np.arange(n))


def _from_other_frames(clip: Clip, source: Frames) -> Image:
    """Return for each frame frame `source[t]`, aligned to its face."""
    out = [
        clip.frames[t]
        if k == t
        else _warp(
            clip.frames[k], similarity(clip.landmarks[k][ANCHORS], clip.landmarks[t][ANCHORS])
        )
        for t, k in enumerate(source)
    ]
    return np.stack(out)


def _warp(image: Image, m: NDArray[np.float64], size: tuple[int, int] | None = None) -> Image:
    size = size or (image.shape[1], image.shape[0])
    out = cv2.warpAffine(image, m, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8)


def _between(rng: Generator, low: float, high: float) -> float:
    """Return a number drawn evenly on the logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
