"""Faces in single frames: MTCNN on reduced pictures, on one processor thread.

A full 1080p frame costs MTCNN over a second, 640 pixels of long side about 45 ms. A `Look` says
how a frame is prepared; the cheap one is tried first, `dear_looks` are for objects that seem to
show nobody (tight crops, dark pictures, far people, phone clips lying on their side).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dfd_batch.faces.cascade import NO_FACES, Cascade, Faces
from dfd_batch.faces.crop import Frame, Points, halved

TARGET_PX = 64
"""A known face is looked for again at this height: MTCNN's last network sees 48 pixels."""
LONG_SIDE_STEP = 64
"""Sides of closer looks are multiples of it: each new size of a picture costs the compiled networks
a millisecond."""
DEAR_LONG_SIDE = 1280
DIM_LUMA = 80.0
"""Pictures darker than this on average get a brightened look."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in one frame, in the frame's pixels."""

    box: NDArray[np.float32]  # (4,) x0 y0 x1 y1
    landmarks: Points  # (5, 2) eyes, nose, mouth corners
    confidence: float

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True)
class Look:
    """How a frame is prepared for the detector."""

    long_side: int
    min_face_px: int  # of the reduced frame
    pad: float = 0.0  # border of replicated edges on each side, in short sides of the frame
    gamma: float = 1.0  # < 1 brightens
    evened: bool = False  # local contrast made alike everywhere
    turns: int = 0  # quarter turns counter-clockwise that bring the face upright
    confidence: float = 0.9  # of a face's best detection
    thorough: bool = False  # finer steps of size and weaker candidates: twice the cost


def closer(look: Look, height_px: float, frame_long_side: int) -> Look:
    """Return a cheaper look that still shows faces of the known height well.

    Args:
        look: The whole look that found them.
        height_px: Height of the smallest known face in pixels of the frame.
        frame_long_side: Of the frame, in pixels.
    """
    steps = max(1, math.ceil(frame_long_side * TARGET_PX / height_px / LONG_SIDE_STEP))
    if steps * LONG_SIDE_STEP >= look.long_side:
        return look
    return replace(look, long_side=steps * LONG_SIDE_STEP, min_face_px=TARGET_PX // 2)


def dear_looks(look: Look, luma: float) -> list[Look]:
    """Return the looks to try where the cheap one showed nobody, upright ones first.

    The evened one is for faces of little contrast, as many face swaps have around the eyes. Its
    pictures look unlike those that MTCNN learned from, so it comes after those it could replace.

    Args:
        look: The cheap look.
        luma: Mean brightness of the frame, 0..255.
    """
    sure = replace(look, confidence=max(look.confidence, 0.95), thorough=True)
    looks = [
        replace(sure, pad=0.5, min_face_px=max(look.min_face_px, 40)),
        replace(sure, long_side=max(DEAR_LONG_SIDE, look.long_side), min_face_px=20),
    ]
    if luma < DIM_LUMA:
        looks.append(replace(sure, gamma=0.4))
    looks.append(replace(looks[0], evened=True))
    return looks + [replace(sure, turns=turns) for turns in (1, 3, 2)]


class Detector:
    """MTCNN, loaded once per process.

    It runs on one thread: a scan has as many of them as it has cores, and two threads per core
    only wait for each other.
    """

    def __init__(self) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self._cascade = Cascade()

    def look(self, frames: Sequence[Frame], look: Look) -> list[list[Detection]]:
        """Return the faces of each frame, largest first, down to MTCNN's own threshold of 0.7.

        Args:
            frames: (H, W, 3) each, all of one size, already turned.
            look: How to look at them.
        """
        if not frames:
            return []
        found = self._once(frames, look)
        if look.pad == 0:
            self._again_at_edges(frames, look, found)
        return found

    def _again_at_edges(
        self, frames: Sequence[Frame], look: Look, found: list[list[Detection]]
    ) -> None:
        """Replace, in place, faces that reach over the picture's edge by those of a padded look.

        MTCNN squeezes the visible part of such a face into its square and misplaces the landmarks.
        """
        height, width = frames[0].shape[:2]
        for i, faces in enumerate(found):
            over = [face for face in faces if _reaches_over(face, width, height)]
            if not over:
                continue
            smallest = min(face.height for face in over)
            padded = closer(replace(look, pad=0.5), smallest, max(width, height))
            (again,) = self._once([frames[i]], padded)
            for face in over:
                best = max(again, key=lambda other: iou(face.box, other.box), default=None)
                if best is not None and iou(face.box, best.box) > 0.3:
                    faces[faces.index(face)] = best

    def _once(self, frames: Sequence[Frame], look: Look) -> list[list[Detection]]:
        """Return the plausible faces of each frame."""
        height, width = frames[0].shape[:2]
        scale = min(1.0, look.long_side / max(height, width))
        prepared = [_prepare(frame, look, scale) for frame in frames]
        border = round(min(prepared[0].shape[:2]) * look.pad)
        if border:
            prepared = [_padded(picture, border) for picture in prepared]
        found = []
        for picture in prepared:
            boxes, confidences, landmarks = self._run(picture, look)
            faces = [
                Detection((box - border) / scale, (points - border) / scale, float(confidence))
                for box, confidence, points in zip(boxes, confidences, landmarks, strict=True)
            ]
            faces = [face for face in faces if _plausible(face, width, height)]
            found.append(sorted(faces, key=lambda face: -face.height))
        return found

    def _run(self, picture: Frame, look: Look) -> Faces:
        """Return the cascade's faces of a prepared picture."""
        if min(picture.shape[:2]) <= look.min_face_px:
            return NO_FACES
        factor = 0.709 if look.thorough else 0.6
        thresholds = (0.6 if look.thorough else 0.7, 0.7, 0.7)
        return self._cascade(picture, look.min_face_px, factor, thresholds)


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the intersection over union of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / union if union > 0 else 0.0


def _prepare(frame: Frame, look: Look, scale: float) -> Frame:
    """Return the frame reduced, brightened and evened."""
    picture = frame
    if scale < 1:
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        picture = halved(frame, int(math.log2(1 / scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if look.gamma != 1:
        table = (255 * (np.arange(256) / 255) ** look.gamma).round().astype(np.uint8)
        picture = table[picture]
    return _evened(picture) if look.evened else picture


def _evened(picture: Frame) -> Frame:
    """Return the picture with its local contrast equalised (CLAHE; Zuiderveld, 1994)."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (4, 4)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8, copy=False)


def _padded(picture: Frame, border: int) -> Frame:
    """Return the picture with its edges replicated by `border` pixels on each side."""
    padded = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
    return padded.astype(np.uint8, copy=False)


def _plausible(face: Detection, width: int, height: int) -> bool:
    """Whether a detection has a face's proportions, stands upright and lies in the picture."""
    x0, y0, x1, y1 = face.box
    if not (x1 - x0 > 0 and 0.7 < (y1 - y0) / (x1 - x0) < 2.2):
        return False
    left, right, _, mouth_left, mouth_right = face.landmarks
    down = (mouth_left + mouth_right - left - right) / 2
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return bool(down[1] > abs(down[0]) and 0 <= cx <= width and 0 <= cy <= height)


def _reaches_over(face: Detection, width: int, height: int) -> bool:
    """Whether the square that MTCNN looked at reaches over the picture's edge."""
    centre = (face.box[:2] + face.box[2:]) / 2
    half = 0.46 * max(face.box[2:] - face.box[:2])  # a pixel or two over the edge do no harm
    return bool(np.any(centre - half < 0) or np.any(centre + half > (width, height)))
