"""Bands from genuine media alone: split conformal thresholds and what they are good for.

Of n genuine media that are exchangeable with those to come, the next one scores above the k-th
smallest with a chance of at most (n + 1 - k) / (n + 1), whatever the distribution (Vovk et al.,
Algorithmic Learning in a Random World, 2005; Angelopoulos and Bates, arXiv 2107.07511, section 1).
How far the rate of one such threshold strays from that chance is known as well: for scores without
ties it is Beta(n + 1 - k, k) distributed, with ties it is lower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, binomtest

from dfd_batch.checkpoint import Thresholds

SHARES = {"inconclusive": 4.0, "suspicious": 1.0, "manipulated": 1 / 3}
"""False alarm rate of each band in units of the target, which is that of `suspicious`."""
MOST = 0.5
"""No band begins below the median of genuine media."""
NEVER = 1.0
"""A threshold that no probability reaches: calibrated logits are clipped at 30."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Band:
    """One band's lower bound and the false alarms that are to be expected at or above it."""

    name: str
    threshold: float
    wished_fpr: float
    fpr: float | None
    """Bound of the expected rate; None: the sample is too small, so the band is never given."""
    low: float | None
    """Central 95 % interval of the rate of this very threshold."""
    high: float | None
    n_needed: int


def allowed(n: int, fpr: float) -> int:
    """Return how many of n + 1 exchangeable genuine media may lie above a threshold."""
    return math.floor((n + 1) * fpr + _ROUNDING)


def samples_needed(fpr: float) -> int:
    """Return the fewest genuine media from which a false alarm rate can be had at all."""
    return math.ceil(1 / fpr - _ROUNDING) - 1


def samples_for_precision(fpr: float, within: float = 0.5) -> int:
    """Return the fewest genuine media that put the rate within a share of its target, at 95 %."""
    above = 1
    while True:
        n = math.ceil(above / fpr - _ROUNDING) - 1
        low, high = interval(n, above)
        if low >= (1 - within) * fpr and high <= (1 + within) * fpr:
            return n
        above += 1


def interval(n: int, above: int) -> tuple[float, float]:
    """Return the central 95 % interval of the rate of a threshold from n genuine media."""
    low, high = beta.ppf([0.025, 0.975], above, n + 1 - above)
    return float(low), float(high)


def exceeding(scores: ArrayLike, above: int) -> float:
    """Return the least float32 beyond the k-th smallest score, k = n + 1 - above.

    Verdicts begin *at* a threshold, the conformal quantile is what may still be reached: one step
    further, also for equal scores and for those that a file keeps in float32.
    """
    ranked = np.sort(np.asarray(scores, np.float64))
    bound = np.float32(ranked[len(ranked) - above])
    return min(NEVER, float(np.nextafter(bound, np.float32(2))))


def bands(genuine: ArrayLike, target_fpr: float) -> tuple[Band, ...]:
    """Return the bands above `authentic` that a sample of genuine media supports, lowest first.

    A rate below 1 / (n + 1) is not to be had. For `inconclusive` and `suspicious` the threshold
    then lies just above the whole sample and the band says so by its `fpr`; `manipulated`, the word
    that others act on, is then not given at all.

    Args:
        genuine: (n,) probabilities of manipulation of genuine media, n >= 1.
        target_fpr: Share of genuine media that may come out `suspicious` or worse.
    """
    scores = np.asarray(genuine, np.float64)
    n = len(scores)
    found = []
    for name, share in SHARES.items():
        wished = min(MOST, share * target_fpr)
        above = allowed(n, wished)
        if not above and name == "manipulated":
            found.append(Band(name, NEVER, wished, None, None, None, samples_needed(wished)))
            continue
        above = max(1, above)
        rate = above / (n + 1)
        found.append(
            Band(
                name,
                exceeding(scores, above),
                wished,
                rate,
                *interval(n, above),
                samples_needed(wished),
            )
        )
    return tuple(found)


def thresholds(genuine: ArrayLike, target_fpr: float) -> Thresholds:
    """Return the lower bounds of `bands`."""
    return Thresholds(**{band.name: band.threshold for band in bands(genuine, target_fpr)})


def highest(*given: Thresholds) -> Thresholds:
    """Return the higher of the bounds of each band: what holds for all media they were set for."""
    names = Thresholds.model_fields
    return Thresholds(**{name: max(getattr(t, name) for t in given) for name in names})


def share_interval(n_above: int, n: int) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) 95 % interval of a share of n observations."""
    found = binomtest(n_above, n).proportion_ci(method="exact")
    return float(found.low), float(found.high)
