"""From probabilities over time to the stretches that look manipulated.

Smooth (median of 5), switch on where frames stand out from those around them, drop what their
clips speak against, join what is less than 0.5 s apart, drop what is shorter than 0.3 s. Only what
was looked at can be in a segment: it never spans the gap between two clips.

The bar is that of the frames around, about as many as the network saw at once. It looks both ways,
so that a forged stretch lifts all of its clip; between the low and the high ones there the edges
stay sharp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd_batch.judge.pool import to_probability

ON, OFF = 0.5, 0.4
"""Where all frames around are much alike: likelier than not, and not much less."""
WIDE = 2.0
"""Log-odds between lows and highs (a tenth of the frames around each) that tell them apart …"""
STANDS_OUT = 0.4
"""… this share of the way from the lows to the highs …"""
LEAST, SURE = 0.25, 0.7
"""… but never below the one nor above the other."""
MAX_CLIP_FRAMES = 32
"""The longest run that the temporal head sees at once, as the heads were trained on clips of 12 to
24 frames; these share a bar."""
MEDIAN_FRAMES = 5
MERGE_GAP_S = 0.5
MIN_LENGTH_S = 0.3


@dataclass(frozen=True)
class Segment:
    """A half-open stretch [start_s, end_s) and the mean probability inside it."""

    start_s: float
    end_s: float
    probability: float


def find_segments(
    times_s: NDArray[np.float64],
    probabilities: NDArray[np.floating],
    frame_s: float,
    median_frames: int = MEDIAN_FRAMES,
    pooled: NDArray[np.floating] | None = None,
    least: float = 0.0,
) -> list[Segment]:
    """Return the suspicious segments of one track, in time order, not overlapping.

    Args:
        times_s: (T,) increasing presentation times.
        probabilities: (T,) calibrated frame probabilities.
        frame_s: Duration of one frame; the last frame of a segment ends that much later.
        median_frames: Of the smoothing, odd; 1 smooths nothing.
        pooled: (T,) those that the verdict is made of, mixed with their clips'.
        least: Mean of `pooled` that makes a stretch more than nothing.
    """
    if len(times_s) == 0:
        return []
    padded = np.pad(np.asarray(probabilities, np.float64), median_frames // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, median_frames), axis=1)
    breaks = _breaks(times_s, frame_s)
    clip, merged = breaks.cumsum(), list[tuple[int, int]]()
    for first, last in _runs(smooth, breaks):
        if pooled is not None and np.mean(pooled[first : last + 1]) < least:
            continue
        near = merged and times_s[first] - (times_s[merged[-1][1]] + frame_s) < MERGE_GAP_S
        if near and clip[first] == clip[merged[-1][1]]:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    segments = [
        Segment(
            float(times_s[first]),
            float(times_s[last] + frame_s),
            float(np.mean(probabilities[first : last + 1])),
        )
        for first, last in merged
    ]
    # half a frame of tolerance: 0.3 s at 10 fps is 3 frames, give or take rounding
    return [s for s in segments if s.end_s - s.start_s >= MIN_LENGTH_S - frame_s / 2]


def _breaks(times_s: NDArray[np.float64], frame_s: float) -> NDArray[np.bool_]:
    """Return (T,) True where a frame does not follow its predecessor."""
    gaps = np.diff(times_s, prepend=times_s[0])
    return gaps > max(MERGE_GAP_S, 2 * frame_s)


def _bars(smooth: NDArray[np.float64]) -> tuple[float, float]:
    """Return the probabilities that switch on and that stay on, of frames that share them."""
    known = np.clip(smooth, 1e-6, 1 - 1e-6)
    odds = np.log(known / (1 - known))
    low, high = np.quantile(odds, (0.1, 0.9))
    if high - low <= WIDE:
        return ON, OFF
    bar = float(np.clip(to_probability(low + STANDS_OUT * (high - low)), LEAST, SURE))
    return bar, bar


def _runs(smooth: NDArray[np.float64], breaks: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, last) indices where the hysteresis is on, anew for each bar."""
    runs: list[tuple[int, int]] = []
    for clip in np.split(np.arange(len(smooth)), np.flatnonzero(breaks)):
        for part in np.array_split(clip, -(-len(clip) // MAX_CLIP_FRAMES)):
            (switch_on, stay_on), on = _bars(smooth[part]), False
            for i in part.tolist():
                now = smooth[i] >= (stay_on if on else switch_on)
                if now and on:
                    runs[-1] = (runs[-1][0], i)
                elif now:
                    runs.append((i, i))
                on = bool(now)
    return runs
