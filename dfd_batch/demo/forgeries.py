"""The manipulations of the demo archive: a face swapped in, and a region that flickers.

Both are the classic recipe of face-swap software in small: align by landmarks, match colours,
blend with a feathered mask.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.demo.photographs import Picture, Portrait

Mask = NDArray[np.float32]  # (H, W), 0 outside the changed region to 1 inside


def swap(source: Portrait, target: Portrait, jitter: NDArray[np.float64] | None = None) -> Picture:
    """Return the target's picture with the source's face in place of its own.

    Args:
        source: Whose face is taken.
        target: Whose picture it goes into.
        jitter: (5, 2) errors of the alignment in the target's pixels, as video swaps have.
    """
    goal = target.landmarks if jitter is None else target.landmarks + jitter
    # The least-squares affine map of the five landmarks; full affine, so that proportions fit.
    known = np.hstack([source.landmarks, np.ones((5, 1))])
    matrix = np.linalg.lstsq(known, goal, rcond=None)[0].T  # (2, 3)
    mask = face_mask(target)
    rows, columns = around = _bounds(mask)  # nothing changes outside
    matrix -= np.array([[0, 0, columns.start], [0, 0, rows.start]])
    warped = cv2.warpAffine(
        source.picture,
        matrix,
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    face = np.asarray(warped, np.uint8)
    scene = target.picture[around]
    swapped = target.picture.copy()
    swapped[around] = _blend(scene, _match_colours(face, scene, mask[around]), mask[around])
    return swapped


def altered(portrait: Portrait) -> Picture:
    """Return the portrait with its own face slightly enlarged, softened and recoloured."""
    centre_x, centre_y = portrait.landmarks.mean(axis=0)
    height, width = portrait.picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((float(centre_x), float(centre_y)), 1.5, 1.035)
    face = cv2.warpAffine(
        portrait.picture,
        matrix,
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    face = cv2.GaussianBlur(face, (0, 0), 1.2)
    recoloured = face.astype(np.float32) * (1.06, 0.98, 0.93) + (4, 2, -2)
    return np.asarray(np.clip(recoloured, 0, 255), np.uint8)


def self_blend(portrait: Portrait, changed: Picture, strength: float) -> Picture:
    """Return the portrait with `changed` blended over its face.

    Args:
        portrait: The genuine picture.
        changed: What `altered` made of it.
        strength: 0 leaves the picture as it is, 1 replaces the face.
    """
    mask = face_mask(portrait) * np.float32(strength)
    around = _bounds(mask)
    blended = portrait.picture.copy()
    blended[around] = _blend(blended[around], changed[around], mask[around])
    return blended


def face_mask(portrait: Portrait) -> Mask:
    """Return an ellipse over eyebrows to chin with feathered edges."""
    eyes = portrait.landmarks[:2].mean(axis=0)
    mouth = portrait.landmarks[3:].mean(axis=0)
    eye_distance = float(np.linalg.norm(portrait.landmarks[1] - portrait.landmarks[0]))
    height = float(np.linalg.norm(mouth - eyes))
    centre = eyes + 0.55 * (mouth - eyes)
    mask = np.zeros(portrait.picture.shape[:2], np.float32)
    axes = (round(0.92 * eye_distance), round(1.12 * height))
    tilt = float(np.degrees(np.arctan2(*(mouth - eyes)[::-1]))) - 90
    cv2.ellipse(mask, (round(centre[0]), round(centre[1])), axes, tilt, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.12 * eye_distance), np.float32)


def _bounds(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns that hold every non-zero weight of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _match_colours(face: Picture, scene: Picture, mask: Mask) -> Picture:
    """Return `face` with the scene's mean and spread of each Lab channel under the mask."""
    inside = mask > 0.5
    lab = cv2.cvtColor(face, cv2.COLOR_RGB2LAB).astype(np.float32)
    goal = cv2.cvtColor(scene, cv2.COLOR_RGB2LAB).astype(np.float32)[inside]
    spread = goal.std(axis=0) / (lab[inside].std(axis=0) + 1e-3)
    lab = (lab - lab[inside].mean(axis=0)) * spread + goal.mean(axis=0)
    matched = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return np.asarray(matched, np.uint8)


def _blend(scene: Picture, face: Picture, mask: Mask) -> Picture:
    weight = mask[:, :, None]
    mixed = scene.astype(np.float32) * (1 - weight) + face.astype(np.float32) * weight
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)
