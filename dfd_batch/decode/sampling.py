"""Where a video is looked at: clips of consecutive frames that start at key frames.

A seek to a key frame costs nothing; a frame far behind one costs the decoding of all between.
So clips start at key frames spread evenly over time. A video with fewer key frames than clips
gives each key frame a run of clips that follow one another without a gap.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from dfd_batch.settings import Coverage, Limits, Sampling


@dataclass(frozen=True)
class Run:
    """Clips that follow one another without a gap, the first at `start_s`."""

    start_s: float
    n_clips: int


def n_clips_wanted(sampling: Sampling, limits: Limits) -> int:
    """Return the greatest number of clips that a coverage asks for."""
    return {
        Coverage.QUICK: sampling.quick_clips,
        Coverage.STANDARD: sampling.standard_clips,
        Coverage.FULL: limits.max_full_clips,
    }[sampling.coverage]


def place_clips(
    key_times_s: Sequence[float],
    duration_s: float,
    fps: float,
    sampling: Sampling,
    limits: Limits,
) -> list[Run]:
    """Return where to look: runs of clips in time order that do not overlap.

    A video no longer than the clips together is one run over all of it; so is every video under
    `full` coverage up to `limits.max_full_clips`. Otherwise each run starts at a key frame.

    Args:
        key_times_s: Sorted times of key frames in [0, duration_s); may be empty.
        duration_s: Length of the video, > 0.
        fps: Frames per second, > 0; an average will do.
        sampling: Coverage, frames per clip, stride.
        limits: Bounds `full` coverage.
    """
    span_s = sampling.frames_per_clip * sampling.stride / fps
    n_clips = n_clips_wanted(sampling, limits)
    n_all = max(1, math.ceil(duration_s / span_s - 1e-6))  # clips that tile the video
    if n_all <= n_clips:
        # to the very end, even if it has a few frames more than its headers say
        return [Run(0.0, min(n_clips, n_all + 1 + n_all // 10))]
    starts = _spread(key_times_s or [0.0], duration_s, min(n_clips, n_all))
    starts = _apart(starts, span_s)
    return _fill(starts, duration_s, span_s, n_clips)


def _spread(key_times_s: Sequence[float], duration_s: float, n: int) -> list[float]:
    """Return the key frames nearest to the centres of n equal parts of the video."""
    chosen = set()
    for part in range(n):
        centre_s = (part + 0.5) * duration_s / n
        after = bisect_left(key_times_s, centre_s)
        near = key_times_s[max(0, after - 1) : after + 1]
        chosen.add(min(near, key=lambda time_s: (abs(time_s - centre_s), time_s)))
    return sorted(chosen)


def _apart(starts_s: list[float], span_s: float) -> list[float]:
    """Return the starts that lie at least one clip behind the one before."""
    kept = starts_s[:1]
    for start_s in starts_s[1:]:
        if start_s >= kept[-1] + span_s - 1e-6:
            kept.append(start_s)
    return kept


def _fill(starts_s: list[float], duration_s: float, span_s: float, n_clips: int) -> list[Run]:
    """Return one run per start, clips that are left over shared out in turn where they fit."""
    ends_s = [*starts_s[1:], duration_s]
    room = [
        max(1, int((end_s - start_s) / span_s + 1e-6))
        for start_s, end_s in zip(starts_s, ends_s, strict=True)
    ]
    given = [1] * len(starts_s)
    left = n_clips - len(starts_s)
    while left > 0 and given != room:
        for i, most in enumerate(room):
            if given[i] < most and left > 0:
                given[i] += 1
                left -= 1
    return [Run(start_s, n) for start_s, n in zip(starts_s, given, strict=True)]
