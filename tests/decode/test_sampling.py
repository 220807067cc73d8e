from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.decode.sampling import n_clips_wanted, place_clips
from dfd_batch.settings import Coverage, Limits, Sampling

LIMITS = Limits(max_full_clips=50)


@st.composite
def videos(draw: st.DrawFn) -> tuple[list[float], float, float]:
    duration_s = draw(st.floats(0.04, 36_000))
    fps = draw(st.floats(1, 240))
    shares = draw(st.lists(st.floats(0, 0.999), max_size=60, unique=True))
    return sorted(share * duration_s for share in shares), duration_s, fps


@given(
    videos(),
    st.sampled_from(Coverage),
    st.integers(1, 64),
    st.integers(1, 8),
)
def test_runs_are_ordered_bounded_and_begin_at_key_frames(
    video: tuple[list[float], float, float], coverage: Coverage, frames: int, stride: int
) -> None:
    keys, duration_s, fps = video
    sampling = Sampling(coverage=coverage, frames_per_clip=frames, stride=stride)
    runs = place_clips(keys, duration_s, fps, sampling, LIMITS)
    starts = [run.start_s for run in runs]
    span_s = frames * stride / fps
    assert runs == place_clips(keys, duration_s, fps, sampling, LIMITS)
    assert 1 <= sum(run.n_clips for run in runs) <= n_clips_wanted(sampling, LIMITS)
    assert all(run.n_clips >= 1 for run in runs)
    assert all(0 <= start < duration_s for start in starts)
    assert set(starts) <= {*keys, 0.0}
    for run, following in zip(runs, starts[1:], strict=False):
        assert run.start_s + run.n_clips * span_s <= following + 1e-5
    if duration_s <= n_clips_wanted(sampling, LIMITS) * span_s:  # all of it can be looked at
        assert starts == [0.0]
        assert runs[0].n_clips * span_s >= duration_s * (1 - 1e-5)


def test_a_long_video_is_looked_at_in_all_its_parts() -> None:
    keys = [2.0 * i for i in range(1800)]
    runs = place_clips(keys, 3600.0, 25.0, Sampling(), Limits())
    assert [run.start_s for run in runs] == [600.0, 1800.0, 3000.0]
    assert [run.n_clips for run in runs] == [1, 1, 1]


def test_one_key_frame_gives_one_run_of_clips() -> None:
    runs = place_clips([0.0], 10.0, 25.0, Sampling(), Limits())
    assert [(run.start_s, run.n_clips) for run in runs] == [(0.0, 3)]


def test_clips_left_over_follow_the_key_frames_that_there_are() -> None:
    runs = place_clips([0.0, 5.0], 10.0, 25.0, Sampling(standard_clips=5), Limits())
    assert [(run.start_s, run.n_clips) for run in runs] == [(0.0, 3), (5.0, 2)]


@pytest.mark.parametrize("coverage", Coverage)
def test_a_short_video_is_covered_to_its_end(coverage: Coverage) -> None:
    runs = place_clips([0.0, 0.5], 1.0, 25.0, Sampling(coverage=coverage), Limits())
    assert [run.start_s for run in runs] == [0.0]
    assert runs[0].n_clips * 24 >= 25


def test_full_coverage_tiles_up_to_its_limit_and_spreads_beyond() -> None:
    sampling = Sampling(coverage=Coverage.FULL)
    keys = [float(i) for i in range(600)]
    tiled = place_clips(keys, 30.0, 25.0, sampling, LIMITS)
    assert [run.start_s for run in tiled] == [0.0]
    assert tiled[0].n_clips * 24 >= 750
    spread = place_clips(keys, 600.0, 25.0, sampling, LIMITS)
    assert len(spread) == 50
    assert spread[-1].start_s > 590
