from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.training import degrade, forge, forge_clip, style
from dfd_batch.training.forge_clip import Clip
from tests.training.conftest import face_image, swapped, template

FACE, POINTS = face_image(160, np.random.default_rng(0)), template() * 160
OTHER = forge.Donor(face_image(160, np.random.default_rng(1))[:, ::-1].copy(), POINTS)


@given(seed=st.integers(0, 2**31), swap=st.booleans())
@settings(max_examples=40, deadline=None)
def test_fake_differs_from_its_twin_only_where_the_mask_is(seed: int, swap: bool) -> None:
    made = forge.forge(FACE, POINTS, np.random.default_rng(seed), OTHER if swap else None)
    difference = np.abs(made.genuine.astype(int) - made.fake).max(-1)
    assert made.mask.min() >= 0
    assert made.mask.max() <= 1
    assert difference[made.mask < 1 / 255].max(initial=0) <= 1
    corners = made.mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 0.05


def test_swaps_are_really_seen() -> None:
    changed = [
        np.abs(m.genuine.astype(int) - m.fake)[m.mask > 0.5].mean()
        for m in (forge.forge(FACE, POINTS, np.random.default_rng(s), OTHER) for s in range(20))
        if (m.mask > 0.5).any()
    ]
    assert np.median(changed) > 5


def test_forging_is_repeatable_and_seeds_differ() -> None:
    one, again, two = (forge.forge(FACE, POINTS, np.random.default_rng(s)) for s in (3, 3, 4))
    assert (one.fake == again.fake).all()
    assert (one.fake != two.fake).any()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_labelled_fake_is_laid_anew_into_its_twin_where_the_mask_is(seed: int) -> None:
    made = forge.reblended(FACE, swapped(FACE), POINTS, np.random.default_rng(seed))
    if made is None:
        return
    assert (made.genuine == FACE).all()
    difference = np.abs(made.genuine.astype(int) - made.fake).max(-1)
    assert difference[made.mask < 1 / 255].max(initial=0) <= 1
    assert difference[made.mask > 0.5].mean() > 2


def test_most_labelled_fakes_can_be_laid_in_anew() -> None:
    made = [
        forge.reblended(FACE, swapped(FACE), POINTS, np.random.default_rng(s)) for s in range(20)
    ]
    assert sum(m is not None for m in made) > 10


@pytest.mark.parametrize("fake", [FACE, cv2.flip(FACE, 0)], ids=["same face", "other moment"])
def test_nothing_is_laid_in_of_the_same_face_or_of_another_moment(fake: forge.Image) -> None:
    for seed in range(20):
        assert forge.reblended(FACE, fake, POINTS, np.random.default_rng(seed)) is None


def test_bending_depends_on_its_seed_alone_and_keeps_the_picture() -> None:
    one, again, other = (style.bent(FACE, seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert np.corrcoef(one.ravel(), FACE.ravel())[0, 1] > 0.9


def test_where_sharpness_shall_prove_nothing_the_fake_is_the_sharper_one() -> None:
    def sharpness(image: forge.Image) -> float:
        return float(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).std())

    for seed in range(20):
        genuine, fake = style.unequal(FACE, FACE, np.random.default_rng(seed))
        assert sharpness(genuine) < sharpness(fake)


def test_rendered_twin_keeps_the_picture_but_not_its_fine_detail() -> None:
    made = forge.rendered(FACE, np.random.default_rng(1))
    assert 0 < np.abs(made.genuine.astype(int) - made.fake).mean() < 20


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_degradation_is_the_same_function_for_both_twins(seed: int) -> None:
    worse = degrade.draw(np.random.default_rng(seed))
    first, again = worse(FACE), worse(FACE)
    assert first.shape == FACE.shape
    assert first.dtype == np.uint8
    assert (first == again).all()


def test_geometry_carries_points_along_with_the_pixels() -> None:
    dot = np.zeros((160, 160, 3), np.uint8)
    cv2.circle(dot, (60, 90), 4, (255, 255, 255), -1)
    for seed in range(20):
        where = degrade.draw_geometry(np.random.default_rng(seed))
        crop = where.crop(dot, 120.0, 96).max(-1).astype(float)
        x, y = where.matrix(160, 120.0, 96) @ np.array([60, 90, 1])
        rows, columns = np.mgrid[:96, :96]
        centre = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
        assert np.abs(centre - (x, y)).max() < 1


def test_h264_round_trip_keeps_order_and_loses_detail_with_crf() -> None:
    frames = [np.roll(FACE, 8 * t, axis=1) for t in range(4)]
    fine, coarse = degrade.h264(frames, 18), degrade.h264(frames, 40)
    errors = [
        [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, out, strict=True)]
        for out in (fine, coarse)
    ]
    assert max(errors[0]) < min(errors[1]) < 30


