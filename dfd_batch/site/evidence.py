"""The pictures behind a row: its object is fetched and cropped again by the scan's own stage.

What is shown is what was judged: the fetch asks for the identity that the row names, so an object
that has changed since is said to have changed, and is not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.features.heat import HeatMapper
from dfd_batch.schema import MANIFEST, Clip
from dfd_batch.settings import Settings
from dfd_batch.site import images, words
from dfd_batch.stages import Crop, RunContext

MAX_FACES = 6
MAX_THUMBNAILS = 12
"""Of each face."""
MAX_MOMENTS = 4
APART_S = 0.5
"""Least time between two of the most suspicious frames of one face."""
THUMBNAIL_PX, CROP_PX, FRAME_PX = 128, 288, 640
SAME_TIME_S = 1e-3

Row = dict[str, Any]


@dataclass(frozen=True)
class Thumbnail:
    """One face crop."""

    src: str
    t_s: float
    probability: float | None


@dataclass(frozen=True)
class Face:
    """A track's crops in time order; `n_crops` in all, of which some are shown."""

    track: int
    thumbnails: list[Thumbnail]
    n_crops: int


@dataclass(frozen=True)
class Moment:
    """One of the most suspicious frames, its crop, and the heat map over the crop."""

    t_s: float
    track: int
    probability: float | None
    frame: str | None
    crop: str
    heat: str
    share: float
    """Strongest cell of its heat map, of the strongest among the object's; 0: no heat."""


@dataclass(frozen=True)
class Evidence:
    """What can be shown of an object; `note` says why it is nothing or not what was judged."""

    faces: list[Face]
    moments: list[Moment]
    note: str | None = None


@dataclass(frozen=True)
class _Cropped:
    """The crops of one object, ordered by (clip, track, time)."""

    crops: NDArray[np.uint8]  # (K, S, S, 3)
    times_s: NDArray[np.float64]
    tracks: NDArray[np.int32]
    boxes: NDArray[np.float32]  # (K, 4) displayed pixels
    probabilities: list[float | None]


