"""Pseudo-fakes from genuine faces: what a face swap leaves behind, without any fake at hand.

Own implementation of the idea of self-blended images (Shiohara and Yamasaki, CVPR 2022): a face is
blended into a slightly different copy of itself, or another person's face into it (a crude swap,
Face X-ray, CVPR 2020), along a mask from its landmarks. The genuine twin has had the same change of
style as the fake's background, so that only the blend separates the classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training import style
from dfd_batch.training.pools import Image, Points

Mask = NDArray[np.float32]

REGIONS: dict[str, tuple[int, ...]] = {
    "face": tuple(range(27)),
    "inner": (*range(17, 68),),
    "lower": (*range(2, 15), 29),
    "mouth": (*range(48, 60), 33, 31, 35),
    "eyes": (*range(17, 27), *range(36, 48), 28),
}
REGION_ODDS = (0.42, 0.22, 0.14, 0.14, 0.08)
BLEND_RATIOS = (0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0)
SWAP_RATIOS = (0.8, 0.9, 1.0, 1.0, 1.0)
"""Less of a donor than that is a ghost, not a swap."""
REBLEND_RATIOS = (0.7, 0.85, 1.0, 1.0, 1.0)
LEAST_AGREEMENT = 0.9
"""Correlation outside the face by which a labelled fake and its twin show the same moment."""
LEAST_CHANGE = 4.0
"""Of 255, in the mean over the part laid in: less is the same face."""
SWAP_COLOUR = 0.4
"""How much of a self-blend's change of colour a swap, matched in colour, still shows."""


@dataclass(frozen=True)
class Forged:
    """A genuine face, its fake twin, and how strongly each pixel was replaced."""

    genuine: Image  # (H, W, 3)
    fake: Image  # (H, W, 3)
    mask: Mask  # (H, W) in 0..1
    operation: str


@dataclass(frozen=True)
class Donor:
    """Another person's face."""

    image: Image
    landmarks: Points  # (68, 2)


def forge(
    image: Image,
    landmarks: Points,
    rng: Generator,
    donor: Donor | None = None,
    again: Image | None = None,
) -> Forged:
    """Return a genuine face and a pseudo-fake made of it.

    Args:
        image: (H, W, 3) RGB.
        landmarks: (68, 2) in its pixels.
        rng: Every choice is drawn from it.
        donor: The face to put in; the image's own when None.
        again: The image as a network has drawn it, to be put in instead of its plain copy.
    """
    own = image if again is None else again
    source = own if donor is None else _swap_in(image, landmarks, donor)
    target = image
    # Either copy changes its style; the twin stays equal to the fake's surroundings.
    if donor is not None or rng.random() < 0.5:
        source = style.restyle(source, rng, 1.0 if donor is None else SWAP_COLOUR)
    else:
        target = style.restyle(target, rng)
    if rng.random() < 0.35:
        source = style.generator_trace(source, rng)
    source = _misalign(source, landmarks, rng)
    mask = draw_mask(image.shape[0], landmarks, rng)
    mask *= np.float32(rng.choice(BLEND_RATIOS if donor is None else SWAP_RATIOS))
    return Forged(target, blend(target, source, mask), mask, "self" if donor is None else "swap")


def reblended(genuine: Image, fake: Image, landmarks: Points, rng: Generator) -> Forged | None:
    """Return a genuine face and it with a part of its labelled fake laid in anew.

    What a real generator drew stays; where it ends, how its colours fit and how sharp it is are
    drawn, so that one data set's way of pasting is not what is learned.

    Args:
        genuine: (H, W, 3) RGB.
        fake: Of the same frame of the same video.
        landmarks: (68, 2) of the genuine face.
        rng: Every choice is drawn from it.

    Returns:
        None where the two show different moments, or are the same in that part.
    """
    inside = _hull(genuine.shape[0], landmarks)
    if _agreement(genuine, fake, inside) < LEAST_AGREEMENT:
        return None
    matching = float(rng.random())
    matched = style.matched(fake, genuine, inside)
    over: Image = np.asarray(cv2.addWeighted(fake, 1 - matching, matched, matching, 0), np.uint8)
    if rng.random() < 0.4:
        over = style.resharpen(over, rng)
    mask: Mask = draw_mask(genuine.shape[0], landmarks, rng)
    # Without fine detail, as noise and compression differ in any two copies.
    coarse, its_coarse = (cv2.GaussianBlur(x, (0, 0), 3).astype(int) for x in (genuine, matched))
    changed = np.abs(its_coarse - coarse).mean(2)[mask > 0.5]
    if changed.size == 0 or changed.mean() < LEAST_CHANGE:
        return None
    mask *= np.float32(rng.choice(REBLEND_RATIOS))
    made = blend(genuine, over, mask)
    return Forged(genuine, made, mask, "reblended")


def _agreement(genuine: Image, fake: Image, inside: NDArray[np.uint8]) -> float:
    """Return the correlation of two pictures outside a mask and its surroundings."""
    reach = genuine.shape[0] // 16
    around = cv2.dilate(inside, np.ones((reach, reach), np.uint8)) == 0
    ours, theirs = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[around] for x in (genuine, fake))
    if ours.size < 2 or min(ours.std(), theirs.std()) < 1:
        return 0.0
    return float(np.corrcoef(ours, theirs)[0, 1])


def rendered(image: Image, rng: Generator) -> Forged:
    """Return a genuine picture and its twin with the traces of a generator all over it."""
    fake = style.generator_trace(image, rng)
    if rng.random() < 0.5:
        fake = style.generator_trace(fake, rng)
    return Forged(image, fake, np.ones(image.shape[:2], np.float32), "rendered")


