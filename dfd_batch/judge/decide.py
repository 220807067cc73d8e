"""From one object's frame logits to its verdict with the evidence beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfd_batch.checkpoint import ModelCard, Thresholds
from dfd_batch.judge.pool import calibrated, join_tracks, pool_frames, to_probability
from dfd_batch.judge.segments import find_segments
from dfd_batch.outcomes import Verdict


@dataclass(frozen=True)
class Evidence:
    """What was seen of one object, a row per face crop."""

    media: str
    """`image` or `video`."""
    fps: float | None
    times_s: NDArray[np.float64]
    """(K,) presentation times."""
    tracks: NDArray[np.int32]
    """(K,) persons over time, numbered from 0."""
    boxes: NDArray[np.float32]
    """(K, 4) faces x0 y0 x1 y1 in pixels of the displayed picture."""
    logits: NDArray[np.float32]
    """(K,) log-odds of manipulation that are pooled."""
    frame_logits: NDArray[np.float32]
    """(K,) those of each frame by itself, for timeline and segments."""


def decide(evidence: Evidence, card: ModelCard) -> dict[str, Any]:
    """Return the report's verdict and evidence columns of an object with at least one crop."""
    is_image = evidence.media == "image"
    calibration = card.image_calibration if is_image else card.video_calibration
    faces, timeline, segments, track_logits = [], [], [], []
    for track in np.unique(evidence.tracks):
        at = np.flatnonzero(evidence.tracks == track)
        at = at[np.argsort(evidence.times_s[at], kind="stable")]
        times_s = evidence.times_s[at]
        logit = float(calibrated(pool_frames(evidence.logits[at], card.pooling), calibration))
        frame_probability = to_probability(calibrated(evidence.frame_logits[at], calibration))
        pooled = to_probability(calibrated(evidence.logits[at], calibration))
        track_logits.append(logit)
        faces.append(
            {
                "track": int(track),
                "probability": float(to_probability(logit)),
                "first_s": float(times_s[0]),
                "last_s": float(times_s[-1]),
                "n_frames": len(at),
                "box": _largest(evidence.boxes[at]),
            }
        )
        if is_image:
            continue
        timeline += [
            {"t_s": float(t), "track": int(track), "probability": float(p)}
            for t, p in zip(times_s, frame_probability, strict=True)
        ]
        segments += [
            {
                "track": int(track),
                "start_s": s.start_s,
                "end_s": s.end_s,
                "probability": s.probability,
            }
            for s in find_segments(
                times_s,
                frame_probability,
                1.0 / (evidence.fps or 25.0),
                pooled=pooled,
                least=card.thresholds.inconclusive,
            )
        ]
    probability = float(to_probability(join_tracks(np.array(track_logits))))
    return {
        "verdict": band(probability, card.thresholds).value,
        "probability": probability,
        "integrity": 1.0 - probability,
        "threshold": card.thresholds.suspicious,
        "n_frames_scored": len(evidence.logits),
        "faces": sorted(faces, key=lambda face: -face["probability"]),
        "timeline": timeline,
        "segments": segments,
    }


def band(probability: float, thresholds: Thresholds) -> Verdict:
    """Return the verdict band of a calibrated probability."""
    if probability >= thresholds.manipulated:
        return Verdict.MANIPULATED
    if probability >= thresholds.suspicious:
        return Verdict.SUSPICIOUS
    if probability >= thresholds.inconclusive:
        return Verdict.INCONCLUSIVE
    return Verdict.AUTHENTIC


def _largest(boxes: NDArray[np.float32]) -> dict[str, float]:
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    box = boxes[int(np.argmax(areas))]
    return {side: float(value) for side, value in zip(("x0", "y0", "x1", "y1"), box, strict=True)}
