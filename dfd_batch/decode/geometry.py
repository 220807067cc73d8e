"""How a decoded picture becomes the displayed one: square pixels, upright, of bounded size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_PIXEL_ASPECT = 10  # beyond it the header is taken for nonsense


@dataclass(frozen=True)
class Upright:
    """Swap of axes first, then mirroring: every display matrix made of right angles."""

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise that are applied; a mirror image counts by its rotation alone."""
        if self.swap:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def apply(self, picture: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write the upright picture.

        Args:
            picture: (h, w, 3), as decoded.
            out: (H, W, 3), contiguous, of the displayed size.
        """
        if self.swap:
            cv2.transpose(picture, dst=out)
            picture = out
        if self.flip_x or self.flip_y:
            axes = -1 if self.flip_x and self.flip_y else int(self.flip_x)
            cv2.flip(picture, axes, dst=out)
        elif not self.swap:
            np.copyto(out, picture)


def upright_of(display_matrix: bytes | None) -> Upright:
    """Return the transform of a display matrix (9 × int32, ISO 14496-12 §8.2.2); oblique: none."""
    if display_matrix is None or len(display_matrix) < 36:
        return Upright()
    a, b, _, c, d = struct.unpack_from("=5i", display_matrix)
    straight, swapped = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 8 * max(abs(b), abs(c)):
        return Upright(False, a < 0, d < 0)
    if swapped > 8 * max(abs(a), abs(d)):
        return Upright(True, c < 0, b < 0)
    return Upright()


@dataclass(frozen=True)
class Geometry:
    """The sizes of one video's pictures on their way to the display."""

    upright: Upright
    decoded: tuple[int, int]
    """(width, height) with square pixels, reduced, not yet upright."""
    shape: tuple[int, int]
    """(H, W) of a frame of a clip."""
    display: tuple[int, int]
    """(width, height) displayed at full size."""
    scale: float
    """Frame pixels per displayed pixel."""


def geometry(
    width: int, height: int, pixel_aspect: Fraction | None, upright: Upright, long_side: int
) -> Geometry:
    """Return the sizes for a coded picture.

    Args:
        width: Coded width in pixels.
        height: Coded height in pixels.
        pixel_aspect: Width to height of a pixel; None or nonsense counts as square.
        upright: The display matrix.
        long_side: Longest side of frames that leave the decoder, in pixels.
    """
    aspect = pixel_aspect or Fraction(1)
    if not Fraction(1, MAX_PIXEL_ASPECT) <= aspect <= MAX_PIXEL_ASPECT:
        aspect = Fraction(1)
    square = (max(1, round(width * aspect)), height)
    scale = min(1.0, long_side / max(square))
    decoded = (max(1, round(square[0] * scale)), max(1, round(square[1] * scale)))
    shape = decoded if upright.swap else decoded[::-1]
    display = square[::-1] if upright.swap else square
    return Geometry(upright, decoded, (shape[0], shape[1]), (display[0], display[1]), scale)
