"""Contact sheets of pseudo-fakes: what a training would learn from, and how fast it is made.

Forgeries are shown in the canonical crop, before any degradation.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.outcomes import UsageError
from dfd_batch.training import animate, consecutive, forge, forge_clip, redraw, trouble
from dfd_batch.training.config import CLIP_FRAMES
from dfd_batch.training.forge_clip import Clip
from dfd_batch.training.pools import Image, Pool, canonical_crop, misfit
from dfd_batch.training.selection import pairs_of, training_pools

STILLS = ("self", "swap", "rendered", "polished", "redrawn", "reblended")
STILL_PX, STILL_EXAMPLES = 160, 6
MOST_TRIES = 40
"""Labelled pairs that show different moments cannot be blended anew."""
STRIP_PX, STRIP_FRAMES, STRIP_EXAMPLES = 120, 8, 2
CROP_PX = 192
BLACK, FORGED, GENUINE = (0, 0, 0), (220, 40, 40), (40, 150, 60)
GAIN = 4.0

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Preview:
    """A contact sheet, and how many pairs one core forged for it in how much processor time."""

    sheet: Image  # (H, W, 3) RGB
    pairs: int
    seconds: float


def stills(work: Path, seed: int = 0) -> Preview:
    """Return rows of genuine | fake | difference x 4 | mask for every operation on still faces.

    Args:
        work: Directory with prepared pools.
        seed: Of faces and forgeries.

    Raises:
        UsageError: There are no prepared genuine faces.
    """
    faces, clock, rows = _Faces(work, seed), _Clock(), []
    for operation in filter(faces.knows, STILLS):
        cells: list[Image] = []
        for _ in range(MOST_TRIES):
            if len(cells) == STILL_EXAMPLES:
                break
            name, row = faces.draw(operation)
            with clock.running():
                made = faces.still(operation, name, row)
            if made is None:
                clock.count -= 1
                continue
            mask = np.repeat((made.mask * 255).astype(np.uint8)[..., None], 3, axis=2)
            shown = (made.genuine, made.fake, _difference(made.genuine, made.fake), mask)
            side = float(faces.pools[name].canonical_px[row])
            told = f"{operation}: genuine | fake | difference x 4 | mask ({name})"
            cells.append(_titled(told, _strip(shown, side, STILL_PX)))
        if len(cells) % 2:
            cells.append(np.zeros_like(cells[-1]))
        rows += [np.concatenate(cells[k : k + 2], 1) for k in range(0, len(cells), 2)]
    return Preview(np.concatenate(rows), clock.count, clock.seconds)


def clips(work: Path, seed: int = 0) -> Preview:
    """Return strips of genuine frames above forged ones, a red bar between where one is forged.

    Below them are stills brought to life by somebody's clip, and what genuine clips go through:
    livelier faces than were filmed, and troubles.

    Args:
        work: Directory with prepared pools, at least one with consecutive frames.
        seed: Of clips and forgeries.

    Raises:
        UsageError: There are no prepared genuine clips.
    """
    faces, clock, cells = _Faces(work, seed), _Clock(), []
    shown = np.linspace(0, CLIP_FRAMES - 1, STRIP_FRAMES).astype(int)
    for operation in forge_clip.OPERATIONS:
        for _ in range(STRIP_EXAMPLES):
            clip, donor = faces.clip(), faces.clip() if faces.rng.random() < 0.5 else None
            with clock.running():
                made = forge_clip.forge_clip(clip, faces.rng, donor, operation)
            bars = [_bar(STRIP_PX, 4, FORGED if made.labels[t] else GENUINE) for t in shown]
            apart = _difference(made.genuine, made.fake)
            genuine, fake, difference = (
                _strip(frames[shown], clip.canonical_px, STRIP_PX)
                for frames in (made.genuine, made.fake, apart)
            )
            told = f"{made.operation}: {int(made.labels.sum())} of {CLIP_FRAMES} frames forged"
            strips = [genuine, np.concatenate(bars, 1), fake, difference]
            cells.append(_titled(told, np.concatenate(strips)))
    for _ in range(STRIP_EXAMPLES):
        cells += [_alive(faces, clock, shown), _livelier(faces, shown)]
    for kind in trouble.TROUBLES:
        clip, seed = faces.clip(), int(faces.rng.integers(2**31))
        crops = np.stack(
            [canonical_crop(frame, clip.canonical_px, CROP_PX) for frame in clip.frames]
        )
        troubled = trouble.Trouble(kind, seed)(crops)[shown]
        cells.append(_titled(f"genuine, {kind}", _strip(troubled, CROP_PX, STRIP_PX)))
    rows = [np.concatenate(cells[k : k + 2], 1) for k in range(0, len(cells), 2)]
    return Preview(np.concatenate(rows), clock.count, clock.seconds)


def _alive(faces: _Faces, clock: _Clock, shown: NDArray[np.int_]) -> Image:
    """Return a clip above a still that moves as its face does."""
    clip, (name, row) = faces.clip(), faces.draw("reenact")
    pool = faces.pools[name]
    own = pool.landmarks[row]
    with clock.running():
        moving = animate.driven(own, clip.landmarks)
        made = animate.reenacted(np.array(pool.patches[row]), own, moving, faces.rng)
    strips = [
        _strip(clip.frames[shown], clip.canonical_px, STRIP_PX),
        _strip(made[shown], float(pool.canonical_px[row]), STRIP_PX),
    ]
    return _titled(
        f"reenact: a genuine clip, and a still ({name}) moved by it", np.concatenate(strips)
    )


def _livelier(faces: _Faces, shown: NDArray[np.int_]) -> Image:
    """Return a genuine clip above the same with stronger expressions, genuine to a training."""
    clip = faces.clip()
    stronger, _ = animate.exaggerated(clip.frames, clip.landmarks, faces.rng)
    strips = [_strip(x[shown], clip.canonical_px, STRIP_PX) for x in (clip.frames, stronger)]
    return _titled("genuine, and livelier than it was filmed", np.concatenate(strips))


def write(preview: Preview, path: Path) -> None:
    """Write the sheet as PNG.

    Raises:
        UsageError: The file cannot be written.
    """
    _, png = cv2.imencode(".png", preview.sheet[..., ::-1])
    try:
        path.write_bytes(png.tobytes())
    except OSError as error:
        raise UsageError(f"Cannot write the sheet to {path}: {error.strerror}.") from None


class _Faces:
    """Random genuine faces and clips of the prepared pools, and forgeries of them."""

    def __init__(self, work: Path, seed: int) -> None:
        self.rng: Generator = np.random.default_rng([seed, 23])
        self.pools = {k: p for k, p in training_pools(work).items() if (p.labels == 0).any()}
        if not self.pools:
            raise UsageError(
                f"No prepared genuine faces in {work / 'pools'}; run `dfd prepare` with --work "
                f"{work} first."
            )
        drawn = {name: redraw.read(work, name, pool) for name, pool in self.pools.items()}
        self.redrawn = {name: faces for name, faces in drawn.items() if faces is not None}
        self._fakes = {
            name: dict(pairs_of(pool, np.arange(len(pool)))[0]) for name, pool in self.pools.items()
        }
        self._starts = [
            (pool, int(row))
            for pool in self.pools.values()
            for row in consecutive.starts(pool, np.arange(len(pool)), CLIP_FRAMES)
        ]

    def knows(self, operation: str) -> bool:
        """Return whether the pools have what an operation needs."""
        return bool(self._rows(operation))

    def _rows(self, operation: str) -> dict[str, list[int]]:
        """Return the rows of genuine faces that the operation can forge, by pool."""
        if operation == "reblended":
            return {name: list(fakes) for name, fakes in self._fakes.items() if fakes}
        # The autoencoders draw only once a training starts.
        names = list(self.redrawn if operation == "redrawn" else self.pools)
        if operation == "reenact":  # trainings bring to life the people they know as stills alone
            moving = {id(pool) for pool, _ in self._starts}
            alone = [n for n in names if not (self._fakes[n] or id(self.pools[n]) in moving)]
            names = alone or names
        return {name: np.flatnonzero(self.pools[name].labels == 0).tolist() for name in names}

    def draw(self, operation: str) -> tuple[str, int]:
        """Return a pool's name and the row of a genuine face that the operation can forge."""
        rows = self._rows(operation)
        name = str(self.rng.choice(list(rows)))
        return name, int(self.rng.choice(rows[name]))

    def still(self, operation: str, name: str, row: int) -> forge.Forged | None:
        """Return a forged face, None where the operation does not suit it."""
        pool = self.pools[name]
        image, points = np.array(pool.patches[row]), pool.landmarks[row]
        if operation == "rendered":
            return forge.rendered(image, self.rng)
        if operation == "polished":
            return forge.polished(image, self.rng)
        if operation == "reblended":
            fake = np.array(pool.patches[self._fakes[name][row]])
            return forge.reblended(image, fake, points, self.rng)
        if operation == "redrawn":
            return forge.redrawn(image, np.array(self.redrawn[name][row]), self.rng)
        donor = self._donor(pool, row) if operation == "swap" else None
        return forge.forge(image, points, self.rng, donor)

    def clip(self) -> Clip:
        """Return consecutive frames of a genuine face.

        Raises:
            UsageError: No prepared pool has any.
        """
        if not self._starts:
            raise UsageError(
                f"No prepared pool has {CLIP_FRAMES} consecutive frames of a genuine face; run "
                "`dfd prepare` on genuine videos first."
            )
        pool, first = self._starts[int(self.rng.integers(len(self._starts)))]
        rows = slice(first, first + CLIP_FRAMES)
        side = float(pool.canonical_px[first])
        return Clip(np.array(pool.patches[rows]), pool.landmarks[rows], side)

    def _donor(self, pool: Pool, row: int, n_tried: int = 24) -> forge.Donor:
        """Return the face whose landmarks fit best, of some of other people's."""
        tried = self.rng.choice(np.flatnonzero(pool.labels == 0), n_tried)
        others = [int(k) for k in tried if pool.groups[k] != pool.groups[row]] or [row]
        own = pool.landmarks[row]
        best = min(others, key=lambda k: misfit(pool.landmarks[k], own))
        return forge.Donor(np.array(pool.patches[best]), pool.landmarks[best])


class _Clock:
    """Counts what is made, and the processor time that it takes."""

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        before = time.process_time()
        yield
        self.seconds += time.process_time() - before
        self.count += 1


def _difference(genuine: Image, fake: Image) -> Image:
    return np.asarray(cv2.multiply(cv2.absdiff(genuine, fake), np.full(4, GAIN)), np.uint8)


def _strip(patches: Iterable[Image], canonical_px: float, size: int) -> Image:
    """Return canonical crops of patches (P, P, 3) side by side, (size, n x size, 3)."""
    return np.concatenate([canonical_crop(patch, canonical_px, size) for patch in patches], 1)


def _titled(told: str, image: Image) -> Image:
    bar = _bar(image.shape[1], 18, BLACK)
    cv2.putText(bar, told, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([bar, image])


def _bar(width: int, height: int, colour: Colour) -> Image:
    return np.full((height, width, 3), colour, np.uint8)
