from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from dfd_batch.evaluation.bootstrap import Estimate, auc_difference, measure
from dfd_batch.evaluation.metrics import AT_THRESHOLD, METRICS, Tally
from dfd_batch.training import evaluate as training

MEDIA = st.lists(
    st.tuples(st.booleans(), st.integers(0, 100).map(lambda n: n / 100)), min_size=2, max_size=60
)


def values(labels, scores, threshold=None, **more):
    groups = [str(i) for i in range(len(labels))]
    found = measure(labels, scores, groups, threshold, n_draws=more.pop("n_draws", 2), **more)
    return {name: estimate.value for name, estimate in found.items()}


def both(media):
    labels, scores = np.array([m[0] for m in media]), np.array([m[1] for m in media])
    assume(labels.any() and not labels.all())
    return labels, scores


@settings(deadline=None)
@given(MEDIA)
def test_figures_are_those_of_scikit_learn(media):
    labels, scores = both(media)
    found = values(labels, scores)
    assert found["AUC"] == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert found["AP"] == pytest.approx(oracle.average_precision_score(labels, scores))
    assert found["Brier"] == pytest.approx(oracle.brier_score_loss(labels, scores))
    inside = np.clip(scores, 1e-12, 1 - 1e-12)
    assert found["log loss"] == pytest.approx(oracle.log_loss(labels, inside))
    fpr, tpr, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    # Linear over the length of the curve, so that upright stretches have their own points.
    along = np.arange(len(fpr))
    place = brentq(
        lambda t: np.interp(t, along, fpr) + np.interp(t, along, tpr) - 1, 0, len(fpr) - 1
    )
    assert found["EER"] == pytest.approx(np.interp(place, along, fpr), abs=1e-9)


def test_true_positive_rate_at_a_false_positive_rate():
    rng = np.random.default_rng(0)
    labels = np.repeat([False, True], [2000, 500])
    scores = np.round(1 / (1 + np.exp(-rng.normal(2 * labels, 1))), 3)
    found = values(labels, scores)
    fpr, tpr, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    assert found["TPR@FPR 1 %"] == pytest.approx(tpr[fpr <= 0.01].max())
    assert found["TPR@FPR 0.1 %"] == pytest.approx(tpr[fpr <= 0.001].max())


def test_a_false_positive_rate_that_cannot_be_seen_is_null():
    labels = np.repeat([False, True], [150, 150])
    found = values(labels, np.linspace(0, 1, 300))
    assert found["TPR@FPR 1 %"] == 1
    assert found["TPR@FPR 0.1 %"] is None


def test_a_draw_without_genuine_media_tells_no_rate():
    tally = Tally(np.array([0.9, 0.1]), np.array([[1.0, 1], [0, 0]]), np.array([[3.0, 1], [3, 1]]))
    with np.errstate(invalid="ignore"):
        found = METRICS["TPR@FPR 1 %"](tally)
    assert found[0] == 0 and np.isnan(found[1])


@settings(deadline=None)
@given(MEDIA, st.floats(0.2, 5))
def test_ranking_figures_see_the_order_alone(media, power):
    labels, scores = both(media)
    one, other = values(labels, scores), values(labels, scores**power)
    for name in ("AUC", "AP", "EER"):
        assert one[name] == pytest.approx(other[name])


@settings(deadline=None)
@given(MEDIA)
def test_turning_labels_and_scores_around_changes_nothing(media):
    labels, scores = both(media)
    one, other = values(labels, scores), values(~labels, 1 - scores)
    for name in ("AUC", "EER", "log loss", "Brier"):
        assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-9)


@settings(deadline=None)
@given(MEDIA)
def test_the_equal_error_rate_lies_between_the_errors_at_some_threshold(media):
    labels, scores = both(media)
    fpr, tpr, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    worse = np.maximum(fpr, 1 - tpr).min()
    better = np.minimum(fpr, 1 - tpr).max()
    assert better - 1e-9 <= values(labels, scores)["EER"] <= worse + 1e-9


@settings(deadline=None)
@given(MEDIA, st.integers(1, 60))
def test_training_and_evaluation_mean_the_same_auc(media, n_groups):
    labels, scores = (np.array(part) for part in zip(*media, strict=True))
    groups = [str(i % n_groups) for i in range(len(media))]
    ours = measure(labels, scores, groups, n_draws=20)["AUC"]
    theirs = training.auc_figure(labels, scores, groups, n_draws=20)
    if labels.any() and not labels.all():
        assert ours.value == pytest.approx(theirs.value)
        assert theirs.value == training.auc(labels, scores)
    else:
        assert ours.value is None and np.isnan(theirs.value)
    assert (ours.low is None) == (theirs.low is None)  # too few groups of a class


