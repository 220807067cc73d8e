"""Figures with bootstrap intervals over groups: media of one source are drawn again together.

A figure that the data cannot tell is None, never a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from dfd_batch.evaluation.metrics import AT_THRESHOLD, METRICS, Floats, Tally, auc
from dfd_batch.training.evaluate import FEWEST_GROUPS

N_DRAWS = 500
MOST_LEVELS = 20_000
"""With more scores than these neighbours count as equal, which bounds the cost of a draw."""
_CELLS = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A figure with its central 95 % bootstrap interval; None where the data cannot tell."""

    value: float | None
    low: float | None = None
    high: float | None = None


def measure(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[str],
    threshold: float | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return all figures of probabilities against labels.

    Args:
        labels: (N,) 1 = manipulated.
        scores: (N,) probabilities of manipulation.
        groups: (N,) what is drawn again as a whole: media of one source or person.
        threshold: Of the two last figures; None leaves them out.
        n_draws: Of the bootstrap.
        seed: Of the draws.
    """
    truth, odds = np.asarray(labels, bool), np.asarray(scores, np.float64)
    wanted = METRICS | (AT_THRESHOLD if threshold is not None else {})
    if not len(truth) or not np.isfinite(odds).all():
        return dict.fromkeys(wanted, Estimate(None))
    if truth.all() or not truth.any():
        usable = {"detected"} if truth.all() else {"false alarms"}
    else:
        usable = set(wanted)
    sample = _Sample(truth, odds, groups, threshold)
    values = _values(sample, {k: wanted[k] for k in wanted if k in usable}, n_draws, seed)
    return {name: estimate(values[name]) if name in values else Estimate(None) for name in wanted}


def auc_difference(
    labels: ArrayLike,
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: Sequence[str],
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Estimate:
    """Return how much higher the AUC of some scores is than that of others for the same media."""
    truth = np.asarray(labels, bool)
    both = [np.asarray(s, np.float64) for s in (ours, theirs)]
    if not len(truth) or truth.all() or not truth.any() or not np.isfinite(both).all():
        return Estimate(None)
    one, other = (
        _values(_Sample(truth, odds, groups, None), {"AUC": auc}, n_draws, seed)["AUC"]
        for odds in both
    )
    return estimate(one - other)


def tally_of(labels: ArrayLike, scores: ArrayLike) -> Tally:
    """Return the distribution of one sample of scores, for drawing (B = 1)."""
    truth = np.asarray(labels, bool)
    sample = _Sample(truth, np.asarray(scores, np.float64), [""] * len(truth), None)
    return sample.tally(np.ones((1, 1)))


def draw_groups(n_groups: int, fewest: int, n_draws: int, seed: int) -> Floats:
    """Return how often each group counts (1 + n_draws, n_groups): as it is, then drawn again.

    Args:
        n_groups: That can be drawn.
        fewest: Groups of the rarer class; when too few nothing is drawn.
        n_draws: Of all groups.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    if fewest < FEWEST_GROUPS:
        return np.ones((1, n_groups))
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_draws)
    return np.concatenate([np.ones((1, n_groups)), drawn])


class _Sample:
    """Scores with labels and groups as sparse matrices from groups to distinct scores."""

    def __init__(
        self,
        truth: NDArray[np.bool_],
        odds: Floats,
        groups: Sequence[str],
        threshold: float | None,
    ) -> None:
        self._threshold = threshold
        scores, level = _levels(odds, threshold)
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        self._scores, self._n_genuine = scores, float((~truth).sum())
        self.n_groups, self.n_levels = int(group.max()) + 1, len(scores)
        shape = (self.n_groups, self.n_levels)
        self._genuine, self._fake = (
            csr_matrix((np.ones(int(of.sum())), (group[of], level[of])), shape)
            for of in (~truth, truth)
        )

    @property
    def fewest_groups(self) -> int:
        """Return the groups of the rarer class, or of the only one."""
        of = [np.count_nonzero(m.sum(1)) for m in (self._genuine, self._fake)]
        return int(min((n for n in of if n), default=0))

    def tally(self, counts: Floats) -> Tally:
        """Return the sample with its groups counted so often (B, G)."""
        genuine, fake = (np.asarray(counts @ m) for m in (self._genuine, self._fake))
        return Tally(self._scores, genuine, fake, self._threshold, self._n_genuine)


def _levels(odds: Floats, threshold: float | None) -> tuple[Floats, NDArray[np.int64]]:
    """Return distinct scores, falling, and which of them each score is.

    Too many are merged, as many neighbours everywhere, into their mean; never across the threshold.
    """
    negative, level = np.unique(-odds, return_inverse=True)
    if len(negative) <= MOST_LEVELS:
        return -negative, level
    merged = np.arange(len(negative)) * MOST_LEVELS // len(negative)
    if threshold is not None:
        merged += -negative < threshold
    level = np.unique(merged, return_inverse=True)[1][level]
    return np.bincount(level, odds) / np.bincount(level), level


def _values(
    sample: _Sample, wanted: dict[str, Callable[[Tally], Floats]], n_draws: int, seed: int
) -> dict[str, Floats]:
    counts = draw_groups(sample.n_groups, sample.fewest_groups, n_draws, seed)
    n_parts = -(-counts.shape[0] * sample.n_levels // _CELLS)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may lack a class: NaN
        tallies = (sample.tally(part) for part in np.array_split(counts, n_parts))
        found = [{name: figure(c) for name, figure in wanted.items()} for c in tallies]
    return {name: np.concatenate([part[name] for part in found]) for name in wanted}


def estimate(values: Floats) -> Estimate:
    """Return the first value with the interval of those that follow."""
    value, drawn = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return Estimate(None)
    if len(drawn) < (len(values) - 1) / 2 or not len(drawn):
        return Estimate(float(value))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
