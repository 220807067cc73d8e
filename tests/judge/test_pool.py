import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dfd_batch.checkpoint import Calibration, Pooling
from dfd_batch.judge.pool import calibrated, join_tracks, pool_frames, to_probability

logit_rows = arrays(np.float32, st.integers(1, 200), elements=st.floats(-20, 20, width=32))
strategies = st.sampled_from(["top", "mean", "max", "confident"])


@given(logit_rows, strategies)
def test_a_pooled_logit_lies_within_its_frames_and_ignores_their_order(logits, strategy):
    pooling = Pooling(strategy=strategy)
    pooled = pool_frames(logits, pooling)
    assert logits.min() - 1e-4 <= pooled <= logits.max() + 1e-4
    assert pool_frames(logits[::-1], pooling) == pytest.approx(pooled, abs=1e-6)


@given(logit_rows)
def test_top_is_never_below_the_mean_nor_above_the_maximum(logits):
    top = pool_frames(logits, Pooling(strategy="top"))
    assert pool_frames(logits, Pooling(strategy="mean")) - 1e-4 <= top
    assert top <= pool_frames(logits, Pooling(strategy="max")) + 1e-4


def test_top_finds_a_short_swap_that_a_mean_hides():
    logits = np.full(320, -4.0)
    logits[100:140] = 5.0
    pooling = Pooling(strategy="top", fraction=0.1)
    assert pool_frames(logits, pooling) > 4
    assert pool_frames(logits, Pooling(strategy="mean")) < 0


def test_one_odd_frame_is_no_evidence():
    logits = np.full(64, -4.0)
    logits[10] = 20.0
    assert pool_frames(logits, Pooling(strategy="top", fraction=0.1, min_frames=32)) < 0


@pytest.mark.parametrize("logits", [np.array([]), np.array([0.0, np.nan]), np.array([np.inf])])
def test_nothing_and_not_finite_are_refused(logits):
    with pytest.raises(ValueError, match="finite"):
        pool_frames(logits, Pooling())


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=12))
def test_joined_odds_are_the_mean_of_the_tracks_odds(logits):
    joined = join_tracks(np.array(logits))
    assert np.exp(joined) == pytest.approx(np.mean(np.exp(logits)), rel=1e-6)
    assert joined >= max(logits) - np.log(len(logits)) - 1e-9


@given(st.floats(allow_nan=False), st.floats(0.01, 50), st.floats(-50, 50))
def test_a_calibrated_probability_is_always_a_probability(logit, slope, intercept):
    p = to_probability(calibrated(logit, Calibration(slope=slope, intercept=intercept)))
    assert 0 < p < 1
