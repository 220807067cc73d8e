"""Which crops are good enough to judge, and in which words an object without any is told of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import cv2

from dfd_batch.faces.crop import Frame
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Faces


@dataclass
class Rejected:
    """The crops that were dropped: how many for which reason, and the best figure of each."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    best: dict[Outcome, float] = field(default_factory=dict)

    def note(self, reason: Outcome, value: float) -> None:
        """Count one dropped crop."""
        self.counts[reason] += 1
        self.best[reason] = max(value, self.best.get(reason, 0.0))


def brightness(crop: Frame) -> float:
    """Return the mean luma of a crop (S, S, 3), 0..255."""
    return float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean())


def sharpness(crop: Frame) -> float:
    """Return the variance of the Laplacian of a crop's luma (S, S, 3)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def passes(crop: Frame, height_px: float, faces: Faces, rejected: Rejected) -> bool:
    """Return whether a crop can be judged; notes why not.

    Args:
        crop: (S, S, 3).
        height_px: Height of the face's box in displayed pixels.
        faces: The limits.
        rejected: Counts the crops that do not pass.
    """
    if height_px < faces.min_face_px:
        rejected.note(Outcome.FACE_TOO_SMALL, height_px)
        return False
    if (luma := brightness(crop)) < faces.min_brightness:
        rejected.note(Outcome.TOO_DARK, luma)
        return False
    if (sharp := sharpness(crop)) < faces.min_sharpness:
        rejected.note(Outcome.TOO_BLURRY, sharp)
        return False
    return True


def fault(rejected: Rejected, faces: Faces, n_frames: int, luma: float) -> MediaFault:
    """Return why an object has no crop, with the figures.

    Args:
        rejected: The crops that were dropped.
        faces: The limits.
        n_frames: Frames of the object that were looked at.
        luma: Mean brightness of the object's brightest clip, 0..255.
    """
    if not rejected.counts:
        message = (
            f"no face was found in {n_frames} frame{'s' * (n_frames != 1)}, not with brightened, "
            f"enlarged and turned pictures either (mean brightness {luma:.0f} of 255)."
        )
        return MediaFault(Outcome.NO_FACE, "no_face", message)
    reason = rejected.counts.most_common(1)[0][0]
    best = rejected.best[reason]
    message = {
        Outcome.FACE_TOO_SMALL: f"the largest face is {best:.0f} px high, at least "
        f"{faces.min_face_px} px are needed (faces.min_face_px).",
        Outcome.TOO_DARK: f"the brightest face has a mean brightness of {best:.0f} of 255, at "
        f"least {faces.min_brightness:g} is needed (faces.min_brightness).",
        Outcome.TOO_BLURRY: f"the sharpest face has a Laplacian variance of {best:.1f}, at least "
        f"{faces.min_sharpness:g} is needed (faces.min_sharpness).",
    }[reason]
    return MediaFault(reason, reason.value, message)
