from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.faces.keep import Kept, Run


def run(clip: int, track: int = 0, rank: int = 0, n: int = 4, sure: bool = True) -> Run:
    return Run(
        clip=clip,
        track=track,
        rank=rank,
        sure=sure,
        crops=np.full((n, 2, 2, 3), clip % 256, np.uint8),
        times_s=clip + np.arange(n) / 100,
        boxes=np.zeros((n, 4), np.float32),
        landmarks=np.zeros((n, 5, 2), np.float32),
    )


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), unique=True), st.integers(4, 80))
def test_order_of_arrival_does_not_change_what_is_kept(
    runs: list[tuple[int, int]], max_crops: int
) -> None:
    kept = [Kept(max_crops), Kept(max_crops)]
    for store, order in zip(kept, (runs, runs[::-1]), strict=True):
        for clip, track in order:
            store.add(run(clip, track, rank=track))
    if runs:
        a, b = (store.result() for store in kept)
        assert len(a) <= max_crops
        assert a.times_s.tolist() == b.times_s.tolist()
        assert a.tracks.tolist() == b.tracks.tolist()
        order = np.lexsort((a.times_s, a.tracks, a.clips))
        assert order.tolist() == list(range(len(a)))


def test_too_many_clips_leave_whole_runs_spread_over_the_video() -> None:
    kept = Kept(32)
    for clip in range(64):
        if kept.would_keep(clip):
            kept.add(run(clip))
    result = kept.result()
    clips, lengths = np.unique(result.clips, return_counts=True)
    assert lengths.tolist() == [4] * 8
    assert np.diff(clips).tolist() == [8] * 7


def test_the_largest_faces_go_before_the_others() -> None:
    kept = Kept(16)
    for clip in range(4):
        for track in range(3):
            kept.add(run(clip, track, rank=track))
    result = kept.result()
    assert result.n_faces == 1
    assert np.unique(result.clips).tolist() == [0, 1, 2, 3]


def test_one_run_longer_than_the_bound_is_cut() -> None:
    kept = Kept(5)
    kept.add(run(0, n=9))
    assert len(kept.result()) == 5


def test_a_face_only_a_dear_look_found_gives_way_to_faces_anyone_can_see() -> None:
    kept = Kept(100)
    kept.add(run(0, track=0, sure=False))
    for clip in (1, 2):
        kept.add(run(clip, track=1))
    result = kept.result()
    assert result.clips.tolist() == [1] * 4 + [2] * 4
    assert result.n_faces == 1
    assert result.tracks.tolist() == [0] * 8
