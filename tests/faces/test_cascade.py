"""The cascade finds what facenet-pytorch's MTCNN finds, its oracle."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.demo.photographs import astronaut, cameraman, coffee, hopper
from dfd_batch.faces.cascade import Cascade, Faces, _integral, _parts, _whole

SURE = (0.7, 0.7, 0.7)
PICTURES = {
    "astronaut": lambda: astronaut().picture,
    "hopper": lambda: hopper().picture,
    "both": lambda: np.hstack([astronaut().picture, hopper().picture[:512]]),
    "profile": cameraman,
    "nobody": coffee,
    "far": lambda: cv2.resize(np.tile(astronaut().picture, (3, 4, 1)), None, fx=0.3, fy=0.3),
    "cut off": lambda: astronaut().picture[:150, 180:420],
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8),
}


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade()


def oracle(picture: np.ndarray, smallest: int, factor: float, thresholds: tuple) -> Faces:
    torch.set_num_threads(1)
    network = MTCNN(keep_all=True, min_face_size=smallest, factor=factor, thresholds=thresholds)
    with torch.inference_mode():
        boxes, sure, points = network.detect(picture, landmarks=True)
    if boxes is None:
        return Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    return Faces(*(np.asarray(part, np.float32) for part in (boxes, sure, points)))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("look", [(30, 0.6, SURE), (20, 0.709, (0.6, 0.7, 0.7))], ids=str)
def test_the_faces_are_those_of_the_library(cascade: Cascade, name: str, look: tuple) -> None:
    picture = np.ascontiguousarray(PICTURES[name]())
    ours, theirs = cascade(picture, *look), oracle(picture, *look)
    assert len(ours.boxes) == len(theirs.boxes)
    one, other = np.argsort(-ours.confidences), np.argsort(-theirs.confidences)
    assert np.allclose(ours.boxes[one], theirs.boxes[other], atol=0.02)
    assert np.allclose(ours.landmarks[one], theirs.landmarks[other], atol=0.02)
    assert np.allclose(ours.confidences[one], theirs.confidences[other], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(1, 50), st.data())
def test_pictures_shrink_as_adaptive_average_pooling_does(
    height: int, width: int, rows: int, columns: int, data: st.DataObject
) -> None:
    picture = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    values = torch.from_numpy((picture.astype(np.float32) - 127.5) / 128).permute(2, 0, 1)
    pooled = torch.nn.functional.adaptive_avg_pool2d
    sums = _integral(picture)
    whole = _whole(sums, (rows, columns))[0]
    assert np.allclose(whole, pooled(values, (rows, columns)).numpy(), atol=1e-4)
    part = _parts(sums, np.array([[x0, y0, x1, y1]]), rows)[0]
    assert np.allclose(part, pooled(values[:, y0:y1, x0:x1], (rows, rows)).numpy(), atol=1e-4)
