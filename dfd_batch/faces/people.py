"""Tracks of several clips joined where they show the same person of the same video.

No identity network: place, size and a coarse look (hair, skin, light as colours and a small grey
picture) are enough to tell the few people of one video apart, and cost a fraction of a
millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.faces.crop import Frame, Square
from dfd_batch.faces.track import assign

SAME = 0.74
"""Likeness above which two tracks are one person: 99 % of pairs of clips of one video are above it,
75 % of pairs of different people at the same place and 95 % elsewhere below."""
PLACE_BONUS = 0.25
"""What the same place and size in the picture add to the likeness of two tracks."""
MEMORY = 0.3
"""Weight of a new clip in a person's remembered look."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a track of one clip looks like and where it is."""

    colours: NDArray[np.float32]  # histogram of a and b of Lab, sums to 1
    grey: NDArray[np.float32]  # small luma picture, zero mean, unit length
    square: Square


def look_of(crops: Iterable[Frame], square: Square) -> Look:
    """Return the look of a track in one clip.

    Args:
        crops: Its crops (S, S, 3); a few are enough.
        square: Its median square in displayed pixels.
    """
    lab = [
        cv2.cvtColor(cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        for crop in crops
    ]
    pixels = np.stack(lab).astype(np.float32)
    colours = np.histogram2d(
        pixels[..., 1].ravel(), pixels[..., 2].ravel(), bins=24, range=[[96, 192], [96, 192]]
    )[0].astype(np.float32)
    # Neighbouring colours are alike: without blurring a slight change of light is another person.
    colours = cv2.GaussianBlur(colours, (0, 0), 1.0).astype(np.float32)
    grey = pixels[..., 0].mean(axis=0)
    grey = grey - grey.mean()
    return Look(
        colours / max(float(colours.sum()), 1e-6),
        grey / max(float(np.linalg.norm(grey)), 1e-6),
        square,
    )


def likeness(a: Look, b: Look) -> float:
    """Return how alike two looks are, from below 0 to 1 and a bonus for the same place."""
    colours = float(np.minimum(a.colours, b.colours).sum())
    grey = float((a.grey * b.grey).sum())
    distance = np.hypot(a.square.x - b.square.x, a.square.y - b.square.y)
    side = max(a.square.side, b.square.side)
    place = max(0.0, 1 - float(distance) / side) * min(a.square.side, b.square.side) / side
    return (colours + grey) / 2 + PLACE_BONUS * place


class People:
    """The persons of one video seen so far, numbered from 0."""

    def __init__(self) -> None:
        self._looks: list[Look] = []

    def number(self, looks: Sequence[Look], taken: set[int]) -> list[int]:
        """Return the person of each track of one shot, new numbers for new people.

        Args:
            looks: One per track; all are different people.
            taken: Persons that have a track in this clip already: a cut ends tracks, so none of
                them is given again; the numbers given are added.
        """
        scores = np.array(
            [
                [0.0 if p in taken else max(0.0, likeness(known, look) - SAME) for look in looks]
                for p, known in enumerate(self._looks)
            ]
        )
        numbers = [-1] * len(looks)
        for person, i in assign(scores):
            numbers[i] = person
            self._looks[person] = _blend(self._looks[person], looks[i])
        for i, look in enumerate(looks):
            if numbers[i] < 0:
                numbers[i] = len(self._looks)
                self._looks.append(look)
        taken.update(numbers)
        return numbers


def _blend(old: Look, new: Look) -> Look:
    """Return a remembered look moved towards the newest, at the newest place."""
    grey = (1 - MEMORY) * old.grey + MEMORY * new.grey
    return Look(
        ((1 - MEMORY) * old.colours + MEMORY * new.colours).astype(np.float32),
        (grey / max(float(np.linalg.norm(grey)), 1e-6)).astype(np.float32),
        new.square,
    )
