from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import skimage.data

from dfd_batch.checkpoint import Preprocessing
from dfd_batch.faces.cropper import FaceCropper
from dfd_batch.faces.detect import Detector, Look, iou
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Probe
from dfd_batch.settings import Faces
from tests.faces.face_studio import Picture, Studio, pan, side_by_side

FACE = np.array([180, 59, 268, 175], np.float32)  # of skimage's astronaut


def test_a_portrait_gives_one_crop_around_its_face(studio: Studio, eileen: Picture) -> None:
    crops = studio.image(eileen)
    assert (len(crops), crops.n_faces) == (1, 1)
    assert crops.crops.shape == (1, 192, 192, 3)
    assert iou(crops.boxes[0], FACE) > 0.8
    left, right, nose, mouth_left, mouth_right = crops.landmarks[0]
    assert left[0] < nose[0] < right[0]
    assert left[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < mouth_right[0]


def test_a_moving_face_is_followed_through_all_frames_of_its_clips(
    studio: Studio, eileen: Picture
) -> None:
    crops = studio.video(pan(eileen, step_px=5), pan(eileen, step_px=-3))
    assert crops.clips.tolist() == [0] * 16 + [1] * 16
    assert crops.tracks.tolist() == [0] * 32
    assert crops.times_s.tolist() == [*(np.arange(16) / 25), *(10 + np.arange(16) / 25)]
    for i, box in enumerate(crops.boxes[:16]):
        assert iou(box, FACE + np.array([5 * i, 0, 5 * i, 0], np.float32)) > 0.8


def test_crops_of_a_smoothly_moving_face_hold_still(studio: Studio, eileen: Picture) -> None:
    crops = studio.video(pan(eileen, step_px=2.5)).crops.astype(np.float32)
    steps = [np.abs(b - a).mean() for a, b in pairwise(crops)]
    assert max(steps) < 4


def test_a_growing_face_is_followed(studio: Studio, eileen: Picture) -> None:
    boxes = studio.video(pan(eileen, step_px=0, zoom=0.03)).boxes
    heights = boxes[:, 3] - boxes[:, 1]
    assert heights[-1] / heights[0] == pytest.approx(1.45, abs=0.12)


def test_two_people_keep_a_track_each_through_the_video(
    studio: Studio, eileen: Picture, grace: Picture
) -> None:
    together = side_by_side(eileen, grace)
    crops = studio.video(pan(together), pan(together, step_px=-1))
    assert crops.n_faces == 2
    assert len(crops) == 64
    for track in (0, 1):
        centres = crops.boxes[crops.tracks == track][:, [0, 2]].mean(axis=1)
        assert np.ptp(centres) < 60
    assert np.unique(crops.clips[crops.tracks == 0]).tolist() == [0, 1]


def test_a_cut_ends_tracks_and_nothing_is_interpolated_over_it(
    studio: Studio, eileen: Picture, grace: Picture
) -> None:
    other = cv2.resize(grace, (512, 512))
    crops = studio.video(pan(eileen, 7) + pan(other, 9))
    assert crops.n_faces == 2
    assert np.bincount(crops.tracks).tolist() == [7, 9]
    first, second = crops.times_s[crops.tracks == 0], crops.times_s[crops.tracks == 1]
    assert first.max() < 7 / 25 <= second.min()


def test_a_person_who_returns_in_a_later_clip_is_the_same_track(
    studio: Studio, eileen: Picture, grace: Picture
) -> None:
    other = cv2.resize(grace, (512, 512))
    crops = studio.video(pan(eileen), pan(other), pan(eileen, step_px=1))
    by_clip = [np.unique(crops.tracks[crops.clips == clip]).tolist() for clip in range(3)]
    assert by_clip == [[0], [1], [0]]


@pytest.mark.parametrize("turns", [1, 3])
def test_a_face_lying_on_its_side_is_cropped_upright(
    studio: Studio, eileen: Picture, turns: int
) -> None:
    lying = np.ascontiguousarray(np.rot90(eileen, turns))
    crops = studio.video(pan(lying), pan(lying))
    upright = studio.image(eileen)
    assert len(crops) == 32
    alike = np.corrcoef(crops.crops[0].ravel(), upright.crops[0].ravel())[0, 1]
    assert alike > 0.9  # 0.3 between this crop and its quarter turns
    height, width = eileen.shape[:2]
    x, y = upright.landmarks[0].T
    expected = {1: (y, width - x), 3: (height - y, x)}[turns]
    assert crops.landmarks[0] == pytest.approx(np.stack(expected, axis=1), abs=8)


def test_a_tight_crop_that_the_face_fills_is_found(studio: Studio, eileen: Picture) -> None:
    tight = np.ascontiguousarray(cv2.resize(eileen[62:170, 170:278], (224, 224)))
    crops = studio.image(tight)
    assert len(crops) == 1
    assert 0.75 < (crops.boxes[0, 3] - crops.boxes[0, 1]) / 224 < 1.3


@pytest.mark.parametrize("turns", [0, 1])
def test_a_still_cut_to_its_face_is_judged_without_invented_edges(
    studio: Studio, eileen: Picture, turns: int
) -> None:
    tight = cv2.resize(eileen[66:176, 180:270], (200, 244), interpolation=cv2.INTER_CUBIC)
    crop = studio.image(np.ascontiguousarray(np.rot90(tight, turns))).crops[0].astype(int)
    assert np.abs(np.diff(crop, axis=0)).sum((1, 2)).min() > 0
    assert np.abs(np.diff(crop, axis=1)).sum((0, 2)).min() > 0


def test_a_still_with_room_around_the_face_is_cut_as_a_film_is(
    studio: Studio, eileen: Picture
) -> None:
    corner = np.ascontiguousarray(eileen[60:, 180:])  # the square reaches over two edges
    assert np.array_equal(studio.image(corner).crops, studio.video([corner]).crops)


def test_a_small_face_in_a_large_picture_is_found(studio: Studio, eileen: Picture) -> None:
    rng = np.random.default_rng(0)
    room = cv2.resize(rng.integers(60, 160, (9, 16, 3)).astype(np.uint8), (1920, 1080))
    room[500:700, 900:1100] = cv2.resize(eileen, (200, 200), interpolation=cv2.INTER_AREA)
    crops = studio.video(pan(room, 3))
    assert len(crops) == 3
    assert crops.boxes[0] == pytest.approx(np.tile([900, 500], 2) + FACE * 200 / 512, abs=6)


def test_a_dim_face_is_found(studio: Studio, eileen: Picture) -> None:
    noise = np.random.default_rng(0).normal(0, 3, eileen.shape)
    dim = np.clip(eileen * 0.22 + noise, 0, 255).astype(np.uint8)
    assert len(studio.image(dim)) == 1


def test_a_face_of_little_contrast_is_found(studio: Studio, eileen: Picture) -> None:
    noise = np.random.default_rng(0).normal(0, 2, eileen.shape)
    crops = studio.image((eileen * 0.1 + 110 + noise).astype(np.uint8))
    assert len(crops) == 1
    assert iou(crops.boxes[0], FACE) > 0.7


def test_boxes_are_in_displayed_pixels_whatever_the_decoded_size(
    studio: Studio, eileen: Picture
) -> None:
    half = cv2.resize(eileen, (256, 256), interpolation=cv2.INTER_AREA)
    assert iou(studio.video(pan(half, 3, 0), scale=0.5).boxes[0], FACE) > 0.8


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket"])
def test_a_picture_of_nobody_is_no_face(studio: Studio, name: str) -> None:
    with pytest.raises(MediaFault, match="no face was found in 1 frame,") as fault:
        studio.image(np.ascontiguousarray(getattr(skimage.data, name)()))
    assert fault.value.outcome is Outcome.NO_FACE


def test_a_tiny_face_is_too_small_and_says_its_size(studio: Studio, eileen: Picture) -> None:
    tiny = np.full((480, 640, 3), 120, np.uint8)
    tiny[200:312, 300:412] = cv2.resize(eileen, (112, 112), interpolation=cv2.INTER_AREA)
    with pytest.raises(MediaFault, match=r"largest face is 2\d px high, at least 36 px") as fault:
        studio.image(tiny)
    assert fault.value.outcome is Outcome.FACE_TOO_SMALL


def test_a_hopelessly_dark_face_is_too_dark(studio: Studio, eileen: Picture) -> None:
    with pytest.raises(MediaFault, match="at least 18 is needed") as fault:
        studio.image((eileen * 0.09).astype(np.uint8))
    assert fault.value.outcome is Outcome.TOO_DARK


def test_a_hopelessly_blurred_face_is_too_blurry(studio: Studio, eileen: Picture) -> None:
    with pytest.raises(MediaFault, match="Laplacian") as fault:
        studio.image(cv2.GaussianBlur(eileen, (0, 0), 6))
    assert fault.value.outcome is Outcome.TOO_BLURRY


def test_an_object_without_frames_is_no_face(studio: Studio) -> None:
    with pytest.raises(MediaFault, match="in 0 frames"):
        studio.start().finish()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (20, 20), (300, 2)])
