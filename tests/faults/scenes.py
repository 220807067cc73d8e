"""Scenes as cameras film them: people of a chosen size before a background, and their spoiling."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.demo.photographs import Portrait, astronaut, coffee, hopper

Picture = NDArray[np.uint8]
BOX_PER_EYES_TO_MOUTH = 2.5  # height of a detector's box in units of the eyes-to-mouth distance


@cache
def portrait(name: str) -> Portrait:
    return {"astronaut": astronaut, "hopper": hopper}[name]()


def _sized(name: str, face_px: float) -> tuple[Picture, tuple[float, float]]:
    """Return head and shoulders with a face of this height, and where the face's middle is."""
    found = portrait(name)
    left, right, _, *mouth = found.landmarks
    box_px = BOX_PER_EYES_TO_MOUTH * float(np.mean(mouth, axis=0)[1] - (left + right)[1] / 2)
    zoom = face_px / box_px
    x, y = found.landmarks.mean(axis=0)
    x0, y0 = max(0, int(x - 1.3 * box_px)), max(0, int(y - 1.2 * box_px))
    part = found.picture[y0 : int(y + 2.2 * box_px), x0 : int(x + 1.3 * box_px)]
    size = (max(1, round(part.shape[1] * zoom)), max(1, round(part.shape[0] * zoom)))
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    small = cv2.resize(part, size, interpolation=interpolation)
    return np.asarray(small, np.uint8), ((x - x0) * zoom, (y - y0) * zoom)


def scene(
    n: int,
    width: int = 1920,
    height: int = 1080,
    people: dict[str, float] | None = None,
    spoil: Callable[[Picture], Picture] | None = None,
) -> list[Picture]:
    """Return frames in which people sway a little before a blurred table.

    Args:
        n: Frames.
        width: In pixels.
        height: In pixels.
        people: Portrait's name to height of the face in pixels; side by side.
        spoil: What happens to every frame.
    """
    people = {"astronaut": 0.12 * height} if people is None else people
    back = cv2.GaussianBlur(cv2.resize(coffee(), (width, height)), (0, 0), height / 200)
    cut = {name: _sized(name, face_px) for name, face_px in people.items()}
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 7, (height, width, 1), np.uint8)
    frames = []
    for i in range(n):
        frame = back.copy()
        for j, (picture, (x, y)) in enumerate(cut.values()):
            left = int(width * (j + 1) / (len(cut) + 1) - x + 0.01 * width * np.sin(i / 9 + j))
            top = int(0.4 * height - y + 0.004 * height * np.sin(i / 5))
            _paste(frame, picture, left, top)
        frame = cv2.add(frame, np.roll(grain, 17 * i, axis=(0, 1)).repeat(3, axis=2))
        frames.append(spoil(frame) if spoil else np.asarray(frame, np.uint8))
    return frames


def _paste(frame: Picture, picture: Picture, left: int, top: int) -> None:
    y0, x0 = max(0, top), max(0, left)
    part = picture[y0 - top : frame.shape[0] - top, x0 - left : frame.shape[1] - left]
    frame[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part


def dim(frame: Picture) -> Picture:
    """Return a frame as taken in the evening."""
    return np.asarray(frame * 0.25, np.uint8)


def smeared(frame: Picture) -> Picture:
    """Return a frame as taken by a moving hand."""
    kernel = np.full((1, max(3, frame.shape[1] // 200)), 1, np.float32)
    return np.asarray(cv2.filter2D(frame, -1, kernel / kernel.sum()), np.uint8)
