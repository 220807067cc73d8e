import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from dfd_batch.judge.decide import band
from dfd_batch.judge.thresholds import (
    NEVER,
    bands,
    interval,
    samples_for_precision,
    samples_needed,
    share_interval,
    thresholds,
)
from dfd_batch.outcomes import Verdict

ALARMS = {Verdict.SUSPICIOUS, Verdict.MANIPULATED}
# few distinct values, so that many are equal; 1 - 1e-13 is where calibrated logits are clipped
SCORES = st.sampled_from([0.0, 1e-9, 0.2, 0.2 + 1e-9, 0.5, 0.9, 1 - 1e-9, 1 - 1e-13]) | st.floats(
    0, 1 - 1e-13
)


@given(scores=st.lists(SCORES, min_size=2, max_size=60), fpr=st.floats(0.02, 0.5))
def test_of_exchangeable_media_no_more_than_the_target_are_alarms(scores, fpr):
    """The average over all ways to have drawn them: each is once the new one."""
    n = len(scores) - 1
    target = max(fpr, 1 / (n + 1))  # nothing lower can be had
    alarms = manipulated = 0
    for i, new in enumerate(scores):
        found = thresholds([*scores[:i], *scores[i + 1 :]], fpr)
        assert found.inconclusive <= found.suspicious <= found.manipulated
        verdict = band(new, found)
        alarms += verdict in ALARMS
        manipulated += verdict is Verdict.MANIPULATED
    assert alarms <= target * len(scores) + 1e-6
    assert manipulated <= fpr / 3 * len(scores) + 1e-6


def test_the_rate_is_used_up_where_scores_differ():
    scores = np.linspace(0, 1, 1000, endpoint=False)
    verdicts = [band(p, thresholds(scores, 0.03)) for p in scores]
    assert sum(v in ALARMS for v in verdicts) == 29  # 30 of 1,001, the 1,001st being the new one
    assert verdicts.count(Verdict.MANIPULATED) == 9


@given(fpr=st.floats(1e-4, 0.5))
def test_samples_needed_is_the_first_number_that_suffices(fpr):
    n = samples_needed(fpr)
    assert bands(np.zeros(max(n, 1)), fpr)[1].fpr <= fpr + 1e-9
    if n > 1:
        assert bands(np.zeros(n - 1), fpr)[1].fpr > fpr


@pytest.mark.parametrize(("fpr", "n"), [(0.001, 999), (0.01, 99), (0.03, 33), (0.5, 1)])
def test_samples_needed_of_common_rates(fpr, n):
    assert samples_needed(fpr) == n


def test_too_few_media_claim_nothing():
    low, middle, high = bands([0.1, 0.2, 0.3], 0.01)
    assert middle.fpr == 0.25 > middle.wished_fpr and middle.threshold > 0.3
    assert low.threshold == middle.threshold
    assert high.fpr is None and high.threshold == NEVER and high.n_needed == 299


def test_the_interval_is_where_a_threshold_s_own_rate_lies():
    n, above = 199, 4
    drawn = np.sort(np.random.default_rng(0).random((20_000, n)), axis=1)
    rate = 1 - drawn[:, n - above]  # of uniform scores
    low, high = interval(n, above)
    assert (rate < low).mean() == pytest.approx(0.025, abs=0.004)
    assert (rate > high).mean() == pytest.approx(0.025, abs=0.004)
    assert rate.mean() == pytest.approx(above / (n + 1), rel=0.01)


@pytest.mark.parametrize("fpr", [0.1, 0.01, 0.001])
def test_precision_is_reached_with_the_told_number_and_not_long_before(fpr):
    n = samples_for_precision(fpr)
    low, high = interval(n, round((n + 1) * fpr))
    assert 0.5 * fpr <= low < high <= 1.5 * fpr
    low, high = interval(n // 2, round((n // 2 + 1) * fpr))
    assert low < 0.5 * fpr or high > 1.5 * fpr


@given(n=st.integers(1, 200), seed=st.integers(0, 99))
def test_the_interval_of_a_share_leaves_a_fortieth_on_each_side(n, seed):
    k = int(np.random.default_rng(seed).integers(0, n + 1))
    low, high = share_interval(k, n)
    assert k == 0 or binom.sf(k - 1, n, low) == pytest.approx(0.025, rel=1e-3)
    assert k == n or binom.cdf(k, n, high) == pytest.approx(0.025, rel=1e-3)
