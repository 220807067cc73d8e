from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.training import filming, forge, forge_clip, temporal_traces, trouble
from dfd_batch.training.temporal_traces import Clip
from tests.training.conftest import face_image, template

SIDE, POINTS = 160, template() * 160
FACE = face_image(SIDE, np.random.default_rng(0))
SKIN = cv2.fillConvexPoly(
    np.zeros((SIDE, SIDE), np.uint8), cv2.convexHull(POINTS).round().astype(np.int32), 1
).astype(bool)


def _clip(n: int = 16, speed_px: float = 2) -> Clip:
    """A face that wanders and whose mouth opens, in flickering skin."""
    rng = np.random.default_rng(5)
    shifts = np.cumsum(rng.normal(0, speed_px, (n, 2)), 0).astype(np.float32)
    frames = []
    for t, (x, y) in enumerate(shifts):
        frame = FACE.copy()
        frame[SKIN] = np.clip(frame[SKIN] + rng.normal(0, 3, 3), 0, 255)
        cv2.ellipse(frame, (80, 109), (16, 2 + t % 8), 0, 0, 360, (60, 10, 20), -1)
        m = np.float32([[1, 0, x], [0, 1, y]])
        frames.append(cv2.warpAffine(frame, m, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101))
    return Clip(np.stack(frames), POINTS + shifts[:, None], 128.0)


def _blinking(closed: list[int], n: int = 16) -> Clip:
    clip = _clip(n)
    frames = clip.frames.copy()
    for t in range(n):
        for eye in (slice(36, 42), slice(42, 48)):
            x, y = clip.landmarks[t, eye].mean(0).round().astype(int)
            lid = (190, 150, 130)
            cv2.ellipse(frames[t], (int(x), int(y)), (14, 9), 0, 0, 360, lid, -1)
            if t not in closed:
                cv2.circle(frames[t], (int(x), int(y)), 4, (20, 10, 10), -1)
    return replace(clip, frames=frames)


DONOR = forge.Donor(face_image(SIDE, np.random.default_rng(1))[:, ::-1].copy(), POINTS)


@pytest.mark.parametrize("operation", forge_clip.OPERATIONS)
@pytest.mark.parametrize("donor", [None, DONOR, _clip()], ids=["self", "donor", "donor_clip"])
def test_labels_are_the_frames_that_differ(
    operation: str, donor: forge.Donor | Clip | None
) -> None:
    clip = _clip()
    for seed in range(4):
        made = forge_clip.forge_clip(clip, np.random.default_rng(seed), donor, operation)
        assert made.fake.shape == made.genuine.shape == clip.frames.shape
        assert made.fake.dtype == np.uint8
        differs = (made.fake != made.genuine).any((1, 2, 3))
        assert differs.any()
        assert made.labels.tolist() == differs.astype(float).tolist()
        again = forge_clip.forge_clip(clip, np.random.default_rng(seed), donor, operation)
        assert (again.fake == made.fake).all()


