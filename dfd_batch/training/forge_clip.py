"""Pseudo-fakes in time: clips of a genuine face, forged with per-frame labels.

Every choice that a real forgery makes once (mask, colour, another identity) is drawn once and
replayed on each frame; a temporal trace may then lie on it, or stand alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training import forge, style
from dfd_batch.training.animate import similarity
from dfd_batch.training.filming import Filming, draw_filming
from dfd_batch.training.pools import Image
from dfd_batch.training.temporal_traces import TRACES, WHOLE, Clip
from dfd_batch.training.trouble import draw_order as hard_genuine

__all__ = ["OPERATIONS", "Clip", "Filming", "ForgedClip", "draw_filming", "forge_clip"]
__all__ += ["hard_genuine"]

Labels = NDArray[np.float32]

ODDS = {
    "static": 0.2,
    "drift": 0.12,
    "jitter": 0.12,
    "flicker": 0.11,
    "hold": 0.12,
    "lip_lag": 0.12,
    "eyes_open": 0.07,
    "pulse_kill": 0.03,  # hardly survives a codec: many such labels would be noise
    "reenact": 0.11,
}
OPERATIONS = tuple(ODDS)
BOUNDED_SHARE = 0.35
SHORTEST = 8
"""Frames of a forged stretch: .3 s of video."""
VISIBLE = 0.005
"""A frame counts as forged when this share of its values differs by two levels or more …"""
GRAIN_PX = 4
"""… on average over so many pixels: grain that was resampled is no forgery."""


@dataclass(frozen=True)
class ForgedClip:
    """A forged clip, its genuine twin, and which frames were forged."""

    genuine: Image  # (T, P, P, 3)
    fake: Image  # (T, P, P, 3)
    labels: Labels  # (T,) 1 where forged
    operation: str


def forge_clip(
    clip: Clip,
    rng: Generator,
    donor: forge.Donor | Clip | None = None,
    operation: str | None = None,
) -> ForgedClip:
    """Return a clip and its forged twin; about a third are forged in some stretches only.

    A temporal operation stands alone (half of the time), or on a face that also differs a little in
    style, or on top of a whole static forgery. Where it finds nothing to change (a mouth that does
    not move cannot be late), a static forgery takes its place.

    Args:
        clip: The genuine clip.
        rng: Every choice is drawn from it.
        donor: Another person's face, or a clip of it of the same length; the own face when None.
        operation: One of OPERATIONS; drawn when None.
    """
    n = len(clip.frames)
    inside = draw_stretches(n, rng) if rng.random() < BOUNDED_SHARE else np.ones(n, np.float32)
    name = operation or str(rng.choice(OPERATIONS, p=list(ODDS.values())))
    for tried in (name, "static", "static"):
        genuine, fake = _forged(clip, rng, donor, tried)
        labels = _visible(genuine, fake)
        if labels.any():
            name = tried
            break
    if (labels * inside).any():
        labels *= inside
    # What is labelled genuine is genuine to the last bit.
    fake[labels == 0] = genuine[labels == 0]
    return ForgedClip(genuine, fake, labels, name)


def _forged(
    clip: Clip, rng: Generator, donor: forge.Donor | Clip | None, operation: str
) -> tuple[Image, Image]:
    if operation == "static":
        return _static(clip, rng, donor)
    genuine, under, over = clip.frames, clip.frames, clip.frames
    trace = rng.random()
    if trace < 0.25:
        over = _restyled(clip.frames, rng)
    elif trace < 0.5:
        genuine, under = _static(clip, rng, donor)
        over = under
    region, forged = TRACES[operation]
    over = forged(replace(clip, frames=over), rng)
    masks = _masks(clip, rng, region, anew=operation == "jitter")
    return genuine, np.stack([forge.blend(*x) for x in zip(under, over, masks, strict=True)])


def _visible(genuine: Image, fake: Image) -> Labels:
    side = genuine.shape[1] // GRAIN_PX

    def coarse(frame: Image) -> Image:
        return np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), np.uint8)

    apart = [cv2.absdiff(coarse(a), coarse(b)) > 1 for a, b in zip(genuine, fake, strict=True)]
    share = [np.count_nonzero(frame) / frame.size for frame in apart]
    return np.asarray(np.array(share) > VISIBLE, np.float32)


def draw_stretches(n: int, rng: Generator) -> Labels:
    """Return labels (n,) with one to three stretches of ones, neither empty nor everything."""
    labels, shortest = np.zeros(n, np.float32), min(SHORTEST, n // 2)
    count = int(rng.integers(1, min(3, max(1, n // (2 * shortest))) + 1))
    edges = np.linspace(0, n, count + 1).astype(int)
    for first, last in itertools.pairwise(edges):
        length = int(rng.integers(shortest, last - first))
        start = int(rng.integers(first, last - length + 1))
        labels[start : start + length] = 1
    return labels


def _static(clip: Clip, rng: Generator, donor: forge.Donor | Clip | None) -> tuple[Image, Image]:
    """One forgery, the same in every frame."""
    seed = int(rng.integers(2**31))
    twins = []
    for t, (frame, points) in enumerate(zip(clip.frames, clip.landmarks, strict=True)):
        if isinstance(donor, Clip):
            face: forge.Donor | None = forge.Donor(donor.frames[t], donor.landmarks[t])
        else:
            face = donor
        twins.append(forge.forge(frame, points, np.random.default_rng(seed), face))
    return np.stack([t.genuine for t in twins]), np.stack([t.fake for t in twins])


def _restyled(frames: Image, rng: Generator) -> Image:
    seed, share = int(rng.integers(2**31)), float(rng.uniform(0.3, 0.9))
    styled = (style.restyle(frame, np.random.default_rng(seed)) for frame in frames)
    mixed = [
        cv2.addWeighted(other, share, frame, 1 - share, 0)
        for other, frame in zip(styled, frames, strict=True)
    ]
    return np.stack(mixed).astype(np.uint8)


def _masks(clip: Clip, rng: Generator, region: str | None, anew: bool) -> list[forge.Mask]:
    """Return a mask for every frame: the same carried along by the landmarks, or drawn anew."""
    seed, side = int(rng.integers(2**31)), clip.frames.shape[1]
    if region == WHOLE:
        return [np.ones((side, side), np.float32)] * len(clip.frames)
    first = clip.landmarks[0]
    if anew:
        return [
            forge.draw_mask(side, points, np.random.default_rng(seed), region)
            for points in clip.landmarks
        ]
    mask = forge.draw_mask(side, first, np.random.default_rng(seed), region)
    carried = [
        cv2.warpAffine(mask, similarity(first, points), (side, side)) for points in clip.landmarks
    ]
    return [np.asarray(m, np.float32) for m in carried]
