"""From probabilities over time to the stretches that look manipulated.

Smooth (median of 5), switch on where the frames stand out from the rest of their track, join what
is less than 0.5 s apart, drop what is shorter than 0.3 s and what its clips speak against. Only
what was looked at can be in a segment: it never spans the gap between two clips.

The bar is a track's own. What a forged stretch does to the frames before and after it in a network
that looks both ways lifts a whole clip above one half; between the track's own low and high the
edges stay sharp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

ON, OFF = 0.25, 0.2
"""Below these nothing stands out."""
SURE = 0.7
"""From here on a frame counts, however high the others are."""
WIDE = 2.0
"""Log-odds between a track's lows and highs (a tenth of its frames each) that tell them apart."""
STANDS_OUT = 0.4
"""Share of the way from the lows to the highs."""
KEPT = 0.4
"""Mean probability, pooled with the clips', that a segment needs."""
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
) -> list[Segment]:
    """Return the suspicious segments of one track, in time order, not overlapping.

    Args:
        times_s: (T,) increasing presentation times.
        probabilities: (T,) calibrated frame probabilities.
        frame_s: Duration of one frame; the last frame of a segment ends that much later.
        median_frames: Of the smoothing, odd; 1 smooths nothing.
        pooled: (T,) those that the verdict is made of; what they speak against is left out.
    """
    if len(times_s) == 0:
        return []
    padded = np.pad(np.asarray(probabilities, np.float64), median_frames // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, median_frames), axis=1)
    runs = _runs(smooth, _bar(smooth), _breaks(times_s, frame_s))
    merged: list[tuple[int, int]] = []
    for first, last in runs:
        if merged and times_s[first] - (times_s[merged[-1][1]] + frame_s) < MERGE_GAP_S:
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
        if pooled is None or np.mean(pooled[first : last + 1]) >= KEPT
    ]
    # half a frame of tolerance: 0.3 s at 10 fps is 3 frames, give or take rounding
    return [s for s in segments if s.end_s - s.start_s >= MIN_LENGTH_S - frame_s / 2]


def _breaks(times_s: NDArray[np.float64], frame_s: float) -> NDArray[np.bool_]:
    """Return (T,) True where a frame does not follow its predecessor."""
    gaps = np.diff(times_s, prepend=times_s[0])
    return gaps > max(MERGE_GAP_S, 2 * frame_s)


def _bar(smooth: NDArray[np.float64]) -> float:
    """Return the probability that tells a track's high frames from its low ones, 0 for none."""
    odds = logit(np.clip(smooth, 1e-6, 1 - 1e-6))
    low, high = np.quantile(odds, (0.1, 0.9))
    return min(float(expit(low + STANDS_OUT * (high - low))), SURE) if high - low > WIDE else 0.0


def _runs(
    smooth: NDArray[np.float64], bar: float, starts_anew: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return (first, last) indices where the hysteresis is on."""
    switch_on, stay_on = max(ON, bar), max(OFF, bar)
    runs: list[tuple[int, int]] = []
    on = False
    for i, value in enumerate(smooth):
        on = value >= switch_on if (starts_anew[i] or not on) else value > stay_on
        if not on:
            continue
        if runs and runs[-1][1] == i - 1 and not starts_anew[i]:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs
