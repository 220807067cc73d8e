from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.faces.crop import Square, cut, face_size, face_square
from dfd_batch.faces.turn import turned, unturned, unturned_boxes

LANDMARKS = np.array([[40, 50], [70, 50], [55, 65], [43, 80], [67, 80]], np.float32)


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, x + y], axis=-1).astype(np.uint8)


def test_square_is_centred_between_eyes_and_mouth_and_scales_with_the_face() -> None:
    square = face_square(LANDMARKS, margin=2.15)
    assert square.x == pytest.approx(55)
    assert square.y == pytest.approx(65, abs=2)
    assert square.side == pytest.approx(2.15 * 1.08 * 30)
    twice = face_square(LANDMARKS * 2, margin=2.15)
    assert twice == pytest.approx(tuple(2 * value for value in square))


def test_landmarks_land_where_they_lie_in_the_labelled_crops() -> None:
    # Medians over 158 face crops of the DFDC training set, fractions of the crop's side.
    labelled = np.array(
        [[0.304, 0.290], [0.720, 0.281], [0.506, 0.502], [0.341, 0.750], [0.689, 0.750]]
    )
    square = face_square((labelled * 224).astype(np.float32), margin=2.15)
    assert square.side == pytest.approx(224, rel=0.05)
    assert (square.x, square.y) == pytest.approx((112, 112), abs=0.025 * 224)


def test_a_nodding_head_keeps_its_size() -> None:
    nodding = LANDMARKS.copy()
    nodding[3:, 1] = 62  # the mouth comes up to the eyes
    assert face_size(nodding) == pytest.approx(face_size(LANDMARKS), rel=0.01)


def test_an_aligned_cut_of_equal_size_returns_the_pixels_themselves() -> None:
    frame = gradient(100, 120)
    assert np.array_equal(cut(frame, Square(50, 40, 32), 32), frame[24:56, 34:66])


@given(x=st.floats(30, 90), y=st.floats(30, 90), side=st.floats(10, 50), size=st.integers(16, 48))
def test_every_crop_pixel_shows_the_place_it_stands_for(
    x: float, y: float, side: float, size: int
) -> None:
    crop = cut(gradient(120, 120), Square(x, y, side), size).astype(float)
    centres = (np.arange(size) + 0.5) * side / size - side / 2 - 0.5
    assert np.abs(crop[:, :, 0] - (x + centres)[None, :]).max() <= 1.6
    assert np.abs(crop[:, :, 1] - (y + centres)[:, None]).max() <= 1.6


@given(
    x=st.floats(-300, 400),
    y=st.floats(-300, 400),
    side=st.floats(0.1, 500),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
)
def test_any_square_gives_a_crop_made_of_the_pictures_own_colours(
    x: float, y: float, side: float, height: int, width: int
) -> None:
    frame = gradient(height, width)
    crop = cut(frame, Square(x, y, side), 24)
    assert crop.shape == (24, 24, 3)
    assert crop.dtype == np.uint8
    assert crop.min() >= frame.min()
    assert crop.max() <= frame.max()


def test_the_outside_repeats_the_edge() -> None:
    frame = gradient(50, 50)
    crop = cut(frame, Square(0, 25, 40), 40)
    assert np.array_equal(crop[:, 0], crop[:, 10])


def test_shrinking_does_not_alias() -> None:
    checks = (np.indices((200, 200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = cut(np.dstack([checks] * 3), Square(100, 100, 180), 30)
    assert crop.std() < 3


def test_cropping_a_reduced_frame_shows_the_same_part_of_the_picture(eileen: np.ndarray) -> None:
    import cv2

    at = np.array([[207, 101], [243, 101], [228, 122], [208, 138], [241, 138]], np.float32)
    half = cv2.resize(eileen, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    whole = cut(eileen, face_square(at, 2.15), 48)
    reduced = cut(half, face_square(at / 2, 2.15), 48)
    assert np.abs(whole.astype(int) - reduced).mean() < 4


@given(turns=st.integers(0, 3), x=st.integers(0, 19), y=st.integers(0, 9))
def test_points_of_a_turned_picture_come_back(turns: int, x: int, y: int) -> None:
    frame = np.zeros((10, 20, 3), np.uint8)
    frame[y, x] = 255
    row, column = np.argwhere(turned(frame, turns)[:, :, 0])[0]
    back = unturned(np.array([[column + 0.5, row + 0.5]], np.float32), turns, 10, 20)
    assert back[0] == pytest.approx([x + 0.5, y + 0.5])
    box = np.array([column, row, column + 1, row + 1], np.float32)
    assert unturned_boxes(box, turns, 10, 20) == pytest.approx([x, y, x + 1, y + 1])


def test_training_can_use_the_geometry_without_loading_torch() -> None:
    code = "import sys, dfd_batch.faces.crop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
