"""Figures of probabilities against labels, each of many bootstrap draws at once.

All of them follow from how much genuine and manipulated weight lies at each distinct score, so a
draw is a row of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
N_BINS = 15
"""Of the calibration error, each holding the same number of scores."""
_TINY = 1e-12


@dataclass(frozen=True)
class Tally:
    """Weight of genuine and manipulated media at each distinct score, highest score first."""

    scores: Floats  # (U,) falling
    genuine: Floats  # (B, U), B draws
    fake: Floats  # (B, U)
    threshold: float | None = None
    n_genuine: float = np.inf
    """Genuine media of the sample that the draws are of."""

    @property
    def rates(self) -> tuple[Floats, Floats]:
        """Return false and true positive rates (B, U + 1) from threshold infinity downwards."""
        return _share(self.genuine), _share(self.fake)


def auc(tally: Tally) -> Floats:
    """Return the chance (B,) that a fake scores above a genuine medium; ties count half."""
    fpr, tpr = tally.rates
    return np.asarray((np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1])).sum(1) / 2, np.float64)


def average_precision(tally: Tally) -> Floats:
    """Return precision averaged over recall in steps, without interpolation."""
    hits = tally.fake.cumsum(1)
    precision = hits / np.maximum(hits + tally.genuine.cumsum(1), _TINY)
    return np.asarray((precision * tally.fake).sum(1) / hits[:, -1], np.float64)


def equal_error_rate(tally: Tally) -> Floats:
    """Return where the ROC curve, drawn with straight lines, has FPR = 1 - TPR."""
    fpr, tpr = tally.rates
    excess = fpr + tpr - 1  # rises from -1 to 1
    after = np.argmax(excess >= 0, axis=1)
    rows = np.arange(len(fpr))
    x0, x1 = excess[rows, after - 1], excess[rows, after]
    share = x0 / (x0 - x1)
    return np.asarray(fpr[rows, after - 1] * (1 - share) + fpr[rows, after] * share, np.float64)


def tpr_at(most_fpr: float) -> Callable[[Tally], Floats]:
    """Return the figure: share of fakes found with at most such a false alarm rate.

    It needs so many genuine media that the rate is more than "none at all".
    """

    def figure(tally: Tally) -> Floats:
        if tally.n_genuine * most_fpr < 1 - _TINY:
            return np.full(len(tally.genuine), np.nan)
        fpr, tpr = tally.rates
        few = np.where(np.isnan(fpr), np.nan, fpr <= most_fpr + _TINY)
        return np.asarray((few * tpr).max(1), np.float64)

    return figure


def log_loss(tally: Tally) -> Floats:
    """Return the mean negative log-likelihood, in nats; the scores are probabilities."""
    p = np.clip(tally.scores, _TINY, 1 - _TINY)
    total = (tally.genuine + tally.fake).sum(1)
    return np.asarray(-(tally.fake @ np.log(p) + tally.genuine @ np.log1p(-p)) / total, np.float64)


def brier(tally: Tally) -> Floats:
    """Return the mean square distance of probabilities from labels."""
    total = (tally.genuine + tally.fake).sum(1)
    p = tally.scores
    return np.asarray((tally.fake @ (1 - p) ** 2 + tally.genuine @ p**2) / total, np.float64)


def calibration_error(tally: Tally) -> Floats:
    """Return the expected calibration error over bins of equal mass; ties share a bin."""
    mass, fake, told = calibration_bins(tally)
    return np.asarray(np.abs(fake - told).sum(1) / mass.sum(1), np.float64)


def calibration_bins(tally: Tally) -> tuple[Floats, Floats, Floats]:
    """Return weight, weight of fakes, and sum of probabilities (B, 15) of each bin."""
    weight = tally.genuine + tally.fake
    middle = (weight.cumsum(1) - weight / 2) / weight.sum(1, keepdims=True)
    bins = np.clip((middle * N_BINS).astype(np.int64), 0, N_BINS - 1)
    place = (bins + N_BINS * np.arange(len(weight))[:, None]).ravel()

    def summed(x: Floats) -> Floats:
        found = np.bincount(place, x.ravel(), N_BINS * len(weight))
        return np.asarray(found.reshape(-1, N_BINS), np.float64)

    return summed(weight), summed(tally.fake), summed(weight * tally.scores)


def false_alarms(tally: Tally) -> Floats:
    """Return the share of genuine media at or above the detector's threshold."""
    return _above(tally.genuine, tally)


def detected(tally: Tally) -> Floats:
    """Return the share of fakes at or above the detector's threshold."""
    return _above(tally.fake, tally)


METRICS: dict[str, Callable[[Tally], Floats]] = {
    "AUC": auc,
    "AP": average_precision,
    "EER": equal_error_rate,
    "TPR@FPR 1 %": tpr_at(0.01),
    "TPR@FPR 0.1 %": tpr_at(0.001),
    "log loss": log_loss,
    "Brier": brier,
    "ECE": calibration_error,
}
"""Figures that take both classes."""
AT_THRESHOLD: dict[str, Callable[[Tally], Floats]] = {
    "false alarms": false_alarms,
    "detected": detected,
}
"""Figures at the detector's own `suspicious` threshold; each takes one class."""


def _share(weight: Floats) -> Floats:
    """Return running shares (B, U + 1) of weights (B, U), from 0 to 1."""
    total = weight.cumsum(1)
    return np.asarray(np.pad(total, ((0, 0), (1, 0))) / total[:, -1:], np.float64)


def _above(weight: Floats, tally: Tally) -> Floats:
    high = tally.scores >= (np.inf if tally.threshold is None else tally.threshold)
    return np.asarray(weight[:, high].sum(1) / weight.sum(1), np.float64)
