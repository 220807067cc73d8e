"""Changes of how a whole picture looks: colours, sharpness, skin, shape, a generator's traces.

None of them makes a fake by itself; `forge` and the batches say what they are done to.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training.pools import Image

LEAST_GAIN, MOST_GAIN = (0.6, 0.8, 0.8), (1.6, 1.25, 1.25)
"""Of L, a and b: more contrast of colour than the donor has comes out as blotches."""


def restyle(image: Image, rng: Generator, colour: float = 1.0) -> Image:
    """Return an image of slightly other colour (so much of the change) and sharpness."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + int(rng.integers(-6, 7))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.7, 1.3), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.85, 1.15), 0, 255)
    x = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    x = x * rng.uniform(0.88, 1.12) + rng.uniform(-12, 12, 3).astype(np.float32)
    x = image + (x - image) * np.float32(colour)
    out = np.clip(x, 0, 255).astype(np.uint8)
    return resharpen(out, rng)


def vivid(image: Image, rng: Generator) -> Image:
    """Return an image with more contrast and colour, as a photograph after its filter."""
    lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.float32)
    lab[..., 0] = (lab[..., 0] - 128) * rng.uniform(1.0, 1.4) + 128 + rng.uniform(-15, 10)
    lab[..., 1:] = (lab[..., 1:] - 128) * rng.uniform(1.0, 1.6) + 128
    return np.asarray(
        cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8
    )


def matched(over: Image, under: Image, inside: NDArray[np.uint8]) -> Image:
    """Return `over` with the colours that `under` has inside the mask."""
    ours = cv2.cvtColor(under, cv2.COLOR_RGB2LAB)
    theirs = cv2.cvtColor(over, cv2.COLOR_RGB2LAB)
    want, want_spread = cv2.meanStdDev(ours, mask=inside)
    have, have_spread = cv2.meanStdDev(theirs, mask=inside)
    spread = (want_spread / np.maximum(have_spread, 1.0)).reshape(3)
    gain = np.clip(spread, LEAST_GAIN, MOST_GAIN)
    moved = (theirs - have.reshape(3)) * gain + want.reshape(3)
    close = np.clip(moved, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(close, cv2.COLOR_LAB2RGB), np.uint8)


def resharpen(image: Image, rng: Generator) -> Image:
    """Return an image made smaller and back, sharpened, blurred or left alone."""
    side = image.shape[0]
    kind = rng.random()
    if kind < 0.4:
        small = max(16, int(side / rng.uniform(1.3, 4)))
        kernel = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        down = cv2.resize(image, (small, small), interpolation=kernel)
        back = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))
        return np.asarray(cv2.resize(down, (side, side), interpolation=back), np.uint8)
    if kind < 0.6:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2))
        amount = rng.uniform(0.2, 1.0)
        return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)
    if kind < 0.85:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2)), np.uint8)
    return image


def unequal(genuine: Image, fake: Image, rng: Generator) -> tuple[Image, Image]:
    """Return the twins with the fake sharpened, or the genuine one softened or its skin smoothed.

    Blending and drawing cost detail, so that "sharp" would come to mean "genuine"; what today's
    generators draw is often sharper than an honest, much-forwarded photograph, and make-up,
    filters and codecs leave honest skin without pores.
    """
    strength = float(rng.uniform(0.3, 1.3))
    kind = rng.random()
    if kind < 0.25:
        return np.asarray(cv2.GaussianBlur(genuine, (0, 0), strength), np.uint8), fake
    if kind < 0.5:
        reach, contrast = float(rng.uniform(2, 6)), float(rng.uniform(12, 45))
        return np.asarray(cv2.bilateralFilter(genuine, 7, contrast, reach), np.uint8), fake
    soft = cv2.GaussianBlur(fake, (0, 0), float(rng.uniform(0.8, 2)))
    sharp = cv2.addWeighted(fake, 1 + strength, soft, -strength, 0)
    return genuine, np.asarray(sharp, np.uint8)


def bent(image: Image, seed: int) -> Image:
    """Return an image (H, W, 3) bent smoothly, as no face is when it rests."""
    rng, side = np.random.default_rng(seed), image.shape[0]
    x, y = bending(side, rng, rng.uniform(0.005, 0.025) * side)
    out = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8)


def bending(
    side: int, rng: Generator, amplitude_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each pixel of a square picture comes from, x and y (side, side)."""
    coarse = rng.normal(0, amplitude_px, (2, 6, 6)).astype(np.float32)
    dx, dy = (cv2.resize(f, (side, side), interpolation=cv2.INTER_CUBIC) for f in coarse)
    grid = np.arange(side, dtype=np.float32)
    return np.asarray(grid[None] + dx, np.float32), np.asarray(grid[:, None] + dy, np.float32)


def generator_trace(image: Image, rng: Generator) -> Image:
    """Return an image after a decoder's up-convolution, with its grid, or its smooth skin."""
    if rng.random() < 0.35:
        strength = float(rng.uniform(10, 45))
        return np.asarray(cv2.bilateralFilter(image, 5, strength, 3), np.uint8)
    side = image.shape[0] // 2 * 2
    half = cv2.resize(image, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    sparse = np.zeros((side, side, 3), np.float32)
    sparse[::2, ::2] = half
    tap = np.array([0.25, 0.75, 0.75, 0.25], np.float32)
    kernel = np.outer(tap, tap)
    # An ideal kernel's four phases sum to one; a learned one's never quite do: hence the grid.
    kernel *= 1 + rng.normal(0, rng.uniform(0.01, 0.1), kernel.shape).astype(np.float32)
    up = cv2.filter2D(sparse, -1, kernel / kernel.sum() * 4, anchor=(2, 2))
    detail = image[:side, :side].astype(np.float32) - cv2.GaussianBlur(
        image[:side, :side].astype(np.float32), (0, 0), 1.2
    )
    up = np.clip(up + rng.uniform(0, 0.9) * detail, 0, 255).astype(np.uint8)
    out = image.copy()
    out[:side, :side] = up
    return out
