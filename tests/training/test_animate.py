"""Stills brought to life and livelier clips: faces move as told, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.training import animate
from tests.training.conftest import face_image, template

SIDE, POINTS = 160, (template() * 160).astype(np.float32)
FACE = face_image(SIDE, np.random.default_rng(0))
MOUTH = slice(48, 68)


def _talking(n: int = 12, px: float = 4) -> np.ndarray:
    """Landmarks (n, 68, 2) of a face whose lower lip goes up and down while the head wanders."""
    points = np.repeat(POINTS[None], n, 0)
    lower = [*range(55, 60), *range(65, 68)]
    points[:, lower, 1] += px * (1 - np.cos(np.arange(n) * np.pi / 4))[:, None]
    return points + np.linspace(0, 6, n, dtype=np.float32)[:, None, None]


def test_a_still_that_nothing_drives_stands_still() -> None:
    frames = animate.reenacted(FACE, POINTS, np.repeat(POINTS[None], 5, 0), _rng())
    assert frames.shape == (5, SIDE, SIDE, 3) and frames.dtype == np.uint8
    assert np.abs(frames.astype(int) - FACE).max() <= 1


def test_a_driven_still_moves_its_mouth_and_is_itself_in_the_beginning() -> None:
    drive = animate.driven(POINTS, _talking() * 0.5 + 30)  # another face, half as large
    np.testing.assert_allclose(drive[0], POINTS, atol=1e-3)
    opening = drive[:, 57, 1] - drive[:, 51, 1]
    np.testing.assert_allclose(opening.max() - opening[0], 8, atol=0.1)
    frames = animate.reenacted(FACE, POINTS, drive, _rng())
    assert np.abs(frames[0].astype(int) - FACE).mean() < 1
    mouth = np.s_[100:125, 60:100]
    assert np.abs(frames[4].astype(int) - FACE)[mouth].mean() > 3


def test_what_drives_a_still_is_calm_and_does_not_slow_down_at_its_ends() -> None:
    steady = POINTS[None] + np.arange(16, dtype=np.float32)[:, None, None]
    trembling = steady + np.random.default_rng(0).normal(0, 1, steady.shape).astype(np.float32)
    for spread in animate.CALM:
        np.testing.assert_allclose(animate.calmed(steady, spread), steady, atol=1e-3)
        left = animate.calmed(trembling, spread) - steady
        assert np.diff(left, axis=0).std() < np.diff(trembling - steady, axis=0).std() / 3
    assert np.array_equal(animate.calmed(steady[:1], 1.0), steady[:1])


@pytest.mark.parametrize("seed", range(3))
def test_a_livelier_face_opens_its_mouth_further_where_its_head_was(seed: int) -> None:
    points = _talking()
    frames = np.repeat(FACE[None], len(points), 0)
    lively, moved = animate.exaggerated(frames, points, np.random.default_rng(seed))
    assert lively.shape == frames.shape and lively.dtype == np.uint8
    before, after = (p[:, 57, 1] - p[:, 51, 1] for p in (points, moved))
    assert np.ptp(after) > 1.3 * np.ptp(before)
    jaw = np.abs(moved[:, :17] - points[:, :17]).max()
    assert jaw < 0.5 * np.abs(moved[:, MOUTH] - points[:, MOUTH]).max()
    assert np.abs(lively.astype(int) - frames)[:, :20].mean() < 1  # above the brows: as it was


@given(seed=st.integers(0, 2**31), n=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_no_landmark_goes_further_than_faces_do(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    points = POINTS + rng.normal(0, 20, (n, 68, 2)).astype(np.float32)
    frames = rng.integers(0, 255, (n, SIDE, SIDE, 3), np.uint8)
    _, moved = animate.exaggerated(frames, points, rng)
    most = animate.FURTHEST * animate.eye_distance(points[0])
    still = points[:, animate.ANCHORS]
    poses = [animate.similarity(p, still[n // 2]) for p in still]
    scale = min(np.sqrt(np.linalg.det(m[:, :2])) for m in poses)
    assert np.linalg.norm(moved - points, axis=-1).max() * scale <= most * 1.01


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)
