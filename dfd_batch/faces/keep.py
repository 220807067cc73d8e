"""The crops of one object, bounded: whole runs of consecutive frames, spread over the video."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd_batch.schema import FaceCrops


@dataclass(frozen=True, eq=False)
class Run:
    """The crops of one track in one clip, in time order."""

    clip: int
    track: int
    rank: int  # 0: the largest face of its clip
    sure: bool  # found by the cheap look
    crops: NDArray[np.uint8]  # (T, S, S, 3)
    times_s: NDArray[np.float64]  # (T,)
    boxes: NDArray[np.float32]  # (T, 4)
    landmarks: NDArray[np.float32]  # (T, 5, 2)

    @property
    def key(self) -> tuple[int, int, int]:
        """What is kept first: the largest faces of clips spread over the video.

        Clip indices with their bits reversed (van der Corput) are spread evenly however many of
        them are taken, so that dropping the last keys while the video is still being read keeps
        the same runs as choosing at its end would.
        """
        return (self.rank, int(f"{self.clip:024b}"[::-1], 2), self.track)


class Kept:
    """At most `max_crops` crops, those of the smallest keys."""

    def __init__(self, max_crops: int) -> None:
        self._max = max_crops
        self._runs: list[Run] = []

    def __len__(self) -> int:
        return sum(len(run.crops) for run in self._runs)

    def would_keep(self, clip: int) -> bool:
        """Return whether even the largest face of a clip would be kept: else do not look for it."""
        last = self._runs[-1].key if self._runs else (0, 0, 0)
        return len(self) < self._max or (0, int(f"{clip:024b}"[::-1], 2), 0) < last

    def add(self, run: Run) -> None:
        """Keep a run, and drop the runs of the largest keys where there are too many crops."""
        bisect.insort(self._runs, run, key=lambda kept: kept.key)
        n = len(self)
        while len(self._runs) > 1 and n > self._max:
            n -= len(self._runs.pop().crops)

    def result(self) -> FaceCrops:
        """Return all crops by (clip, track, time), tracks numbered from 0; nothing is kept then."""
        # A face that only a dear look found is doubtful beside faces that anyone can see.
        sure = [run for run in self._runs if run.sure]
        n_sure = sum(len(run.crops) for run in sure)
        runs = sure if 2 * n_sure >= len(self) else self._runs
        runs = sorted(runs, key=lambda run: (run.clip, run.track))
        self._runs = []  # or two copies of all crops would outlive this call
        number = {track: i for i, track in enumerate(sorted({run.track for run in runs}))}
        lengths = [len(run.crops) for run in runs]
        tracks = np.array([number[run.track] for run in runs], np.int32)
        return FaceCrops(
            crops=np.concatenate([run.crops for run in runs])[: self._max],
            times_s=np.concatenate([run.times_s for run in runs])[: self._max],
            tracks=np.repeat(tracks, lengths)[: self._max],
            clips=np.repeat(np.array([run.clip for run in runs], np.int32), lengths)[: self._max],
            boxes=np.concatenate([run.boxes for run in runs])[: self._max],
            landmarks=np.concatenate([run.landmarks for run in runs])[: self._max],
            n_faces=len(number),
        )
