from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.evaluation.segments import Video, iou, matched, measure

SEGMENTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1])),
    min_size=1,
    max_size=6,
)


def video(truth, found, confidence=None, group="g"):
    return Video(
        np.array(truth, float).reshape(-1, 2),
        np.array(found, float).reshape(-1, 2),
        np.array(confidence if confidence is not None else [1.0] * len(found), float),
        group,
    )


def values(videos):
    return {name: found.value for name, found in measure(videos, n_draws=2).items()}


def test_overlap_by_hand():
    a, b = np.array([[0.0, 4.0]]), np.array([[2.0, 6.0], [0.0, 4.0], [5.0, 6.0]])
    assert iou(a, b).tolist() == [[pytest.approx(2 / 6), 1.0, 0.0]]


def test_exact_segments_are_perfect():
    found = values([video([(1, 2), (4, 6)], [(1, 2), (4, 6)], [0.9, 0.8]), video([], [])])
    assert set(found.values()) == {1.0}


def test_average_precision_by_hand():
    # By confidence: hit, miss, hit (of 3 true): precision 1, 1/2, 2/3; recall 1/3, 1/3, 2/3.
    videos = [
        video([(0, 10), (20, 30)], [(0, 10), (20, 29)], [0.9, 0.7], "a"),
        video([(0, 10)], [(50, 60)], [0.8], "b"),
    ]
    found = values(videos)
    assert found["AP@0.5"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert found["AP@0.95"] == pytest.approx(1 / 3)  # .9 of (20, 30) is not enough
    # Recall over ten thresholds: the exact one 10 of 10, the other (IoU .9) 9 of 10.
    assert found["AR@100"] == pytest.approx((10 + 9) / 10 / 3)


def test_equal_confidence_counts_together_whatever_the_order():
    right, wrong = video([(0, 10)], [(0, 10)], [0.8], "a"), video([], [(3, 4)], [0.8], "b")
    for videos in ([right, wrong], [wrong, right]):
        assert values(videos)["AP@0.5"] == pytest.approx(1 / 2)


def test_false_segments_on_genuine_videos_cost_precision():
    fake = video([(0, 10)], [(0, 10)], [0.5], "a")
    alarm = video([], [(3, 4)], [0.9], "b")
    assert values([fake, alarm])["AP@0.5"] == pytest.approx(1 / 2)
    assert values([fake, alarm])["AR@10"] == 1


def test_a_true_segment_is_found_once():
    assert matched(video([(0, 10)], [(0, 9), (0, 10)], [0.9, 0.8]), 0.5).tolist() == [True, False]
    found = values([video([(0, 10), (20, 30)], [(0, 9), (0, 10)], [0.9, 0.8])])
    assert found["AP@0.5"] == pytest.approx(1 / 2)


def test_recall_counts_the_most_confident_ones():
    noise = [(100 + i, 101 + i) for i in range(10)]
    one = video([(0, 10)], [*noise, (0, 10)], [*[0.9] * 10, 0.1])
    found = values([one])
    assert (found["AR@10"], found["AR@20"]) == (0, 1)


def test_without_true_segments_there_is_no_figure():
    assert set(values([video([], [(0, 1)])]).values()) == {None}


def test_interval_over_groups():
    videos = [video([(0, 10)], [(0, 10)] if i % 2 else [], group=str(i)) for i in range(40)]
    found = measure(videos)["AR@10"]
    assert found.value == 0.5
    assert found.low < 0.5 < found.high


@settings(deadline=None)
@given(SEGMENTS, SEGMENTS)
def test_figures_fall_with_the_overlap_asked_for(truth, found):
    told = values([video(truth, found, np.linspace(1, 0.5, len(found)))])
    assert 1 >= told["AP@0.5"] >= told["AP@0.75"] >= told["AP@0.95"] >= 0
    assert told["AR@10"] <= told["AR@100"]