@given(n=st.integers(4, 64), seed=st.integers(0, 2**31))
@settings(deadline=None)
def test_bounded_forgeries_lie_in_one_to_three_stretches_of_a_third_of_a_second(
    n: int, seed: int
) -> None:
    inside = forge_clip.draw_stretches(n, np.random.default_rng(seed))
    assert 0 < inside.sum() < n
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside, [0]])))
    lengths = np.diff(edges)[::2]
    assert 1 <= len(lengths) <= 3
    assert lengths.min() >= min(forge_clip.SHORTEST, n // 2)


def test_a_picture_that_does_not_move_is_forged_all_the_same() -> None:
    still = Clip(np.stack([FACE] * 8), np.stack([POINTS] * 8), 128.0)
    for operation in ("hold", "lip_lag"):
        for seed in range(6):
            made = forge_clip.forge_clip(still, np.random.default_rng(seed), None, operation)
            assert made.labels.any()


def test_grain_that_is_drawn_again_is_no_forgery() -> None:
    grain = np.random.default_rng(1).normal(0, 2, (12, *FACE.shape)).round()
    still = Clip(np.clip(FACE + grain, 0, 255).astype(np.uint8), np.stack([POINTS] * 12), 128.0)
    made = [
        forge_clip.forge_clip(still, np.random.default_rng(seed), None, "lip_lag").operation
        for seed in range(12)
    ]
    assert "static" in made


def test_what_is_late_is_not_frozen_before() -> None:
    clip = _clip(16, speed_px=6)
    late = 0
    for seed in range(40):
        shown = temporal_traces.TRACES["hold"][1](clip, np.random.default_rng(seed))
        own = (shown == clip.frames).all((1, 2, 3))
        lag = int(own.argmin())
        if own[:lag].all() and not own[lag:].any():  # late all along, none of the freezes
            late += 1
    assert late >= 10


def test_openness_finds_the_blink() -> None:
    openness = temporal_traces.eye_openness(_blinking([5, 6, 7]))
    assert set(np.argsort(openness)[:3]) == {5, 6, 7}
    assert openness[[5, 6, 7]].max() < 0.85 < np.delete(openness, [5, 6, 7]).min()


def test_eyes_open_leaves_no_blink() -> None:
    clip = _blinking([5, 6, 7])
    opened = replace(clip, frames=_trace("eyes_open", clip))
    assert temporal_traces.eye_openness(clip).min() < 0.6
    assert temporal_traces.eye_openness(opened).min() > 0.8
    assert (opened.frames[[0, 12]] == clip.frames[[0, 12]]).all()  # far from the blink


def test_pulse_kill_calms_the_colour_of_the_skin_and_keeps_its_light() -> None:
    clip = _clip()
    killed = _trace("pulse_kill", clip)

    def course(frames: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[60:80, 60:100].mean((0, 1))
                for frame in frames
            ]
        )

    light, colour = np.split(course(clip.frames), [1], 1)
    light_after, colour_after = np.split(course(killed), [1], 1)
    assert colour_after.std(0).max() < 0.6 * colour.std(0).min()
    assert np.abs(light_after - light).max() < 1


def test_hold_and_lip_lag_show_other_moments_where_the_face_is_now() -> None:
    clip = _clip(12, speed_px=6)
    for operation in ("hold", "lip_lag"):
        shown = _trace(operation, clip)
        changed = np.flatnonzero((shown != clip.frames).any((1, 2, 3)))
        assert len(changed) > 0
        for t in changed:
            left, top = clip.landmarks[t, 17:48].min(0).astype(int)
            right, low = clip.landmarks[t, 17:48].max(0).astype(int)
            window = np.s_[max(top, 0) : low, max(left, 0) : right]
            apart = np.abs(shown[t][window].astype(int) - clip.frames[t][window])
            assert np.median(apart) < 8  # the skin's flicker; a face beside it would be 20 apart


def _trace(operation: str, clip: Clip) -> np.ndarray:
    return temporal_traces.TRACES[operation][1](clip, np.random.default_rng(3))


@pytest.mark.parametrize("kind", list(trouble.TROUBLES))
def test_a_trouble_is_one_function_of_its_seed_and_really_troubles(kind: str) -> None:
    frames = _clip(12).frames
    changed = 0
    for seed in range(8):
        troubled = trouble.Trouble(kind, seed)
        first = troubled(frames)
        assert first.shape == frames.shape
        assert first.dtype == np.uint8
        assert (first == troubled(frames.copy())).all()
        changed += (first != frames).any()
    assert changed >= 6


@given(seed=st.integers(0, 2**31), n=st.integers(4, 24))
@settings(deadline=None)
def test_orders_hold_only_the_clips_own_frames(seed: int, n: int) -> None:
    order = trouble.draw_order(n, np.random.default_rng(seed))
    assert order.shape == (n,)
    assert order.min() >= 0
    assert order.max() < n


@given(seed=st.integers(0, 2**31), n=st.integers(4, 12), still=st.booleans())
@settings(max_examples=25, deadline=None)
def test_filming_is_the_same_function_for_both_twins(seed: int, n: int, still: bool) -> None:
    frames = _clip(n).frames
    film = filming.draw_filming(n, np.random.default_rng(seed), still)
    crops = film(frames, 128.0, 96)
    assert crops.shape == (n, 96, 96, 3)
    assert crops.dtype == np.uint8
    assert (crops == film(frames.copy(), 128.0, 96)).all()
