"""The geometry of a page's pictures: numbers in, places in an SVG's units out.

The templates draw them with classes alone, so that the page's own colours, light or dark, apply
and its content security policy can forbid inline styles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dfd_batch.checkpoint import Thresholds
from dfd_batch.site.selection import BANDS

BINS = 20
PLOT_W, PLOT_H = 640.0, 200.0
LANE_H = 22.0
LEFT, TOP = 44.0, 10.0
LABEL_H = 13.0
TRACKS = 6
"""Colours and marks of faces; further ones begin anew."""
GAP_FRAMES, LEAST_GAP_S = 2.5, 0.3
"""A longer stretch between two points was not looked at."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """One verdict's part of a histogram's bin."""

    x: float
    y: float
    w: float
    h: float
    verdict: str


@dataclass(frozen=True)
class Histogram:
    """Scores in bins; `bins` are (from, to, count), `labels` their places."""

    bars: list[Bar]
    bins: list[tuple[float, float, int]]
    labels: list[tuple[float, float, int]]
    marks: list[tuple[float, str]]
    most: int


@dataclass(frozen=True)
class Lane:
    """What is known of one face over time, below the plot."""

    track: int
    y: float
    looked: list[tuple[float, float]]
    segments: list[tuple[float, float]]


@dataclass(frozen=True)
class Timeline:
    """Probabilities over time; `lines` are (style, polyline), one per face and clip looked at."""

    height: float
    lines: list[tuple[int, str]]
    dots: list[tuple[int, float, float]]
    levels: list[tuple[float, float, str]]
    ticks: list[tuple[float, str]]
    lanes: list[Lane]


def histogram(
    probabilities: Sequence[float], verdicts: Sequence[str], thresholds: Thresholds | None
) -> Histogram:
    """Return the histogram of scored objects, bars stacked by verdict, the worst on top.

    Args:
        probabilities: Of manipulation.
        verdicts: Of the same objects.
        thresholds: Marked where all objects share them.
    """
    index = np.minimum((np.asarray(probabilities, np.float64) * BINS).astype(int), BINS - 1)
    of = np.asarray(verdicts, object)
    counts = {v: np.bincount(index[of == v], minlength=BINS) for v in reversed(BANDS)}
    totals = np.sum(list(counts.values()), axis=0).astype(int)
    most = int(totals.max(initial=1)) or 1
    width = PLOT_W / BINS
    bars, labels = [], []
    for i in range(BINS):
        y = TOP + PLOT_H
        for verdict, n in counts.items():
            if n[i]:
                h = max(2.0, PLOT_H * float(n[i]) / most)
                y -= h
                bars.append(Bar(LEFT + i * width + 1.5, y, width - 3, h, verdict))
        if totals[i]:
            labels.append((LEFT + (i + 0.5) * width, y - 4, int(totals[i])))
    bins = [(i / BINS, (i + 1) / BINS, int(totals[i])) for i in range(BINS)]
    marks = [(LEFT + PLOT_W * value, name) for name, value in _bounds(thresholds)]
    return Histogram(bars, bins, labels, marks, most)


def timeline(
    points: Iterable[Row],
    segments: Iterable[Row],
    bounds: Thresholds | float | None,
    duration_s: float | None = None,
) -> Timeline | None:
    """Return the plot of a video's timeline; None where there is none.

    Args:
        points: With `t_s`, `track` and `probability`.
        segments: With `track`, `start_s` and `end_s`.
        bounds: The bands' lower bounds, or that of `suspicious` alone.
        duration_s: Of the video: what was not looked at shows as a gap, at its end too.
    """
    by_track: dict[int, list[Row]] = {}
    for point in points:
        by_track.setdefault(point["track"], []).append(point)
    if not by_track:
        return None
    for own in by_track.values():
        own.sort(key=lambda p: p["t_s"])
    spans = list(segments)
    ends = [p["t_s"] for own in by_track.values() for p in own] + [s["end_s"] for s in spans]
    end_s = max(*ends, duration_s or 0.0, 0.1)

    def x(t_s: float) -> float:
        return float(round(LEFT + PLOT_W * t_s / end_s, 1))

    def y(probability: float) -> float:
        return round(TOP + PLOT_H * (1 - probability), 1)

    lines, dots, lanes = [], [], []
    for i, (track, own) in enumerate(sorted(by_track.items())):
        style = track % TRACKS
        runs = _runs([p["t_s"] for p in own])
        for run in runs:
            lines.append(
                (style, " ".join(f"{x(own[k]['t_s'])},{y(own[k]['probability'])}" for k in run))
            )
        dots += [(style, x(p["t_s"]), y(p["probability"])) for p in own]
        looked = [(x(own[r[0]]["t_s"]), x(own[r[-1]]["t_s"])) for r in runs]
        mine = [(x(s["start_s"]), x(s["end_s"])) for s in spans if s["track"] == track]
        lanes.append(Lane(track, TOP + PLOT_H + 34 + i * LANE_H, looked, mine))
    ticks = [(x(t), f"{t:g}") for t in _ticks(end_s)]
    height = TOP + PLOT_H + 34 + len(lanes) * LANE_H + 8
    return Timeline(height, lines, dots, _levels(bounds), ticks, lanes)


def _bounds(bounds: Thresholds | float | None) -> list[tuple[str, float]]:
    if bounds is None:
        return []
    if isinstance(bounds, Thresholds):
        return [(name, getattr(bounds, name)) for name in reversed(BANDS[:-1])]
    return [("suspicious", bounds)]


def _levels(bounds: Thresholds | float | None) -> list[tuple[float, float, str]]:
    """Return (y of the line, y of its label, label), labels pushed apart."""
    found = []
    below = TOP + PLOT_H + LABEL_H
    for name, value in _bounds(bounds):
        y = TOP + PLOT_H * (1 - value)
        below = min(y, below - LABEL_H)
        found.append((round(y, 1), round(below, 1), f"{name} {value:.2f}"))
    return found


def _runs(times_s: Sequence[float]) -> list[range]:
    """Return index ranges of times that follow each other as the frames of one clip do."""
    steps = np.diff(times_s)
    usual = float(np.median(steps)) if len(steps) else 0.0
    longest = max(LEAST_GAP_S, GAP_FRAMES * usual)
    breaks = [0, *(np.flatnonzero(steps > longest) + 1).tolist(), len(times_s)]
    return [range(a, b) for a, b in pairwise(breaks)]


def _ticks(end_s: float) -> list[float]:
    """Return round times, at most seven of them."""
    rough = end_s / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [round(float(t), 6) for t in np.arange(0, end_s + 1e-9, step)]