@settings(deadline=None, max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_groups=st.integers(20, 60),
    most=st.integers(1, 4),
    paired=st.booleans(),
    digits=st.integers(1, 6),
    distance=st.floats(0, 1.5),
)
def test_training_and_evaluation_draw_the_same_intervals(
    seed, n_groups, most, paired, digits, distance
):
    """Each draws by a generator of its own; media instead of groups, or 90 %, would be seen."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), rng.integers(1, most + 1, n_groups))
    labels = group % 2
    if paired:  # a fake beside its own genuine source
        group, labels = np.tile(group, 2), np.repeat([0, 1], len(group))
    odds = rng.normal(distance * labels, 1) + rng.normal(0, 1, n_groups)[group]
    scores = np.round(1 / (1 + np.exp(-odds)), digits)
    media = labels, scores, [str(g) for g in group]
    ours = measure(*media, n_draws=4000)["AUC"]
    theirs = training.auc_figure(*media, n_draws=4000)
    near = 0.07 * (ours.high - ours.low)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=near)


def test_calibration_error_of_fifteen_equal_bins_by_hand():
    scores = np.linspace(0.01, 0.99, 150)
    rng = np.random.default_rng(3)
    labels = rng.random(150) < scores**2
    want = np.mean(
        [abs(labels[i : i + 10].mean() - scores[i : i + 10].mean()) for i in range(0, 150, 10)]
    )
    assert values(labels, scores)["ECE"] == pytest.approx(want)


def test_equal_scores_are_one_bin_whatever_their_order():
    labels = np.repeat([False, True], [30, 70])
    assert values(labels, np.full(100, 0.5))["ECE"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([], []), ([0, 0, 0], [0.1, 0.2, 0.3]), ([1, 1], [0.1, 0.2]), ([0, 1], [0.2, np.nan])],
    ids=["none", "genuine", "fakes", "nan"],
)
def test_what_cannot_be_told_is_null(labels, scores):
    found = values(labels, scores)
    assert list(found) == list(METRICS)
    assert set(found.values()) == {None}


def test_one_class_still_tells_its_own_rate_at_the_threshold():
    found = values([0, 0, 0, 0], [0.1, 0.6, 0.2, 0.9], threshold=0.6)
    assert found["false alarms"] == 0.5
    assert {k for k, v in found.items() if v is not None} == {"false alarms"}
    assert values([1, 1], [0.6, 0.2], threshold=0.6)["detected"] == 0.5
    assert set(AT_THRESHOLD) < set(found)


def test_intervals_hold_their_value_and_come_from_groups():
    rng = np.random.default_rng(1)
    labels = np.tile([0, 1], 400)
    scores = 1 / (1 + np.exp(-rng.normal(labels, 1)))
    alone = measure(labels, scores, [str(i) for i in range(800)], 0.5)
    for name, found in alone.items():
        if found.value is not None:
            assert found.low <= found.value <= found.high, name
    # Each medium eight times over: eight times the media, no more knowledge.
    copies = measure(np.tile(labels, 8), np.tile(scores, 8), [str(i) for i in range(800)] * 8)
    auc, of_copies = alone["AUC"], copies["AUC"]
    assert of_copies.high - of_copies.low == pytest.approx(auc.high - auc.low, rel=1e-6)
    single = measure(labels, scores, ["one"] * 400 + [str(i) for i in range(400)])["AUC"]
    assert single.low is not None
    single = measure(labels, scores, [str(i % 4) for i in range(800)])["AUC"]
    assert (single.value, single.low, single.high) == (pytest.approx(auc.value), None, None)


def test_many_scores_are_merged_and_hardly_change():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 60_000)
    odds = rng.normal(8 * labels - 4, 6)  # a tail that ends in ones
    scores = 1 / (1 + np.exp(-odds))
    found = measure(labels, scores, list(map(str, labels)), threshold=0.99992)
    exact = {
        "AUC": oracle.roc_auc_score(labels, scores),
        "log loss": oracle.log_loss(labels, scores),
        "TPR@FPR 0.1 %": np.mean(odds[labels == 1] > np.quantile(odds[labels == 0], 0.999)),
    }
    for name, value in exact.items():
        assert found[name].value == pytest.approx(value, abs=2e-3), name
    for name, label in (("false alarms", 0), ("detected", 1)):
        assert found[name].value == np.mean(scores[labels == label] >= 0.99992)


def test_a_rate_needs_as_many_genuine_media_in_the_sample_itself():
    rng = np.random.default_rng(0)
    for n_genuine, told in ((95, False), (100, True)):
        labels = np.repeat([0, 1], [n_genuine, 100])
        found = measure(labels, rng.random(len(labels)), [str(i) for i in range(len(labels))])
        assert (found["TPR@FPR 1 %"].value is not None) == told


def test_difference_is_paired():
    rng = np.random.default_rng(4)
    labels = np.tile([0, 1], 200)
    ours = rng.normal(labels, 1)
    groups = [str(i // 2) for i in range(400)]
    nearly = auc_difference(labels, ours, ours + rng.normal(0, 0.05, 400), groups)
    alone = measure(labels, ours, groups)["AUC"]
    assert abs(nearly.value) < 0.01
    assert nearly.high - nearly.low < (alone.high - alone.low) / 3
    worse = auc_difference(labels, ours, rng.normal(0, 1, 400), groups)
    assert worse.low > 0.1
    assert auc_difference([0, 0], [1, 2], [1, 2], ["a", "b"]) == Estimate(None)
