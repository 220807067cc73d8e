"""Twin clips for the temporal head.

Three kinds: genuine clips and their temporal forgeries; genuine stills filmed with a moving camera
and forged in time, for the variety of their people; and labelled twins, both filmed alike: their
consecutive frames where there are some, else stills, from which the head keeps what the frames
themselves tell.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.outcomes import UsageError
from dfd_batch.training import animate, consecutive, forge, forge_clip
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.filming import Filming
from dfd_batch.training.pools import Image, Pool
from dfd_batch.training.selection import beside_strangers, pairs_of

FORGED_AS = 4
"""Number of the recipe: raise it where clips of the same settings come out otherwise."""
Kind = Literal["clip", "still", "labelled"]
Face = tuple[Pool, int]
ODDS: dict[Kind, float] = {"clip": 0.45, "still": 0.15, "labelled": 0.4}
STILL_OPERATIONS = ("drift", "jitter", "flicker", "reenact")
"""Those that need no other moment to take something from; `reenact` needs somebody's clip."""
PACES = {1: 0.65, 2: 0.25, 3: 0.1}
"""Clips of every, every other or every third frame, as of a slower camera."""
MEASURED_PACES = {1: 0.75, 2: 0.25}
LIVELIER_SHARE = 0.2
"""Training clips of people who move their faces more than newsreaders do."""
ADRIFT_SHARE = 0.6
"""Clips whose crops follow the face less well: scans interpolate between few looks."""
ADRIFT, MEASURED_ADRIFT = (0.002, 0.05), (0.002, 0.02)
"""Furthest that such a crop is off, in its own sides."""


@dataclass(frozen=True)
class FilmedPair:
    """Twin clips of crops (T, S, S, 3) and the fake's frame labels (T,)."""

    genuine: Image
    fake: Image
    labels: NDArray[np.float32]
    operation: str
    group: str
    trouble: str


class ClipForge:
    """Pairs of clips, each a function of seed and number.

    Args:
        config: Sizes, seed, licences and the work directory.
        held_out: Take speakers that training leaves out, and the faces of development splits; and
            leave out the variety that only training needs, so that figures stay comparable.
        odds: Of the kinds of clips; those whose media are not there are left out.
        untouched: Leave out what archives do to media: neither degraded, troubled nor encoded anew.

    Raises:
        UsageError: No media for any kind.
    """

    def __init__(
        self,
        config: TrainConfig,
        held_out: bool,
        odds: dict[Kind, float] | None = None,
        untouched: bool = False,
    ) -> None:
        self._config, self._held_out, self._untouched = config, held_out, untouched
        self._clips: list[Face] = []
        self._stills: list[Face] = []
        self._labelled: list[tuple[Face, Face]] = []
        for pool, rows in consecutive.media(config, held_out):
            genuine = rows[pool.labels[rows] == 0]
            pairs, alone = pairs_of(pool, rows)
            pairs += beside_strangers(pool, rows, alone)
            starts = consecutive.starts(pool, genuine, config.clip_frames)
            self._clips += [(pool, int(i)) for i in starts]
            self._labelled += [((pool, a), (pool, b)) for a, b in pairs]
            if not len(starts) and not pairs:
                self._stills += [(pool, int(i)) for i in genuine]
        there = {"clip": self._clips, "still": self._stills, "labelled": self._labelled}
        given = ODDS if odds is None else odds
        self._odds = {kind: p for kind, p in given.items() if there[kind]}
        self._of_stills = [
            name
            for name in STILL_OPERATIONS
            if name not in config.without and (self._clips or name != "reenact")
        ]
        if not self._of_stills:
            self._odds.pop("still", None)
        if not set(forge_clip.OPERATIONS) - set(config.without):
            self._odds.pop("clip", None)
        if not self._odds:
            whose = "people held out of training" if held_out else "genuine people"
            raise UsageError(
                f"{config.work / 'pools'} holds no {config.clip_frames} consecutive frames of "
                f"{whose}: prepare (more) videos, or train without the temporal head by "
                "--temporal none."
            )

    def pair(self, number: int) -> FilmedPair:
        """Return pair `number`."""
        cv2.setNumThreads(1)
        kinds = list(self._odds)
        shares = np.array(list(self._odds.values()))
        told = [self._config.seed, 11, int(self._held_out), len(kinds), number]
        rng = np.random.default_rng(told)
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        if kind == "labelled":
            return self._as_labelled(rng)
        return self._forged(*(self._still(rng) if kind == "still" else self._clip(rng)), rng)

    def _as_labelled(self, rng: Generator) -> FilmedPair:
        n, size = self._config.clip_frames, self._config.preprocessing.crop_size
        twins = self._labelled[int(rng.integers(len(self._labelled)))]
        pool, first = twins[0]
        moving = all(consecutive.follow(its, i, n) for its, i in twins)
        moving = moving and pool.frames[twins[0][1]] == pool.frames[twins[1][1]]
        # A partly forged film may stand in for the genuine one, as far as it is genuine.
        moving = moving and not pool.labels[first : first + n].any()
        film = self._filming(n, rng, still=not moving)
        side = float(pool.canonical_px[first])
        both = [i + np.arange(n) if moving else np.full(n, i) for _, i in twins]
        genuine, fake = (
            film(np.array(its.patches[rows]), side, size)
            for (its, _), rows in zip(twins, both, strict=True)
        )
        labels = np.asarray(pool.labels[both[1]], np.float32)[list(film.order)]
        return FilmedPair(genuine, fake, labels, "labelled", pool.groups[first], _trouble(film))

    def _still(self, rng: Generator) -> tuple[forge_clip.Clip, str, bool]:
        pool, row = self._stills[int(rng.integers(len(self._stills)))]
        n = self._config.clip_frames
        still = _of_rows(pool, np.full(n, row))
        if self._clips:
            other, first = self._clips[int(rng.integers(len(self._clips)))]
            moving = animate.driven(pool.landmarks[row], other.landmarks[first : first + n])
            still = replace(still, driving=moving)
        return still, pool.groups[row], True

    def _clip(self, rng: Generator) -> tuple[forge_clip.Clip, str, bool]:
        """Return consecutive frames of a genuine clip, or every so manieth, there and back."""
        n = self._config.clip_frames
        pool, first = self._clips[int(rng.integers(len(self._clips)))]
        rows = first + np.arange(n)
        paces = MEASURED_PACES if self._held_out else PACES
        pace = int(rng.choice(list(paces), p=list(paces.values())))
        if pace > 1:
            low, high = consecutive.run(pool, first, pace * n)
            last = high - 1 - low
            steps = (first - low + pace * np.arange(n)) % (2 * last)
            rows = low + np.minimum(steps, 2 * last - steps)
        clip = _of_rows(pool, rows)
        if not (self._held_out or self._untouched) and rng.random() < LIVELIER_SHARE:
            frames, landmarks = animate.exaggerated(clip.frames, clip.landmarks, rng)
            clip = replace(clip, frames=frames, landmarks=landmarks)
        return clip, pool.groups[first], False

    def _forged(self, clip: forge_clip.Clip, group: str, still: bool, rng: Generator) -> FilmedPair:
        n, size = self._config.clip_frames, self._config.preprocessing.crop_size
        donor = self._donor(group, still, rng) if rng.random() < 0.5 else None
        if "swap" in self._config.without:
            donor = None
        operation = self._operation(still, rng)
        made = forge_clip.forge_clip(clip, rng, donor, operation)
        film = self._filming(n, rng, still)
        if not still and rng.random() < ADRIFT_SHARE:
            film = _adrift(film, rng, MEASURED_ADRIFT if self._held_out else ADRIFT)
        return FilmedPair(
            film(made.genuine, clip.canonical_px, size),
            film(made.fake, clip.canonical_px, size),
            made.labels[list(film.order)],
            made.operation,
            group,
            _trouble(film),
        )

    def _operation(self, still: bool, rng: Generator) -> str | None:
        """Return which operation forges a clip, None to let the forge draw it."""
        if still:
            return str(rng.choice(self._of_stills))
        without = self._config.without
        kept = {name: p for name, p in forge_clip.ODDS.items() if name not in without}
        if len(kept) == len(forge_clip.ODDS):
            return None
        shares = np.array(list(kept.values()))
        return str(rng.choice(list(kept), p=shares / shares.sum()))

    def _filming(self, n: int, rng: Generator, still: bool) -> Filming:
        film = forge_clip.draw_filming(n, rng, still)
        if "h264" in self._config.without:
            troubles = tuple(t for t in film.troubles if t.kind != "reencode")
            film = replace(film, crf=None, troubles=troubles)
        return film.untouched() if self._untouched else film

    def _donor(
        self, group: str, still: bool, rng: Generator
    ) -> forge.Donor | forge_clip.Clip | None:
        """Return another person's face, which moves unless it goes into a still."""
        faces = self._clips or self._stills
        pool, other = faces[int(rng.integers(len(faces)))]
        if pool.groups[other] == group:
            return None
        if still or not self._clips:
            return forge.Donor(np.array(pool.patches[other]), pool.landmarks[other])
        return _of_rows(pool, other + np.arange(self._config.clip_frames))


