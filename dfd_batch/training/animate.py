"""Faces set in motion by landmarks: stills brought to life, and expressions made stronger."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dfd_batch.training.pools import Image, Points

Pose = NDArray[np.float64]

ANCHORS = [*range(17, 36), 36, 39, 42, 45]
"""Landmarks that speech and blinks hardly move: brows, nose, corners of the eyes."""
COARSE_PX = 8
"""Between the places where a motion is computed; it is smooth in between."""
REACH = 0.2, 0.6
"""Of a landmark's pull, in eye distances."""
CALM = 1.0, 5.0
"""Standard deviation of the smoothing of what drives a still, in frames: generated heads turn and
nod without a tremble, and those that hardly speak are forgeries as well."""
STRONGER = 0.5, 2.5
"""By how many times itself an expression grows."""
FURTHEST = 0.25
"""That a landmark goes with a stronger expression, in eye distances."""


def reenacted(still: Image, own: Points, driving: Points, rng: Generator) -> Image:
    """Return frames (T, P, P, 3) of one picture that moves as the driving landmarks do.

    Args:
        still: (P, P, 3).
        own: (68, 2) in it.
        driving: (T, 68, 2), in the picture's coordinates.
        rng: Every choice is drawn from it.
    """
    # What drives a still has no noise: that of landmarks would make it tremble, an easy tell.
    points = calmed(driving, float(np.exp(rng.uniform(*np.log(CALM)))))
    reach, stands = rng.uniform(*REACH) * eye_distance(own), bool(rng.random() < 0.5)
    frames = [
        _animated(still, own, now, similarity(now, own), reach, stands=stands) for now in points
    ]
    return np.stack(frames)


def calmed(path: Points, spread: float) -> Points:
    """Return landmarks (T, 68, 2) smoothed over time; at both ends they go on as they went.

    Args:
        path: (T, 68, 2).
        spread: Standard deviation of the smoothing in frames.
    """
    if len(path) < 2:
        return path
    beyond = int(4 * spread) + 1  # as far as the filter reaches
    ends = ((beyond, beyond), (0, 0), (0, 0))
    # Turned over at the ends: a mere mirror would let every face slow down there.
    longer = np.pad(path, ends, mode="reflect", reflect_type="odd")
    smooth = gaussian_filter1d(longer, spread, axis=0, mode="nearest")
    return np.asarray(smooth[beyond : beyond + len(path)], np.float32)


def driven(own: Points, driver: Points) -> Points:
    """Return how landmarks (68, 2) would move (T, 68, 2), did they move as another face's do."""
    pose = similarity(driver[0], own)
    moved = driver @ pose[:, :2].T + pose[:, 2]
    return np.asarray(own + moved - moved[0], np.float32)


def exaggerated(frames: Image, landmarks: Points, rng: Generator) -> tuple[Image, Points]:
    """Return a clip whose face moves its parts more, and its landmarks: livelier people.

    Args:
        frames: (T, P, P, 3).
        landmarks: (T, 68, 2).
        rng: Every choice is drawn from it.
    """
    n, eyes = len(frames), eye_distance(landmarks[0])
    still = landmarks[:, ANCHORS]
    poses = [similarity(points, still[n // 2]) for points in still]
    own = np.stack([p @ m[:, :2].T + m[:, 2] for p, m in zip(landmarks, poses, strict=True)])
    expression = own - own.mean(0)
    if n > 2:  # the landmarks' noise shall not grow
        expression[1:-1] = (expression[:-2] + 2 * expression[1:-1] + expression[2:]) / 4
    expression *= rng.uniform(*STRONGER)
    length = np.linalg.norm(expression, axis=-1, keepdims=True)
    expression *= np.minimum(1, FURTHEST * eyes / np.maximum(length, 1e-6))
    back = [np.linalg.inv(m[:, :2]) for m in poses]
    target = np.stack(
        [p + e @ m.T for p, e, m in zip(landmarks, expression, back, strict=True)]
    ).astype(np.float32)
    reach = rng.uniform(*REACH) * eyes
    out = [
        _animated(frame, points, now, np.eye(2, 3), reach)
        for frame, points, now in zip(frames, landmarks, target, strict=True)
    ]
    return np.stack(out), target


def _animated(
    image: Image, own: Points, now: Points, pose: Pose, reach: float, stands: bool = False
) -> Image:
    """Return an image (P, P, 3) whose landmarks (68, 2) have moved to other places.

    Args:
        image: To be warped.
        own: Landmarks in it.
        now: Where they shall be.
        pose: The motion back that all of the head shares.
        reach: Of a landmark's pull beyond that, in pixels.
        stands: The surroundings stay where they are.
    """
    side = image.shape[0]
    coarse = (np.arange(side // COARSE_PX) + 0.5) * COARSE_PX
    places = np.stack(np.broadcast_arrays(coarse[None], coarse[:, None]), -1)
    apart = np.square(places[:, :, None] - now).sum(-1)
    near = np.exp(-apart / (2 * reach**2))
    field = places @ pose[:, :2].T + pose[:, 2] - places
    if stands:
        field *= np.exp(-apart.min(-1) / (2 * (0.9 * eye_distance(own)) ** 2))[..., None]
    left = own - (now @ pose[:, :2].T + pose[:, 2])
    field += near @ left / (near.sum(-1, keepdims=True) + 0.1)
    field = np.asarray(cv2.resize(field.astype(np.float32), (side, side)), np.float32)
    grid = np.arange(side, dtype=np.float32)
    x, y = grid[None] + field[..., 0], grid[:, None] + field[..., 1]
    out = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8)


def similarity(source: Points, target: Points) -> Pose:
    """Return the least-squares similarity (2, 3) from points (N, 2) to points (N, 2)."""
    a, b = (points.astype(np.float64) @ [1, 1j] for points in (source, target))
    centred = a - a.mean()
    turn = np.vdot(centred, b) / max(float(np.vdot(centred, centred).real), 1e-9)
    move = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def eye_distance(points: Points) -> float:
    """Return the distance between the eyes' middles of landmarks (68, 2), in pixels."""
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))
