"""Pseudo-fakes of held-out genuine faces by operation: which traces a detector knows.

A detector that was trained without an operation (`dfd train --without …`) and yet finds it has
learned something general; both are judged on the same pseudo-fakes here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.checkpoint import ModelCard
from dfd_batch.evaluation.crops import some
from dfd_batch.evaluation.results import CardFigure
from dfd_batch.training import consecutive, degrade, forge, forge_clip, redraw
from dfd_batch.training.config import CLIP_FRAMES
from dfd_batch.training.pools import Image, Pool, canonical_crop
from dfd_batch.training.selection import measured_rows, pairs_of
from dfd_batch.training.temporal_traces import Clip

STILL = ("self", "swap", "rendered", "polished", "redrawn", "reblended")
CLIP_SHARE = 5
"""One clip pair for so many pairs of stills: a clip costs as much as its frames do."""


@dataclass(frozen=True)
class Pairs:
    """Genuine media and their forged twins, alternating."""

    operation: str
    media: Literal["image", "video"]
    objects: list[Image]  # each (T, S, S, 3)
    groups: list[str]

    @property
    def labels(self) -> NDArray[np.int32]:
        """Return labels (N,), in turns 0 and 1."""
        return np.tile(np.array([0, 1], np.int32), len(self.objects) // 2)


def pairs(directory: Path, pool: Pool, size: int, n: int) -> Iterator[Pairs]:
    """Yield pairs by operation, the same for every detector of one crop size.

    Args:
        directory: Of the pool; redrawn faces lie in it.
        pool: Its genuine faces that training leaves out are forged.
        size: Side S of the crops in pixels.
        n: Pairs of stills for each operation.
    """
    rows = measured_rows(directory.name, pool, 0)
    if not len(rows):
        return
    drawn = redraw.read(directory.parent.parent, directory.name, pool)
    fakes = dict(pairs_of(pool, np.union1d(rows, measured_rows(directory.name, pool, 1)))[0])
    for k, operation in enumerate(STILL):
        if (operation == "redrawn" and drawn is None) or (operation == "reblended" and not fakes):
            continue
        objects: list[Image] = []
        groups: list[str] = []
        suited = np.array(sorted(fakes)) if operation == "reblended" else rows
        for i in some(suited, n):
            rng = np.random.default_rng([17, k, int(i)])
            made = _still(operation, pool, int(i), rows, drawn, fakes, rng)
            if made is None:
                continue  # this face gives it nothing to change
            worse = degrade.draw(rng)
            for twin in (made.genuine, made.fake):
                objects.append(worse(canonical_crop(twin, float(pool.canonical_px[i]), size))[None])
            groups += [pool.groups[i]] * 2
        if objects:
            yield Pairs(operation, "image", objects, groups)
    yield from _clip_pairs(
        pool, consecutive.starts(pool, rows, CLIP_FRAMES), size, -(-n // CLIP_SHARE)
    )


def compare_cards(cards: Mapping[str, ModelCard]) -> list[CardFigure]:
    """Return all figures that any detector's card holds, with the value on each."""
    tables = {
        name: {(m.name, m.data): m.value for m in card.metrics} for name, card in cards.items()
    }
    keys = dict.fromkeys(key for table in tables.values() for key in table)
    return [
        CardFigure(*key, {name: table.get(key) for name, table in tables.items()}) for key in keys
    ]


def _still(
    operation: str,
    pool: Pool,
    i: int,
    rows: NDArray[np.int64],
    drawn: Image | None,
    fakes: dict[int, int],
    rng: Generator,
) -> forge.Forged | None:
    image, points = np.array(pool.patches[i]), pool.landmarks[i]
    if operation == "rendered":
        return forge.rendered(image, rng)
    if operation == "polished":
        return forge.polished(image, rng)
    if operation == "redrawn" and drawn is not None:
        return forge.redrawn(image, np.array(drawn[i]), rng)
    if operation == "reblended":
        return forge.reblended(image, np.array(pool.patches[fakes[i]]), points, rng)
    if operation == "swap":
        others = [int(j) for j in rows if pool.groups[j] != pool.groups[i]] or [i]
        j = int(rng.choice(others))
        donor = forge.Donor(np.array(pool.patches[j]), pool.landmarks[j])
        return forge.forge(image, points, rng, donor)
    return forge.forge(image, points, rng)


def _clip_pairs(pool: Pool, starts: NDArray[np.int64], size: int, n: int) -> Iterator[Pairs]:
    if not len(starts):
        return
    for k, operation in enumerate(forge_clip.OPERATIONS):
        objects: list[Image] = []
        groups: list[str] = []
        for i in some(starts, n):
            rng = np.random.default_rng([19, k, int(i)])
            at = i + np.arange(CLIP_FRAMES)
            side = float(pool.canonical_px[i])
            clip = Clip(np.array(pool.patches[at]), pool.landmarks[at], side)
            made = forge_clip.forge_clip(clip, rng, operation=operation)
            if made.operation != operation:
                continue  # this clip gives it nothing to change
            for twin in (made.genuine, made.fake):
                objects.append(np.stack([canonical_crop(frame, side, size) for frame in twin]))
            groups += [pool.groups[i]] * 2
        if objects:
            yield Pairs(operation, "video", objects, groups)
