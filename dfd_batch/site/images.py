"""Pictures as they stand in a page: small, encoded, and veiled where faces must not be seen."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]

QUALITY = 82
VEILED_FACE_PX = 7
"""Height in pixels that a veiled face is reduced to before it is enlarged again."""
OUTLINE = ((255, 255, 255), (200, 30, 30))  # a light line around a dark one: seen on anything
HEAT = cv2.COLORMAP_INFERNO


def data_uri(picture: Picture) -> str:
    """Return a picture (H, W, 3) as a WebP data URI."""
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(sink.getvalue()).decode()


def fit(picture: Picture, long_side: int) -> Picture:
    """Return a picture reduced to a long side; a smaller one as it is."""
    height, width = picture.shape[:2]
    scale = long_side / max(height, width)
    return picture if scale >= 1 else _resized(picture, scale)


def square(crop: Picture, side: int) -> Picture:
    """Return a square crop at another size."""
    return _resized(crop, side / len(crop))


def veil(picture: Picture, face_px: float) -> Picture:
    """Return a picture in which nobody can be recognised, of the same size.

    Its detail is thrown away, not hidden: what is written holds no more than what is seen.

    Args:
        picture: (H, W, 3).
        face_px: Height of the largest face in it.
    """
    height, width = picture.shape[:2]
    few = _resized(picture, min(1.0, VEILED_FACE_PX / max(face_px, 1.0)))
    return np.asarray(cv2.resize(few, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def outlined(picture: Picture, box: NDArray[np.floating]) -> Picture:
    """Return a picture with a box (x0, y0, x1, y1), in its pixels, drawn around a face."""
    drawn = np.ascontiguousarray(picture).copy()
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    thick = max(2, round(max(picture.shape[:2]) / 300))
    for colour, extra in zip(OUTLINE, (2, 0), strict=True):
        cv2.rectangle(drawn, (x0, y0), (x1, y1), colour, thick + extra, cv2.LINE_AA)
    return drawn


def heated(crop: Picture, heat: NDArray[np.floating]) -> Picture:
    """Return a crop in grey with a heat map laid over it.

    Args:
        crop: (S, S, 3).
        heat: (S, S) from 0 to 1.
    """
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colours = _colours(heat)
    share = (0.15 + 0.7 * np.clip(heat, 0, 1))[..., None]
    mixed: Picture = ((1 - share) * 0.9 * grey + share * colours).astype(np.uint8)
    return mixed


def heat_scale(width: int = 160, height: int = 10) -> Picture:
    """Return the scale of the heat maps, from no heat to the most."""
    return _colours(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)))


def _colours(heat: NDArray[np.floating]) -> Picture:
    levels = (255 * np.clip(heat, 0, 1)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, HEAT), cv2.COLOR_BGR2RGB), np.uint8)


def _resized(picture: Picture, scale: float) -> Picture:
    height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=how).astype(np.uint8, copy=False)
