"""How good a detector is, with intervals: AUC, order of pairs, Platt calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from dfd_batch.checkpoint import Calibration
from dfd_batch.judge.pool import calibrated, to_probability

Floats = NDArray[np.float64]
FEWEST_GROUPS = 5
"""Of a class; with fewer, drawing them again says little: there is no interval then."""


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % bootstrap interval over groups; None where they are few."""

    value: float
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Return the figure as plain numbers for JSON."""
        return asdict(self)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the chance that a manipulated medium scores above a genuine one (ties count half).

    NaN when one class is missing.
    """
    truth = np.asarray(labels, bool)
    n_fake, n_real = int(truth.sum()), int((~truth).sum())
    if not n_fake or not n_real:
        return float("nan")
    ranks = rankdata(np.asarray(scores, np.float64))
    return float((ranks[truth].sum() - n_fake * (n_fake + 1) / 2) / (n_fake * n_real))


def auc_figure(
    labels: ArrayLike, scores: ArrayLike, groups: list[str], seed: int = 0, n_draws: int = 500
) -> Figure:
    """Return the AUC with an interval from drawing whole groups again."""
    truth, odds = np.asarray(labels, bool), np.asarray(scores, np.float64)
    rows = _members(groups)
    if min(_n_groups(truth, groups), _n_groups(~truth, groups)) < FEWEST_GROUPS:
        return Figure(auc(truth, odds), None, None, len(truth))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n_draws):
        take = np.concatenate([rows[g] for g in rng.integers(len(rows), size=len(rows))])
        drawn.append(auc(truth[take], odds[take]))
    kept = [v for v in drawn if not np.isnan(v)]
    low, high = np.percentile(kept, [2.5, 97.5])
    return Figure(auc(truth, odds), float(low), float(high), len(truth))


def _members(groups: list[str]) -> list[NDArray[np.int64]]:
    """Return the rows of each group."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    return [np.array(rows) for rows in members.values()]


def _n_groups(among: NDArray[np.bool_], groups: list[str]) -> int:
    return len({group for group, one in zip(groups, among, strict=True) if one})


def pair_order(labels: ArrayLike, scores: ArrayLike, groups: list[str]) -> float:
    """Return the share of groups whose fake scores above its own genuine source.

    A group of more than two media counts with the share of its pairs. NaN without any pair.
    """
    truth, odds = np.asarray(labels, bool), np.asarray(scores, np.float64)
    orders = np.array([auc(truth[rows], odds[rows]) for rows in _members(groups)])
    pairs = orders[~np.isnan(orders)]
    return float(pairs.mean()) if len(pairs) else float("nan")


def platt(labels: ArrayLike, logits: ArrayLike) -> Calibration:
    """Return the logistic calibration of logits; both classes count alike whatever their number.

    Towards Platt's targets, (n + 1) / (n + 2) and its mirror, instead of 1 and 0: else classes that
    do not overlap ask for an infinite slope (J. Platt, Probabilistic outputs for SVMs, 1999, 2.2).

    Raises:
        ValueError: One class is missing.
    """
    y, x = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    if y.min() == y.max():
        raise ValueError("Calibration needs genuine and manipulated media.")
    n_fake, n_genuine = y.sum(), (1 - y).sum()
    weight = np.where(y == 1, 0.5 / n_fake, 0.5 / n_genuine)
    target = np.where(y == 1, (n_fake + 1) / (n_fake + 2), 1 / (n_genuine + 2))

    def loss(p: Floats) -> float:
        z = np.exp(p[0]) * x + p[1]
        return float((weight * (np.logaddexp(0, z) - target * z)).sum())

    found = minimize(loss, np.zeros(2), method="Nelder-Mead")
    slope, intercept = float(np.exp(found.x[0])), float(found.x[1])
    return Calibration(slope=slope, intercept=intercept, n_samples=len(y))


def probability(logits: ArrayLike, calibration: Calibration) -> Floats:
    """Return calibrated probabilities of manipulation, as a scan does."""
    return to_probability(calibrated(np.asarray(logits, np.float64), calibration))
