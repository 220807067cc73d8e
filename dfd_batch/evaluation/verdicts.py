"""A detector's report rows beside the labels of a test set, as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfd_batch.evaluation.labels import TestSet
from dfd_batch.evaluation.metrics import Floats
from dfd_batch.evaluation.segments import Video
from dfd_batch.reports import read
from dfd_batch.training.sources import Sample

COLUMNS = (
    "uri",
    "outcome",
    "probability",
    "threshold",
    "media",
    "size_bytes",
    "duration_s",
    "fps",
    "width",
    "height",
    "faces",
    "timeline",
    "segments",
    "detector_id",
    "detector",
)
NOT_SCANNED = "not scanned"
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """Frames of scored objects: the most suspicious face of each; images are one frame."""

    of: Rows  # (F,) which scored object
    scores: Floats  # (F,)
    labels: NDArray[np.bool_]  # (F,)


class Verdicts:
    """What one detector said of one test set; arrays are over the N scored objects.

    Args:
        test: The labelled media.
        rows: Report rows of one detector with `COLUMNS`, one per URI.

    Raises:
        UsageError: A scored row has no probability.
    """

    def __init__(self, test: TestSet, rows: pa.Table) -> None:
        place = {uri: i for i, uri in enumerate(rows.column("uri").to_pylist())}
        outcome = rows.column("outcome").to_pylist()
        self.outcomes: Counter[tuple[str, int]] = Counter()
        """Listed objects by outcome and label."""
        samples, at = [], []
        for sample in test.samples:
            row = place.get(sample.uri)
            told = NOT_SCANNED if row is None else str(outcome[row])
            self.outcomes[told, sample.label] += 1
            if row is not None and told == "scored":
                samples.append(sample)
                at.append(row)
        self.samples: tuple[Sample, ...] = tuple(samples)
        self.rows: pa.Table = rows.take(pa.array(at, pa.int64()))
        self.labels = np.array([s.label for s in samples], bool)
        self.scores = read.probabilities(self.rows)
        self.groups = [s.group for s in samples]
        self.is_video = np.array(pc.equal(self.rows.column("media"), "video"), bool)
        thresholds = pc.drop_null(self.rows.column("threshold"))
        self.threshold: float | None = thresholds[0].as_py() if len(thresholds) else None

    def __len__(self) -> int:
        return len(self.samples)

    def numbers(self, column: str) -> Floats:
        """Return a column (N,) as numbers, NaN where it is null."""
        found = self.rows.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.asarray(found, np.float64)

    def face_px(self) -> Floats:
        """Return the height (N,) of each object's largest face, in displayed pixels."""
        of, faces = _flat(self.rows.column("faces"))
        largest = np.full(len(self), np.nan)
        if len(of):
            box = faces.field("box")
            height = np.asarray(pc.subtract(box.field("y1"), box.field("y0")), np.float64)
            np.fmax.at(largest, of, height)
        return largest

    def bits_per_pixel(self) -> Floats:
        """Return how many bits (N,) the file has for each pixel of each frame."""
        n_frames = np.where(self.is_video, self.numbers("duration_s") * self.numbers("fps"), 1.0)
        pixels = self.numbers("width") * self.numbers("height") * n_frames
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(8 * self.numbers("size_bytes") / pixels, np.float64)

    def frames(self) -> Frames:
        """Return the frames of all scored objects with the labels of their times."""
        of, timeline = _flat(self.rows.column("timeline"))
        if len(of):
            time_s = np.asarray(timeline.field("t_s"), np.float64)
            score = np.asarray(timeline.field("probability"), np.float64)
        else:
            time_s = score = np.empty(0)
        still = np.setdiff1d(np.arange(len(self)), of)
        of = np.concatenate([of, still])
        time_s = np.concatenate([time_s, np.zeros(len(still))])
        score = np.concatenate([score, self.scores[still]])
        order = np.lexsort((time_s, of))
        of, time_s, score = of[order], time_s[order], score[order]
        anew = np.flatnonzero((np.diff(of, prepend=-1) != 0) | (np.diff(time_s, prepend=-1) != 0))
        if not len(anew):
            return Frames(of, score, np.empty(0, bool))
        of, time_s, score = of[anew], time_s[anew], np.maximum.reduceat(score, anew)
        labels = self.labels[of]
        bounded = np.array([bool(s.segments) for s in self.samples])
        for k in np.flatnonzero(bounded[of]):
            labels[k] = bool(self.samples[of[k]].label_at(float(time_s[k])))
        return Frames(of, score, labels)

    def mean_of_frames(self) -> Floats:
        """Return the mean probability (N,) of each object's frames."""
        frames = self.frames()
        n = np.bincount(frames.of, minlength=len(self))
        total = np.bincount(frames.of, frames.scores, minlength=len(self))
        return np.asarray(total / np.maximum(n, 1), np.float64)

    def videos(self) -> list[Video]:
        """Return true and found segments of videos; none where no sample has true ones."""
        if not any(s.segments for s in self.samples):
            return []
        told = self.rows.column("segments").to_pylist()
        lengths = self.numbers("duration_s")
        found = []
        for i in np.flatnonzero(self.is_video):
            sample = self.samples[i]
            whole = [(0.0, lengths[i])] if sample.label and np.isfinite(lengths[i]) else []
            found.append(
                Video(
                    np.array(sample.segments or whole, np.float64).reshape(-1, 2),
                    np.array([(s["start_s"], s["end_s"]) for s in told[i] or ()]).reshape(-1, 2),
                    np.array([s["probability"] for s in told[i] or ()], np.float64),
                    sample.group,
                )
            )
        return found


def _flat(column: pa.ChunkedArray) -> tuple[Rows, Any]:
    """Return the parents (M,) and the values of a list column."""
    whole = column.combine_chunks()
    of = np.asarray(pc.list_parent_indices(whole), np.int64)
    return of, pc.list_flatten(whole)