def test_pictures_too_small_to_hold_a_face_do_no_harm(
    studio: Studio, shape: tuple[int, int]
) -> None:
    with pytest.raises(MediaFault):
        studio.image(np.full((*shape, 3), 90, np.uint8))


def test_crops_outlive_the_memory_of_their_clip(studio: Studio, eileen: Picture) -> None:
    faces = studio.start()
    frames = np.stack(pan(eileen, 4))
    times_s = np.arange(4) / 25
    faces.add(Clip(0, frames, times_s))
    frames[:], times_s[:] = 0, -1
    crops = faces.finish()
    assert crops.crops.mean() > 40
    assert crops.times_s.tolist() == (np.arange(4) / 25).tolist()


def test_the_same_object_gives_the_same_crops_again(
    studio: Studio, eileen: Picture, grace: Picture
) -> None:
    clip = pan(side_by_side(eileen, grace), 6)
    first, again = studio.video(clip), studio.video(clip)
    assert np.array_equal(first.crops, again.crops)
    assert np.array_equal(first.landmarks, again.landmarks)


def test_faces_per_frame_and_crop_size_follow_the_settings(eileen: Picture, grace: Picture) -> None:
    cropper = FaceCropper(Faces(max_faces_per_frame=1, max_crops=10), Preprocessing(crop_size=64))
    faces = cropper.start(Probe("video", "", "", None, None, 1, 1))
    for i in range(3):
        frames = np.stack(pan(side_by_side(eileen, grace), 5))
        faces.add(Clip(i, frames, i + np.arange(5) / 25))
    crops = faces.finish()
    assert crops.crops.shape == (10, 64, 64, 3)
    assert crops.n_faces == 1


def test_a_face_over_the_pictures_edge_keeps_its_landmarks(eileen: Picture) -> None:
    detector = Detector()
    (whole,), (partly,) = (
        detector.look([eileen], Look(640, 30)),
        detector.look([np.ascontiguousarray(eileen[:, 200:])], Look(640, 30)),
    )
    shifted = whole[0].landmarks - np.array([200, 0], np.float32)
    assert partly[0].landmarks == pytest.approx(shifted, abs=12)
