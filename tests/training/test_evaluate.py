from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.judge.thresholds import thresholds
from dfd_batch.training import evaluate

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(genuine=SCORES, fake=SCORES)
def test_auc_is_the_share_of_ordered_pairs(genuine: list[int], fake: list[int]) -> None:
    want = np.mean([(f > g) + 0.5 * (f == g) for f in fake for g in genuine])
    labels = [0] * len(genuine) + [1] * len(fake)
    assert evaluate.auc(labels, genuine + fake) == pytest.approx(want)


def test_auc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(evaluate.auc([1, 1], [0.2, 0.3]))


def test_interval_holds_the_value_and_shrinks_with_more_groups() -> None:
    rng = np.random.default_rng(0)

    def width(n: int) -> float:
        labels = np.tile([0, 1], n)
        figure = evaluate.auc_figure(
            labels, rng.normal(labels, 1.0), [str(i // 2) for i in range(2 * n)]
        )
        assert figure.low <= figure.value <= figure.high
        return figure.high - figure.low

    assert width(400) < width(20)


def test_of_few_groups_there_is_no_interval() -> None:
    labels, scores = [0, 1] * 40, list(np.random.default_rng(0).random(80))
    few = evaluate.auc_figure(labels, scores, [str(i // 2 % 4) for i in range(80)])
    assert (few.low, few.high) == (None, None) and few.n == 80
    assert evaluate.auc_figure(labels, scores, [str(i // 2 % 5) for i in range(80)]).low is not None


def test_pair_order_counts_pairs_only() -> None:
    order = evaluate.pair_order([0, 1, 0, 1, 0], [0.1, 0.9, 0.8, 0.2, 5], ["a", "a", "b", "b", "c"])
    assert order == 0.5
    assert np.isnan(evaluate.pair_order([0, 1], [0.1, 0.9], ["a", "b"]))


def test_pair_order_sees_every_medium_of_a_group() -> None:
    order = evaluate.pair_order([0, 1, 1], [0.5, 0.9, 0.2], ["a"] * 3)
    assert order == evaluate.pair_order([0, 1, 1], [0.5, 0.2, 0.9], ["a"] * 3) == 0.5


def test_platt_finds_the_logits_that_made_the_labels() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(0, 2, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-true))
    found = evaluate.platt(labels, true / 2 + 1)
    assert found.slope == pytest.approx(2, rel=0.1)
    assert found.intercept == pytest.approx(-2, abs=0.2)
    assert found.n_samples == 20_000


def test_platt_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="genuine and manipulated"):
        evaluate.platt([0, 0], [1.0, 2.0])


@given(
    n=st.integers(2, 60),
    apart=st.floats(0.5, 40),
    spread=st.floats(0.1, 3),
    seed=st.integers(0, 2**16),
)
def test_classes_that_do_not_overlap_leave_room_between_certain_and_impossible(
    n: int, apart: float, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    genuine, fake = -apart - spread * rng.random(n), apart + spread * rng.random(n)
    labels = np.repeat([0, 1], n)
    found = evaluate.platt(labels, np.concatenate([genuine, fake]))
    # Of n genuine ones nobody can say more than one in n + 2.
    mean = evaluate.probability(genuine, found).mean()
    assert 0.5 / (n + 2) < mean < 2 / (n + 2)
    bands = thresholds(evaluate.probability(genuine, found), 0.03)
    assert evaluate.probability(genuine.min(), found) < bands.suspicious <= bands.manipulated
    assert evaluate.probability(fake, found).min() > bands.suspicious
