"""From logits over time to one number: frames to a track, tracks to the object.

A mean over frames hides a two-second swap in a long video, a maximum believes any single odd
frame; the default averages the most suspicious part of a track. Tracks are joined by their odds:
if an object is manipulated, each of its n faces is equally likely to be the one, so the object's
odds are the mean of its tracks' odds. For one clearly manipulated face among n this is that
face's logit minus log n, the correction for having looked n times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfd_batch.checkpoint import Calibration, Pooling

FloatArray = NDArray[np.floating]
MAX_LOGIT = 30.0
"""exp() of anything larger adds nothing and would overflow in float32."""


def pool_frames(logits: FloatArray, pooling: Pooling) -> float:
    """Return one logit of a track from its frames' logits (T,), T >= 1.

    `top`: mean of the most suspicious `fraction`, at least `min_frames`. `mean`, `max`: as named.
    `confident`: the mean of only the confident frames when those agree, else of all (the strategy
    of the DFDC winner, S. Seferbekov 2020).

    Raises:
        ValueError: There are no frames, or a logit is not finite.
    """
    if len(logits) == 0 or not np.isfinite(logits).all():
        raise ValueError("pooling needs at least one frame and finite logits")
    ordered = np.sort(np.asarray(logits, np.float64))[::-1]
    if pooling.strategy == "top":
        kept = max(min(pooling.min_frames, len(ordered)), round(pooling.fraction * len(ordered)))
        return float(ordered[:kept].mean())
    if pooling.strategy == "max":
        return float(ordered[0])
    if pooling.strategy == "confident":
        fakes = ordered[ordered > np.log(0.8 / 0.2)]
        genuine = ordered[ordered < np.log(0.2 / 0.8)]
        if len(fakes) > len(ordered) / 2.5 and len(fakes) > 11:
            return float(fakes.mean())
        if len(genuine) > 0.9 * len(ordered):
            return float(genuine.mean())
    return float(ordered.mean())


def calibrated(logit: FloatArray | float, calibration: Calibration) -> NDArray[np.float64]:
    """Return the calibrated logit, clipped to ±30 so that odds stay finite."""
    raw = calibration.slope * np.asarray(logit, np.float64) + calibration.intercept
    return np.clip(raw, -MAX_LOGIT, MAX_LOGIT)


def to_probability(logit: FloatArray | float) -> NDArray[np.float64]:
    """Return sigmoid(logit)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(logit, np.float64))))


def join_tracks(logits: FloatArray) -> float:
    """Return the object's logit: the log of the mean of its tracks' odds, (n,), n >= 1."""
    values = np.asarray(logits, np.float64)
    top = values.max()
    return float(top + np.log(np.exp(values - top).mean()))