def test_h264_takes_pictures_of_any_size() -> None:
    ramp = np.tile(np.linspace(0, 255, 75).astype(np.uint8)[:, None, None], (1, 51, 3))
    (out,) = degrade.h264([ramp], 18)
    assert out.shape == ramp.shape
    assert np.abs(out.astype(int) - ramp).mean() < 4


def _clip(n: int = 10) -> Clip:
    rng = np.random.default_rng(5)
    shifts = np.cumsum(rng.normal(0, 2, (n, 2)), 0).astype(np.float32)
    frames = [
        cv2.warpAffine(
            FACE, np.float32([[1, 0, x], [0, 1, y]]), (160, 160), borderMode=cv2.BORDER_REFLECT_101
        )
        for x, y in shifts
    ]
    return Clip(np.stack(frames), POINTS + shifts[:, None], 128.0)


@pytest.mark.parametrize("operation", list(forge_clip.OPERATIONS))
def test_clip_labels_say_which_frames_were_forged(operation: str) -> None:
    partial = 0
    for seed in range(6):
        made = forge_clip.forge_clip(_clip(), np.random.default_rng(seed), OTHER, operation)
        assert made.fake.shape == made.genuine.shape == (10, 160, 160, 3)
        differs = [(a != b).any() for a, b in zip(made.genuine, made.fake, strict=True)]
        assert any(differs)
        assert made.labels.tolist() == [float(d) for d in differs]
        partial += not made.labels.all()
    assert partial


def test_filming_treats_both_twins_alike() -> None:
    clip = _clip()
    for seed in range(6):
        film = forge_clip.draw_filming(10, np.random.default_rng(seed), still=False)
        first, second = film(clip.frames, 128.0, 96), film(clip.frames.copy(), 128.0, 96)
        assert first.shape == (10, 96, 96, 3)
        assert (first == second).all()


@given(seed=st.integers(0, 2**31), n=st.integers(4, 24))
@settings(deadline=None)
def test_troubled_genuine_clips_show_only_their_own_frames(seed: int, n: int) -> None:
    order = forge_clip.hard_genuine(n, np.random.default_rng(seed))
    assert order.shape == (n,)
    assert order.min() >= 0
    assert order.max() < n


def test_polishing_takes_the_texture_and_leaves_the_edges() -> None:
    rng = np.random.default_rng(3)
    picture = np.full((160, 160, 3), 90, np.uint8)
    picture[:, 80:] = 190
    picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    left = []
    for seed in range(12):
        made = forge.polished(picture, np.random.default_rng(seed))
        genuine, fake = (x[..., 1].astype(float) for x in (made.genuine, made.fake))
        left.append(fake[20:140, 100:140].std() / genuine[20:140, 100:140].std())
        steps = [x[:, 90:120].mean() - x[:, 40:70].mean() for x in (genuine, fake)]
        assert steps[1] > 0.8 * steps[0]
    assert np.mean(left) < 0.75


def test_the_trace_of_a_generator_leaves_a_picture_where_it_is() -> None:
    ramp = np.repeat(np.arange(20, 148, dtype=np.uint8)[None, :, None], 128, 0).repeat(3, 2)
    apart = []
    for seed in range(30):
        for turned in (ramp, ramp.transpose(1, 0, 2).copy()):
            out = style.generator_trace(turned, np.random.default_rng(seed)).astype(float)
            apart.append(np.abs((out - turned)[16:-16, 16:-16].mean()))
    assert np.mean(apart) < 0.3  # a pixel is one level