def clips_mark(config: TrainConfig) -> str:
    """Return what names of files in `work` end in that hold clips: all that these depend on."""
    told = hashlib.sha256()
    told.update(f"{FORGED_AS} {config.seed} {config.clip_frames} {config.preprocessing}".encode())
    told.update(config.media_mark.encode())
    if not (config.labelled_share or config.generated_share):
        told.update(b"genuine alone")
    matters = (*forge_clip.OPERATIONS, "swap", "h264")
    told.update("".join(name for name in matters if name in config.without).encode())
    for index in sorted((config.work / "pools").glob("*/index.parquet")):
        told.update(index.parent.name.encode() + index.read_bytes())
    return told.hexdigest()[:12]


def _of_rows(pool: Pool, rows: NDArray[np.int64]) -> forge_clip.Clip:
    side = float(pool.canonical_px[rows[0]])
    return forge_clip.Clip(np.array(pool.patches[rows]), pool.landmarks[rows], side)


def _adrift(film: Filming, rng: Generator, furthest: tuple[float, float]) -> Filming:
    """Return the filming with crops between whose true places the track is a straight line."""
    n = len(film.path)
    reach = np.exp(rng.uniform(*np.log(furthest)))
    walk = np.cumsum(rng.normal(0, 1, (n, 2)), 0)
    walk = np.stack([np.convolve(np.pad(w, 2, "edge"), np.ones(5) / 5, "valid") for w in walk.T], 1)
    looks = np.linspace(0, n - 1, 3)
    lines = [np.interp(np.arange(n), looks, w[looks.astype(int)]) for w in walk.T]
    off = walk - np.stack(lines, 1)
    off *= reach / max(float(np.abs(off).max()), 1e-6)
    path = (
        replace(g, shift=(g.shift[0] + float(x), g.shift[1] + float(y)))
        for g, (x, y) in zip(film.path, off, strict=True)
    )
    return replace(film, path=tuple(path))


def _trouble(film: Filming) -> str:
    """Return what honest troubles a clip has, "" when none."""
    kinds = [trouble.kind for trouble in film.troubles]
    if list(film.order) != list(range(len(film.order))):
        kinds.append("frames repeated, lost or cut")
    return ", ".join(kinds)
