"""MTCNN's cascade (Zhang et al., 2016) with facenet-pytorch's weights, made for one CPU thread.

The same boxes as facenet-pytorch's, at less than half the cost: its area interpolation, which took
most of the time, becomes differences of one integral image per picture, and the networks run
compiled. P-Net proposes at the scales of a pyramid, R-Net refuses, O-Net refuses and places
landmarks; boxes of one face are merged in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dfd_batch.inference import CpuNetwork

Floats = NDArray[np.float32]
Integral = NDArray[np.int32]

CELL, STRIDE = 12, 2
"""Side and step of P-Net's windows in pixels of its input."""
R_SIDE, O_SIDE = 24, 48
"""Sides of the pictures that R-Net and O-Net see."""
SAME_SCALE, SAME_PICTURE = 0.5, 0.7
"""Overlap (IoU) above which two proposals are one face, inside a scale and over all scales."""


class Faces(NamedTuple):
    """The faces of one picture, in its pixels."""

    boxes: Floats  # (n, 4) x0 y0 x1 y1
    confidences: Floats  # (n,)
    landmarks: Floats  # (n, 5, 2)


NO_FACES = Faces(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
)


class Cascade:
    """The three networks, loaded and compiled once per process."""

    def __init__(self) -> None:
        from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

        self._propose = CpuNetwork(PNet().eval(), torch.zeros(1, 3, 64, 64), free=(0, 2, 3))
        self._refuse = CpuNetwork(RNet().eval(), torch.zeros(1, 3, R_SIDE, R_SIDE), free=(0,))
        self._place = CpuNetwork(ONet().eval(), torch.zeros(1, 3, O_SIDE, O_SIDE), free=(0,))

    def __call__(
        self,
        picture: NDArray[np.uint8],
        min_face_px: int,
        factor: float,
        thresholds: tuple[float, float, float],
    ) -> Faces:
        """Return the faces of a picture.

        Args:
            picture: (H, W, 3) RGB.
            min_face_px: Smallest face that is looked for, in pixels of the picture.
            factor: From one scale of the pyramid to the next.
            thresholds: Least confidence of each network.
        """
        height, width = picture.shape[:2]
        sums = _integral(picture)
        proposed = [
            self._proposals(sums, scale, thresholds[0])
            for scale in _scales(min(height, width), min_face_px, factor)
        ]
        found = np.concatenate(proposed) if proposed else np.zeros((0, 9), np.float32)
        found = found[_apart(found[:, :4], found[:, 4], SAME_PICTURE)]
        sides = np.tile(found[:, 2:4] - found[:, :2], 2)
        boxes = _square(found[:, :4] + found[:, 5:] * sides)
        boxes = self._refused(sums, boxes, thresholds[1])
        return self._placed(sums, boxes, thresholds[2])

    def _proposals(self, sums: Integral, scale: float, threshold: float) -> Floats:
        """Return P-Net's windows at one scale: (n, 9) box, confidence, corrections."""
        height, width = sums.shape[1] - 1, sums.shape[2] - 1
        size = int(height * scale + 1), int(width * scale + 1)
        move, sure = self._propose(torch.from_numpy(_whole(sums, size)))
        confidences = sure.numpy()[0, 1]
        y, x = np.nonzero(confidences >= threshold)
        if not len(y):
            return np.zeros((0, 9), np.float32)
        corner = np.stack([x, y], 1).astype(np.float32) * STRIDE + 1
        boxes = np.concatenate([corner / scale, (corner + CELL - 1) / scale], 1)
        told = confidences[y, x]
        found = np.concatenate([np.floor(boxes), told[:, None], move.numpy()[0][:, y, x].T], 1)
        found = found.astype(np.float32)
        return found[_apart(found[:, :4], found[:, 4], SAME_SCALE)]

    def _refused(self, sums: Integral, boxes: Floats, threshold: float) -> Floats:
        """Return the squares that R-Net takes for faces, moved as it says."""
        boxes, inside = _inside(sums, boxes)
        if not len(boxes):
            return boxes
        move, sure = self._refuse(torch.from_numpy(_parts(sums, inside, R_SIDE)))
        confidences = sure.numpy()[:, 1]
        kept = confidences > threshold
        boxes, confidences, moved = boxes[kept], confidences[kept], move.numpy()[kept]
        apart = _apart(boxes, confidences, SAME_PICTURE)
        return _square(_moved(boxes[apart], moved[apart]))

    def _placed(self, sums: Integral, boxes: Floats, threshold: float) -> Faces:
        """Return the squares that O-Net takes for faces, moved, with landmarks."""
        boxes, inside = _inside(sums, boxes)
        if not len(boxes):
            return NO_FACES
        move, points, sure = self._place(torch.from_numpy(_parts(sums, inside, O_SIDE)))
        confidences = sure.numpy()[:, 1]
        kept = confidences > threshold
        boxes, confidences = boxes[kept], confidences[kept]
        placed = points.numpy()[kept].reshape(-1, 2, 5).transpose(0, 2, 1)
        landmarks = boxes[:, None, :2] - 1 + placed * _sides(boxes)[:, None]
        boxes = _moved(boxes, move.numpy()[kept])
        apart = _apart_by_smaller(boxes, confidences, SAME_PICTURE)
        return Faces(boxes[apart], confidences[apart], landmarks[apart].astype(np.float32))


