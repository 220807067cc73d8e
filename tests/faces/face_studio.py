from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.faces.cropper import FaceCropper, ObjectFaces
from dfd_batch.schema import Clip, FaceCrops, Probe

Picture = NDArray[np.uint8]


class Studio:
    """Puts pictures before the cropper as objects."""

    def __init__(self, cropper: FaceCropper) -> None:
        self.cropper = cropper

    def start(self, media: str = "video") -> ObjectFaces:
        return self.cropper.start(Probe(media, "", "", None, None, 1, 1))

    def image(self, picture: Picture) -> FaceCrops:
        faces = self.start("image")
        faces.add(Clip(0, picture[None], np.zeros(1)))
        return faces.finish()

    def video(self, *clips: list[Picture], scale: float = 1.0) -> FaceCrops:
        faces = self.start()
        for i, frames in enumerate(clips):
            frames_at = np.arange(len(frames)) / 25 + 10.0 * i
            faces.add(Clip(i, np.stack(frames), frames_at, scale))
        return faces.finish()


def pan(picture: Picture, n: int = 16, step_px: float = 2.0, zoom: float = 0.0) -> list[Picture]:
    """Return n frames in which the picture moves to the right and grows by `zoom` a frame."""
    height, width = picture.shape[:2]
    return [
        cv2.warpAffine(
            picture,
            np.array([[1 + zoom * i, 0, step_px * i], [0, 1 + zoom * i, 0]], np.float32),
            (width, height),
            borderMode=cv2.BORDER_REPLICATE,
        )
        for i in range(n)
    ]


def side_by_side(left: Picture, right: Picture, height: int = 400) -> Picture:
    """Return two pictures at one height, beside each other."""
    return np.hstack(
        [
            cv2.resize(p, (p.shape[1] * height // p.shape[0], height), interpolation=cv2.INTER_AREA)
            for p in (left, right)
        ]
    )
