"""Average precision and recall of segments over temporal IoU, as LAV-DF measures them.

Cai et al., "Do You Really Mean That?", DICTA 2022: AP at IoU .5, .75 and .95; AR of the 10, 20, 50
and 100 most confident segments of a video, averaged over IoU .5, .55 … .95.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd_batch.evaluation.bootstrap import N_DRAWS, Estimate, draw_groups, estimate
from dfd_batch.evaluation.metrics import Floats

AP_AT = (0.5, 0.75, 0.95)
AR_AT = (10, 20, 50, 100)
RECALL_IOUS = np.arange(0.5, 0.96, 0.05)


@dataclass(frozen=True)
class Video:
    """True and found segments of one video."""

    truth: Floats  # (M, 2) start and end in seconds
    found: Floats  # (K, 2)
    confidence: Floats  # (K,)
    group: str


def measure(videos: Sequence[Video], n_draws: int = N_DRAWS, seed: int = 0) -> dict[str, Estimate]:
    """Return AP and AR with intervals over groups; None where no segment is true."""
    names = [f"AP@{iou:g}" for iou in AP_AT] + [f"AR@{n}" for n in AR_AT]
    if not sum(len(v.truth) for v in videos):
        return dict.fromkeys(names, Estimate(None))
    _, group = np.unique([v.group for v in videos], return_inverse=True)
    fewest = len({v.group for v in videos if len(v.truth)})
    counts = draw_groups(int(group.max()) + 1, fewest, n_draws, seed)[:, group]
    values = [_average_precision(videos, counts, iou) for iou in AP_AT]
    values += [_average_recall(videos, counts, n) for n in AR_AT]
    return {name: estimate(v) for name, v in zip(names, values, strict=True)}


def iou(a: Floats, b: Floats) -> Floats:
    """Return intersection over union (len(a), len(b)) of segments (·, 2)."""
    low = np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 1], b[None, :, 1])
    inside = np.clip(high - low, 0, None)
    lengths = np.diff(a)[:, :1] + np.diff(b)[None, :, 0]
    return np.asarray(inside / np.maximum(lengths - inside, 1e-12), np.float64)


def matched(video: Video, at: float, most: int | None = None) -> NDArray[np.bool_]:
    """Return which found segments (K,), most confident first, match a true one of their own."""
    order = np.argsort(-video.confidence, kind="stable")[:most]
    overlap = iou(video.found[order], video.truth)
    hits = np.zeros(len(order), bool)
    for row, shares in enumerate(overlap):
        best = int(np.argmax(shares)) if len(shares) else -1
        if best >= 0 and shares[best] >= at - 1e-9:
            hits[row] = True
            overlap[:, best] = -1  # each true segment is found once
    return hits


def _average_precision(videos: Sequence[Video], counts: Floats, at: float) -> Floats:
    """Return the area (B,) under the precision-recall curve, precision made non-increasing.

    Segments of equal confidence count together, whichever video comes first.
    """
    hits = np.concatenate([matched(v, at) for v in videos])
    confidence = np.concatenate([np.sort(v.confidence)[::-1] for v in videos])
    of = np.repeat(np.arange(len(videos)), [len(v.found) for v in videos])
    n_true = counts @ np.array([len(v.truth) for v in videos], np.float64)
    order = np.argsort(-confidence, kind="stable")
    weight = counts[:, of[order]]
    right = (weight * hits[order]).cumsum(1)
    precision = right / np.maximum(weight.cumsum(1), 1e-12)
    last = np.searchsorted(-confidence[order], -confidence[order], "right") - 1
    precision = precision[:, last]
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    steps = np.diff(right, axis=1, prepend=0)
    return _ratio((best * steps).sum(1), n_true)


def _average_recall(videos: Sequence[Video], counts: Floats, most: int) -> Floats:
    n_hits = np.array(
        [np.mean([matched(v, at, most).sum() for at in RECALL_IOUS]) for v in videos], np.float64
    )
    n_true = counts @ np.array([len(v.truth) for v in videos], np.float64)
    return _ratio(counts @ n_hits, n_true)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN in draws without any true segment."""
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1e-12), np.nan), np.float64)