def _scales(short_side: int, min_face_px: int, factor: float) -> Iterator[float]:
    """Yield the scales at which P-Net's window fits faces from the smallest to the picture."""
    scale = CELL / min_face_px
    while short_side * scale >= CELL:
        yield scale
        scale *= factor


def _integral(picture: NDArray[np.uint8]) -> Integral:
    """Return the sums (3, H + 1, W + 1) of all pixels above and to the left."""
    return np.stack([cv2.integral(plane) for plane in cv2.split(picture)])


def _whole(sums: Integral, size: tuple[int, int]) -> Floats:
    """Return a whole picture as a network sees it; see `_parts`."""
    (top, bottom), (left, right) = (
        _bins(np.zeros(1, np.int64), np.array([n - 1]), cells)
        for n, cells in zip(sums.shape[1:], size, strict=True)
    )
    # Rows first: they are contiguous, and few of them are left for the columns.
    rows = sums.take(bottom[0], 1) - sums.take(top[0], 1)
    total = rows.take(right[0], 2) - rows.take(left[0], 2)
    return _scaled(total[None], (bottom - top)[:, None, :, None] * (right - left)[:, None, None])


def _parts(sums: Integral, boxes: NDArray[np.integer], side: int) -> Floats:
    """Return parts of a picture as a network sees them, (n, 3, side, side) of about -1..1.

    Pixels are means of whole pixels, which neighbours share where the size does not divide: as
    `torch.nn.functional.adaptive_avg_pool2d`, at a cost that does not depend on the parts' sizes.

    Args:
        sums: (3, H + 1, W + 1), the picture's integral image.
        boxes: (n, 4) x0 y0 x1 y1, whole pixels inside the picture, at least one wide and high.
        side: Of the result.
    """
    top, bottom = (edge[:, :, None] for edge in _bins(boxes[:, 1], boxes[:, 3], side))
    left, right = (edge[:, None] for edge in _bins(boxes[:, 0], boxes[:, 2], side))
    planes, width = sums.reshape(len(sums), -1), sums.shape[2]
    below, above = bottom * width, top * width
    total = planes.take(below + right, 1) - planes.take(above + right, 1)
    total += planes.take(above + left, 1)
    total -= planes.take(below + left, 1)
    return _scaled(total.transpose(1, 0, 2, 3), ((bottom - top) * (right - left))[:, None])


def _scaled(total: Integral, area: NDArray[np.integer]) -> Floats:
    """Return means of sums over areas, scaled for the networks."""
    scale = np.float32(1 / 128) / area.astype(np.float32)
    return np.ascontiguousarray(total * scale - np.float32(127.5 / 128), np.float32)


def _bins(
    begin: NDArray[np.integer], end: NDArray[np.integer], n: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return first and last + 1 (m, n) of the pixels that each of n cells of a span covers."""
    length, cell = (end - begin)[:, None], np.arange(n)[None]
    return begin[:, None] + cell * length // n, begin[:, None] - (-(cell + 1) * length // n)


def _inside(sums: Integral, boxes: Floats) -> tuple[Floats, NDArray[np.integer]]:
    """Return the boxes that show anything of the picture, and what of it, in whole pixels."""
    height, width = sums.shape[1] - 1, sums.shape[2] - 1
    part = boxes.astype(np.int32)  # towards zero
    part[:, :2] = np.maximum(part[:, :2], 1) - 1
    part[:, 2:] = np.minimum(part[:, 2:], (width, height))
    shown = (part[:, 2] > part[:, 0]) & (part[:, 3] > part[:, 1])
    return boxes[shown], part[shown]


def _sides(boxes: Floats) -> Floats:
    """Return widths and heights (n, 2), counting both edges."""
    return boxes[:, 2:4] - boxes[:, :2] + 1


def _moved(boxes: Floats, move: Floats) -> Floats:
    """Return boxes whose edges are moved by shares of their sides."""
    return boxes[:, :4] + move * np.tile(_sides(boxes), 2)


def _square(boxes: Floats) -> Floats:
    """Return squares of the longer side around the same centres."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    longest = sides.max(1, keepdims=True) if len(boxes) else sides[:, :1]
    corner = boxes[:, :2] + sides * np.float32(0.5) - longest * np.float32(0.5)
    return np.concatenate([corner, corner + longest], 1)


def _apart(boxes: Floats, confidences: Floats, most: float) -> NDArray[np.int64]:
    """Return the indices of boxes that are kept, best first, where no two overlap more."""
    if len(boxes) < 2:
        return np.arange(len(boxes))
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]], 1).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), confidences.tolist(), 0.0, most)
    return np.asarray(kept, np.int64)


def _apart_by_smaller(boxes: Floats, confidences: Floats, most: float) -> NDArray[np.intp]:
    """Return the same, overlaps counted as shares of the smaller box: faces hold no other faces."""
    areas = _sides(boxes).prod(1)
    left = np.argsort(confidences)[::-1]
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[left, :2])
        common = np.maximum(np.minimum(boxes[best, 2:4], boxes[left, 2:4]) - corner + 1, 0).prod(1)
        left = left[common / np.minimum(areas[best], areas[left]) <= most]
    return np.array(kept, np.intp)
