"""Detections linked over the frames of one clip: cuts, tracks, boxes in between.

The detector looks at the first, middle and last frame of a shot; where two neighbouring looks
disagree (somebody moved far, came or went) it looks half-way too, so that the cost follows the
motion. In between, landmarks are interpolated; never over a cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dfd_batch.faces.crop import Frame, Points, face_size
from dfd_batch.faces.detect import Detection, iou

Found = dict[int, list[Detection]]
"""Detections by frame index."""

CUT_DIFFERENCE = 22.0
"""Mean absolute change of a reduced grey frame, 0..255, below which nothing is a cut."""
CUT_RATIO = 3.5
"""A cut changes this many times more than the clip's usual step does."""
SETTLED_IOU = 0.75
"""Neighbouring looks that overlap less are looked between."""
EXTRA_LOOKS = 4
"""Looks added per shot at most."""
STEADY = 1.15
"""A face whose size varies less than this in a shot has one size there: the rest is noise."""


@dataclass
class Track:
    """One face over a shot: the detections of its anchor frames, in time order."""

    frames: list[int] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Confidence of the best detection."""
        return max(detection.confidence for detection in self.detections)

    @property
    def height(self) -> float:
        """Median height of the box in pixels."""
        return float(np.median([detection.height for detection in self.detections]))


@dataclass(frozen=True, eq=False)
class Path:
    """A track's boxes and landmarks in every frame from its first to its last anchor."""

    frames: NDArray[np.intp]  # (T,) indices into the clip
    boxes: NDArray[np.float32]  # (T, 4)
    landmarks: Points  # (T, 5, 2)
    sizes: NDArray[np.float64]  # (T,) face sizes, steadied


def shots(frames: Iterable[Frame]) -> list[range]:
    """Return the runs of frames between cuts, in order, covering all frames."""
    small = [_thumbnail(frame) for frame in frames]
    steps = np.array([np.abs(b - a).mean() for a, b in itertools.pairwise(small)])
    if not len(steps):
        return [range(len(small))]
    usual = float(np.median(steps))
    cuts = [i + 1 for i, step in enumerate(steps) if step > max(CUT_DIFFERENCE, CUT_RATIO * usual)]
    bounds = [0, *cuts, len(small)]
    return [range(a, b) for a, b in itertools.pairwise(bounds)]


def anchors(shot: range) -> list[int]:
    """Return the frames of a shot to look at first: its middle, then its ends."""
    middle = (shot.start + shot.stop - 1) // 2
    return list(dict.fromkeys((middle, shot.start, shot.stop - 1)))


def settle(found: Found, look: Callable[[int], list[Detection]]) -> None:
    """Add looks, in place, half-way between neighbours that disagree.

    Args:
        found: Detections of one shot's anchor frames.
        look: Returns the detections of one more frame.
    """
    for _ in range(EXTRA_LOOKS):
        frames = sorted(found)
        gaps = [(a, b) for a, b in itertools.pairwise(frames) if b - a > 2]
        doubtful = [(b - a, a, b) for a, b in gaps if not _agree(found[a], found[b])]
        if not doubtful:
            return
        _, a, b = max(doubtful)
        middle = (a + b) // 2
        found[middle] = look(middle)


def link(found: Found) -> list[Track]:
    """Return the tracks of one shot, each detection in exactly one of them."""
    tracks: list[Track] = []
    for frame in sorted(found):
        detections = found[frame]
        pairs = assign(
            np.array([[closeness(t.detections[-1], d) for d in detections] for t in tracks])
        )
        for i, j in pairs:
            tracks[i].frames.append(frame)
            tracks[i].detections.append(detections[j])
        taken = {j for _, j in pairs}
        tracks += [Track([frame], [d]) for j, d in enumerate(detections) if j not in taken]
    return tracks


def assign(scores: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs (row, column) of the best one-to-one assignment; scores of 0 do not pair."""
    if scores.size == 0:
        return []
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if scores[i, j] > 0]


def closeness(a: Detection, b: Detection) -> float:
    """Return how well b continues a, 0 (it does not) to 2 (same box)."""
    size = max(a.height, b.height)
    distance = float(np.linalg.norm((a.box[:2] + a.box[2:] - b.box[:2] - b.box[2:]) / 2)) / size
    alike = min(a.height, b.height) / size
    if distance > 0.8 or alike < 0.55:
        return 0.0
    return iou(a.box, b.box) + (1 - distance) * alike


def path(track: Track) -> Path:
    """Return a track's geometry in every frame between its first and its last anchor."""
    at = np.array(track.frames)
    frames = np.arange(at[0], at[-1] + 1)
    boxes = np.stack([detection.box for detection in track.detections])
    landmarks = np.stack([detection.landmarks for detection in track.detections])
    sizes = np.array([face_size(points) for points in landmarks])
    if sizes.max() < STEADY * sizes.min():
        sizes = np.full_like(sizes, np.median(sizes))
    return Path(
        frames=frames,
        boxes=_between(frames, at, boxes).astype(np.float32),
        landmarks=_between(frames, at, landmarks).astype(np.float32),
        sizes=np.interp(frames, at, sizes),
    )


def _between(
    frames: NDArray[np.intp], at: NDArray[np.intp], values: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return values (n, ...) known `at` some frames, linear in between."""
    flat = values.reshape(len(at), -1)
    columns = [np.interp(frames, at, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(frames), *values.shape[1:])


def _agree(a: list[Detection], b: list[Detection]) -> bool:
    """Whether every face of two looks is in both, at nearly the same place."""
    scores = np.array([[closeness(one, other) for other in b] for one in a])
    pairs = assign(scores)
    near = all(iou(a[i].box, b[j].box) > SETTLED_IOU for i, j in pairs)
    return len(a) == len(b) == len(pairs) and near


def _thumbnail(frame: Frame) -> NDArray[np.float32]:
    """Return a frame as 32 x 32 values of green, which are nearly its brightness."""
    # Every few pixels are enough for a mean; reading the whole frame would cost more than MTCNN.
    step = max(1, min(frame.shape[:2]) // 64)
    green = np.ascontiguousarray(frame[::step, ::step, 1])
    return cv2.resize(green, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
