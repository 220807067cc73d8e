"""Quarter turns of pictures, and of points back into the picture as it is displayed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfd_batch.faces.crop import Frame, Points


def turned(frame: Frame, turns: int) -> Frame:
    """Return a frame (H, W, 3) after this many quarter turns counter-clockwise."""
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns % 4 else frame


def unturned(points: Points, turns: int, height: int, width: int) -> Points:
    """Return points of a turned frame as points of the frame itself.

    Args:
        points: (..., 2) x and y in the turned frame.
        turns: Quarter turns counter-clockwise that were applied.
        height: Of the frame before it was turned, in pixels.
        width: Likewise.
    """
    x, y = points[..., 0], points[..., 1]
    placed = {
        0: (x, y),
        1: (width - y, x),
        2: (width - x, height - y),
        3: (y, height - x),
    }[turns % 4]
    return np.stack(placed, axis=-1).astype(np.float32)


def unturned_boxes(
    boxes: NDArray[np.float32], turns: int, height: int, width: int
) -> NDArray[np.float32]:
    """Return boxes (..., 4) of a turned frame as boxes x0 y0 x1 y1 of the frame itself."""
    corners = unturned(boxes.reshape(*boxes.shape[:-1], 2, 2), turns, height, width)
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)
