from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.judge.segments import MERGE_GAP_S, find_segments

FRAME_S = 0.04


def times(n, start=0.0):
    return start + FRAME_S * np.arange(n)


def test_a_manipulated_stretch_becomes_one_segment_with_its_bounds():
    p = np.full(100, 0.1)
    p[30:60] = 0.9
    (segment,) = find_segments(times(100), p, FRAME_S)
    assert abs(segment.start_s - 1.2) <= FRAME_S
    assert abs(segment.end_s - 2.4) <= FRAME_S
    assert segment.probability > 0.85


def test_the_edges_of_a_segment_are_half_way_between_what_surrounds_it_and_what_is_inside():
    p = np.full(100, 0.35)  # above the bar, were it the same for all tracks
    p[27:30] = p[60:63] = 0.6
    p[30:60] = 0.97
    (segment,) = find_segments(times(100), p, FRAME_S)
    assert abs(segment.start_s - 1.2) <= FRAME_S
    assert abs(segment.end_s - 2.4) <= FRAME_S


def test_of_a_track_that_is_likely_forged_throughout_the_likeliest_part_is_not_all():
    p = np.full(100, 0.75)
    p[:40] = 0.999
    (segment,) = find_segments(times(100), p, FRAME_S)
    assert (segment.start_s, segment.end_s) == (0, 4)


def test_what_the_verdict_speaks_against_is_no_segment():
    p = np.full(100, 0.05)
    p[30:60] = 0.5
    assert len(find_segments(times(100), p, FRAME_S, pooled=np.full(100, 0.41), least=0.4)) == 1
    assert find_segments(times(100), p, FRAME_S, pooled=np.full(100, 0.39), least=0.4) == []


@pytest.mark.parametrize("outside", [0.05, 0.3, 0.39])
def test_two_seconds_in_a_long_video_are_neither_swallowed_nor_lost(outside):
    p, pooled = np.full(2040, 0.35), np.full(2040, outside)
    p[1000:1060], pooled[984:1080] = 0.99, 0.95
    (segment,) = find_segments(times(2040), p, FRAME_S, pooled=pooled, least=0.42)
    assert segment.start_s == pytest.approx(40.0, abs=0.4)
    assert segment.end_s == pytest.approx(42.4, abs=0.4)


def test_clips_that_lie_half_a_second_apart_are_not_joined():
    t = np.concatenate([times(24), times(24, start=0.92 + 0.53)])
    assert len(find_segments(t, np.full(48, 0.9), FRAME_S)) == 2


def test_a_flash_is_smoothed_away_and_a_short_dip_does_not_split():
    flash = np.full(100, 0.1)
    flash[50:52] = 0.99
    assert find_segments(times(100), flash, FRAME_S) == []
    dip = np.full(100, 0.9)
    dip[50:53] = 0.1
    assert len(find_segments(times(100), dip, FRAME_S)) == 1


def test_a_segment_never_spans_what_was_not_looked_at():
    t = np.concatenate([times(16), times(16, start=5.0)])
    segments = find_segments(t, np.full(32, 0.9), FRAME_S)
    assert [(round(s.start_s, 2), round(s.end_s, 2)) for s in segments] == [
        (0.0, 0.64),
        (5.0, 5.64),
    ]


def test_no_frames_no_segments():
    assert find_segments(np.array([]), np.array([]), FRAME_S) == []


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=200),
    st.lists(st.floats(0.001, 3), min_size=200, max_size=200),
)
def test_segments_are_ordered_disjoint_inside_the_clip_and_long_enough(p, gaps):
    t = np.cumsum(gaps)[: len(p)]
    segments = find_segments(t, np.array(p), FRAME_S)
    for segment in segments:
        assert t[0] <= segment.start_s < segment.end_s <= t[-1] + FRAME_S + 1e-9
        assert segment.end_s - segment.start_s >= 0.3 - FRAME_S
        assert 0 <= segment.probability <= 1
        inside = t[(t >= segment.start_s) & (t < segment.end_s)]
        assert np.diff(inside).max(initial=0) <= MERGE_GAP_S + FRAME_S
    for earlier, later in pairwise(segments):
        assert earlier.end_s <= later.start_s + FRAME_S