class Looker:
    """Looks at objects again with one detector and the settings of its run.

    Args:
        settings: Of the run that judged.
        checkpoint: The detector.
        veiled: Whether pictures are made unrecognisable.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint, veiled: bool) -> None:
        today = datetime.now(UTC).date()
        context = RunContext(settings, "", "", "", today, checkpoint)
        self._crop = Crop(context, watch=self._watch)
        self._heat = HeatMapper(checkpoint)
        self._size = checkpoint.card.preprocessing.crop_size
        self._veiled = veiled
        self._largest_px = 0.0
        self._wanted: list[float] = []
        self._frames: dict[float, tuple[NDArray[np.uint8], float]] = {}

    def __call__(self, row: Row) -> Evidence:
        """Return the evidence of a scored report row; never raises for what its object holds."""
        timeline = row["timeline"] or []
        self._largest_px = max(f["box"]["y1"] - f["box"]["y0"] for f in row["faces"])
        self._wanted = [p["t_s"] for p in _moments(timeline)] if timeline else [0.0]
        self._frames = {}
        manifest = pa.Table.from_pylist([{n: row[n] for n in MANIFEST.names}], schema=MANIFEST)
        (told,) = self._crop(manifest).to_pylist()
        if told["outcome"] is not None:
            return Evidence([], [], words.why_not_shown(told))
        found = self._cropped(told, row)
        matches = len(found.crops) == row["n_frames_scored"] and None not in found.probabilities
        note = words.not_the_same(row, len(found.crops), matches)
        return Evidence(self._faces(found, row), self._moments(found, timeline, row["media"]), note)

    def _watch(self, clip: Clip) -> None:
        """Keep reduced copies of the wanted frames, with their pixels per displayed pixel."""
        for t_s in self._wanted:
            at = int(np.argmin(np.abs(clip.times_s - t_s)))
            if abs(clip.times_s[at] - t_s) < SAME_TIME_S:
                small = images.fit(clip.frames[at], FRAME_PX)
                scale = clip.scale * len(small) / clip.frames.shape[1]
                self._frames[t_s] = (small.copy(), scale)

    def _cropped(self, told: Row, row: Row) -> _Cropped:
        times_s = np.array(told["crop_time_s"], np.float64)
        tracks = np.array(told["crop_track"], np.int32)
        of_frame = {
            (p["track"], round(p["t_s"], 3)): p["probability"] for p in row["timeline"] or []
        }
        of_face = {f["track"]: f["probability"] for f in row["faces"]} if not of_frame else {}
        return _Cropped(
            np.frombuffer(told["crops"], np.uint8).reshape(-1, self._size, self._size, 3),
            times_s,
            tracks,
            np.array(told["crop_box"], np.float32).reshape(-1, 4),
            [
                of_frame.get((int(k), round(float(t), 3)), of_face.get(int(k)))
                for k, t in zip(tracks, times_s, strict=True)
            ],
        )

    def _faces(self, found: _Cropped, row: Row) -> list[Face]:
        faces = []
        for track in [face["track"] for face in row["faces"]][:MAX_FACES]:
            at = np.flatnonzero(found.tracks == track)
            at = at[np.argsort(found.times_s[at], kind="stable")]
            shown = at[_spread(len(at), MAX_THUMBNAILS)]
            faces.append(
                Face(
                    track,
                    [
                        Thumbnail(
                            self._shown(found.crops[i], THUMBNAIL_PX),
                            float(found.times_s[i]),
                            found.probabilities[i],
                        )
                        for i in shown
                    ],
                    len(at),
                )
            )
        return faces

    def _moments(self, found: _Cropped, timeline: Sequence[Row], media: str) -> list[Moment]:
        if timeline:
            keys = [(p["track"], p["t_s"]) for p in _moments(timeline)]
            at = [
                int(i)
                for track, t_s in keys
                for i in np.flatnonzero(
                    (found.tracks == track) & (np.abs(found.times_s - t_s) < SAME_TIME_S)
                )[:1]
            ]
        else:
            likely = [-1.0 if p is None else p for p in found.probabilities]
            at = np.argsort(-np.array(likely), kind="stable")[:MAX_MOMENTS].tolist()
        heats = self._heat(found.crops[at], still=media == "image")
        strongest = max(float(heats.max(initial=0.0)), 1e-6)
        moments = []
        for i, heat in zip(at, heats, strict=True):
            crop = self._veil(found.crops[i])
            moments.append(
                Moment(
                    float(found.times_s[i]),
                    int(found.tracks[i]),
                    found.probabilities[i],
                    self._frame(float(found.times_s[i]), found.boxes[i]),
                    images.data_uri(images.square(crop, CROP_PX)),
                    images.data_uri(images.square(images.heated(crop, heat / strongest), CROP_PX)),
                    float(heat.max(initial=0.0)) / strongest,
                )
            )
        return moments

    def _frame(self, t_s: float, box: NDArray[np.float32]) -> str | None:
        held = next((f for t, f in self._frames.items() if abs(t - t_s) < SAME_TIME_S), None)
        if held is None:
            return None
        picture, scale = held
        if self._veiled:
            picture = images.veil(picture, self._largest_px * scale)
        return images.data_uri(images.outlined(picture, box * scale))

    def _shown(self, crop: NDArray[np.uint8], side: int) -> str:
        return images.data_uri(images.square(self._veil(crop), side))

    def _veil(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return images.veil(crop, len(crop)) if self._veiled else crop


def _moments(timeline: Iterable[Row]) -> list[Row]:
    """Return the most suspicious points of a timeline, those of one face apart, in time order."""
    chosen: list[Row] = []
    for point in sorted(timeline, key=lambda p: -p["probability"]):
        near = [
            c
            for c in chosen
            if c["track"] == point["track"] and abs(c["t_s"] - point["t_s"]) < APART_S
        ]
        if not near:
            chosen.append(point)
        if len(chosen) == MAX_MOMENTS:
            break
    return sorted(chosen, key=lambda p: p["t_s"])


def _spread(n: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(np.intp))