def redrawn(image: Image, again: Image, rng: Generator) -> Forged:
    """Return a genuine picture and the same drawn by a network, both equally resharpened."""
    seed = int(rng.integers(2**31))
    sharp, drawn = (style.resharpen(x, np.random.default_rng(seed)) for x in (image, again))
    genuine, fake = (sharp, drawn) if rng.random() < 0.5 else (image, again)
    return Forged(genuine, fake, np.ones(image.shape[:2], np.float32), "redrawn")


def polished(image: Image, rng: Generator) -> Forged:
    """Return a genuine picture and its twin as today's diffusion models draw people.

    Skin without pores or grain between edges that are kept or drawn too hard. Contrast and colour,
    strong in both twins now and then, tell nothing.
    """
    target = style.vivid(image, rng) if rng.random() < 0.5 else image
    smooth = target
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.7:
            reach, strength = float(rng.uniform(3, 7)), float(rng.uniform(18, 60))
            smooth = np.asarray(cv2.bilateralFilter(smooth, 7, strength, reach), np.uint8)
        else:
            reach, strength = float(rng.uniform(5, 20)), float(rng.uniform(0.08, 0.25))
            smooth = np.asarray(
                cv2.edgePreservingFilter(smooth, flags=1, sigma_s=reach, sigma_r=strength), np.uint8
            )
    keep = float(rng.uniform(0, 0.35))
    fake = cv2.addWeighted(target, keep, smooth, 1 - keep, 0)
    if rng.random() < 0.7:
        soft = cv2.GaussianBlur(fake, (0, 0), float(rng.uniform(0.8, 2.5)))
        amount = float(rng.uniform(0.2, 1.3))
        fake = cv2.addWeighted(fake, 1 + amount, soft, -amount, 0)
    if rng.random() < 0.3:
        fake = style.generator_trace(np.asarray(fake, np.uint8), rng)
    mask = np.ones(image.shape[:2], np.float32)
    return Forged(target, np.asarray(fake, np.uint8), mask, "polished")


def blend(under: Image, over: Image, mask: Mask) -> Image:
    """Return `over` laid on `under` (H, W, 3) where the mask (H, W) says so."""
    a = mask[..., None]
    return np.asarray(under + (over.astype(np.float32) - under) * a + 0.5, np.uint8)


def draw_mask(side: int, landmarks: Points, rng: Generator, region: str | None = None) -> Mask:
    """Return a soft, slightly deformed mask (side, side) of a part of the face, drawn if None."""
    drawn = str(rng.choice(list(REGIONS), p=REGION_ODDS))
    region = region or drawn
    points = landmarks[list(REGIONS[region])].copy()
    height = float(np.ptp(landmarks[:, 1]))
    if region == "face" and rng.random() < 0.6:  # with the forehead
        up = landmarks[24] - landmarks[8]
        points = np.concatenate([points, landmarks[17:27] + 0.22 * rng.random() * up])
    points += rng.normal(0, 0.015 * height, points.shape)
    grow = rng.uniform(0.85, 1.12) if region in {"face", "inner"} else rng.uniform(0.9, 1.4)
    middle = points.mean(0)
    hull = cv2.convexHull(((points - middle) * grow + middle).astype(np.float32))
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), 1.0)
    mask = _elastic(mask, rng, 0.03 * height)
    sigma = float(np.exp(rng.uniform(np.log(0.008), np.log(0.07)))) * height
    soft = cv2.GaussianBlur(mask, (0, 0), max(sigma, 0.5))
    if rng.random() < 0.5:  # keep the blur inside, as a face's paste-in does
        soft = np.clip(soft * 2 - 1, 0, 1)
        soft = cv2.GaussianBlur(soft, (0, 0), max(sigma / 2, 0.5))
    return np.clip(soft, 0, 1).astype(np.float32)  # filters overshoot by rounding


def _misalign(source: Image, landmarks: Points, rng: Generator) -> Image:
    """Return the source moved a little about the face's middle."""
    height = float(np.ptp(landmarks[:, 1]))
    x, y = landmarks.mean(0)
    turn = float(rng.normal(0, 1.5))
    m = cv2.getRotationMatrix2D((float(x), float(y)), turn, float(rng.uniform(0.95, 1.05)))
    move = np.array(m, np.float64)
    move[:, 2] += rng.uniform(-0.03, 0.03, 2) * height
    out = cv2.warpAffine(
        source, move, source.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(out, np.uint8)


def _swap_in(image: Image, landmarks: Points, donor: Donor) -> Image:
    """Return the donor's face aligned to the image's landmarks and colour-matched inside them."""
    m, _ = cv2.estimateAffinePartial2D(donor.landmarks[17:], landmarks[17:], method=cv2.LMEDS)
    if m is None:
        return image
    side = image.shape[0]
    warped = cv2.warpAffine(
        donor.image, m, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return style.matched(np.asarray(warped, np.uint8), image, _hull(side, landmarks))


def _hull(side: int, landmarks: Points) -> NDArray[np.uint8]:
    """Return 1 inside the landmarks' hull, 0 elsewhere (side, side)."""
    inside = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(inside, np.round(cv2.convexHull(landmarks)).astype(np.int32), 1)
    return inside


def _elastic(mask: Mask, rng: Generator, amplitude_px: float) -> Mask:
    """Return the mask bent by a smooth random field."""
    x, y = style.bending(mask.shape[0], rng, amplitude_px)
    return np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR), np.float32)
