"""Photographs that ship inside scikit-image and matplotlib, with the faces in them.

They are constants of those packages, so the positions of eyes, nose and mouth corners are
constants too: swapping faces needs no detector, and no download.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True)
class Portrait:
    """A photograph and the face in it.

    Args:
        picture: (H, W, 3) RGB.
        landmarks: (5, 2) pixels: the eyes left to right, the nose, the mouth corners.
    """

    picture: Picture
    landmarks: NDArray[np.float64]


def astronaut() -> Portrait:
    """Return Eileen Collins, NASA 1999, public domain (scikit-image), 512 x 512."""
    return Portrait(
        _sample("astronaut"),
        np.array([(205.0, 101.7), (246.8, 103.7), (224.7, 129.0), (201.7, 139.2), (245.3, 141.9)]),
    )


def hopper() -> Portrait:
    """Return Grace Hopper, US Navy 1984, public domain (matplotlib), 512 x 600."""
    from matplotlib import cbook
    from PIL import Image

    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        picture = np.asarray(image.convert("RGB"))
    return Portrait(
        picture,
        np.array([(221.7, 192.2), (309.8, 186.1), (269.4, 239.2), (232.7, 279.6), (306.6, 275.9)]),
    )


def cameraman() -> Picture:
    """Return a man in profile behind a camera (scikit-image, CC0), 512 x 512, grey as RGB."""
    return np.repeat(_sample("camera")[:, :, None], 3, axis=2)


def coffee() -> Picture:
    """Return a cup of coffee (scikit-image, CC0): no face, 600 x 400."""
    return _sample("coffee")


def rocket() -> Picture:
    """Return a rocket on its pad (SpaceX, CC0; scikit-image): no face, 640 x 427."""
    return _sample("rocket")


def _sample(name: str) -> Picture:
    """Return one of the pictures that lie in scikit-image's wheel; none of these is downloaded."""
    from skimage import data

    return np.asarray(getattr(data, name)(), np.uint8)
