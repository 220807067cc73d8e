"""How figures fall as media get worse: compression, size, blur and noise on face crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dfd_batch.evaluation.bootstrap import N_DRAWS, Estimate, measure
from dfd_batch.evaluation.crops import CropJudge, Faces
from dfd_batch.training.degrade import Degradation
from dfd_batch.training.pools import Image


@dataclass(frozen=True)
class Point:
    """The AUC at one strength."""

    x: float
    auc: Estimate
    n: int


@dataclass(frozen=True)
class Curve:
    """The AUC of one detector over the strength of one change, mildest first."""

    name: str
    x_name: str
    points: tuple[Point, ...]
    detector: str = ""
    test: str = ""
    """Pool of faces that it was measured on."""


@dataclass(frozen=True)
class Change:
    """A way to make crops worse, at several strengths, mildest first."""

    name: str
    x_name: str
    strengths: tuple[float, ...]
    at: Callable[[float, int], Degradation]
    """From strength and seed to what is done to a crop."""


SHARPENED_PX = 1.2
CHANGES = (
    Change("as it is", "", (0,), lambda _, seed: Degradation(seed)),
    Change("JPEG", "quality", (95, 75, 50, 30), lambda x, seed: Degradation(seed, jpeg=int(x))),
    Change("H.264", "CRF", (18, 23, 28, 35, 40), lambda x, seed: Degradation(seed, crf=int(x))),
    Change("resize", "scale", (1, 0.75, 0.5, 0.33), lambda x, seed: Degradation(seed, shrink=x)),
    Change("blur", "sigma (px)", (0, 0.5, 1, 2, 3), lambda x, seed: Degradation(seed, blur=x)),
    Change(
        "noise", "sigma (of 255)", (0, 2, 5, 10, 20), lambda x, seed: Degradation(seed, noise=x)
    ),
    Change(
        "sharpening",
        "amount",
        (0, 0.5, 1, 1.5),
        lambda x, seed: Degradation(seed, sharpen=(x, SHARPENED_PX)),
    ),
    Change("smooth skin", "levels", (0, 15, 30, 45), lambda x, seed: Degradation(seed, skin=x)),
)
"""The first is the reference of all."""


def curves(
    judge: CropJudge,
    faces: Faces,
    detector: str = "",
    changes: Sequence[Change] = CHANGES,
    n_draws: int = N_DRAWS,
) -> Iterator[Curve]:
    """Yield the curve of each change as it is ready; every crop has its own seed.

    Args:
        judge: The detector.
        faces: Crops of the detector's size, both classes.
        detector: Its name.
        changes: What is done to the crops.
        n_draws: Of the bootstrap.
    """
    for change in changes:
        points = []
        for x in change.strengths:
            worse: list[Image] = [
                change.at(x, seed)(crop)[None] for seed, crop in enumerate(faces.crops)
            ]
            found = measure(faces.labels, judge(worse), faces.groups, n_draws=n_draws)["AUC"]
            points.append(Point(float(x), found, len(np.asarray(faces.labels))))
        yield Curve(change.name, change.x_name, tuple(points), detector)
