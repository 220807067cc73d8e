"""What honest video suffers as a whole: hard genuine clips, so that trouble is not "fake".

Each trouble treats whole crops, never the face alone, and is a function of its seed, so that both
twins of a pair suffer the very same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training import degrade
from dfd_batch.training.pools import Image

Order = NDArray[np.int64]

WORDS = ("LIVE", "BREAKING", "REC", "CH 4", "@user", "00:12:07", "subtitle goes here", "HD")


@dataclass(frozen=True)
class Trouble:
    """One trouble of a clip, replayed alike on every clip of the same shape."""

    kind: str
    seed: int

    def __call__(self, crops: Image) -> Image:
        """Return troubled crops (T, S, S, 3) of crops (T, S, S, 3), S even."""
        return TROUBLES[self.kind](crops, np.random.default_rng(self.seed))


def draw(rng: Generator) -> tuple[Trouble, ...]:
    """Return the troubles of a clip: mostly none or one, now and then two."""
    n = int(rng.choice(3, p=(0.5, 0.4, 0.1)))
    kinds = rng.choice(list(TROUBLES), n, replace=False)
    return tuple(Trouble(str(kind), int(rng.integers(2**31))) for kind in kinds)


def draw_order(n: int, rng: Generator) -> Order:
    """Return which frame stands at each of n places after stalls, dropped frames or a cut."""
    kind = rng.choice(["stall", "rate", "drop", "cut", "none"], p=(0.3, 0.2, 0.15, 0.2, 0.15))
    straight = np.arange(n)
    if kind == "stall":  # some frames again, and one for longer
        again = rng.integers(0, n, size=int(rng.integers(1, 6)))
        again[: int(rng.integers(1, 4))] = again[0]
        return np.sort(np.concatenate([straight, again]))[:n]
    if kind == "rate":  # converted to a higher rate by repeating every so many frames
        return np.asarray(straight * rng.uniform(0.5, 0.95), np.int64)
    if kind == "drop":  # some frames lost; what comes before and after stands for longer
        lost = rng.random(n) < rng.uniform(0.1, 0.3)
        lost[0] = False
        return np.maximum.accumulate(np.where(lost, 0, straight))
    if kind == "cut":
        return np.roll(straight, int(rng.integers(1, n)))
    return straight


def reencode(crops: Image, rng: Generator) -> Image:
    """The quality changes at a frame: two files joined, or a stream that lost its bandwidth."""
    at = int(rng.integers(1, len(crops)))
    first, second = (int(q) for q in rng.integers(18, 40, 2))
    parts = [degrade.h264(list(crops[:at]), first), degrade.h264(list(crops[at:]), second)]
    return np.stack(parts[0] + parts[1])


def packet_loss(crops: Image, rng: Generator) -> Image:
    """Macroblocks keep showing an earlier frame, smeared along, until the next key frame."""
    out, (n, side) = crops.copy(), crops.shape[:2]
    first = int(rng.integers(1, n))
    last = min(n, first + int(rng.integers(1, 10)))
    block = max(4, side // int(rng.integers(6, 17)))
    # Losses come in runs of a slice: from a block on to some way along its row, or several rows.
    grid = np.zeros((-(-side // block)) ** 2, bool)
    for start in rng.integers(0, len(grid), int(rng.integers(1, 9))):
        grid[start : start + int(rng.integers(2, 20))] = True
    lost = np.kron(grid.reshape(-(-side // block), -1), np.ones((block, block), bool))
    lost = lost[:side, :side]
    smear = np.round(rng.normal(0, 2.5, 2)).astype(int)
    for t in range(first, last):
        stale = np.roll(out[t - 1], smear, (0, 1))
        out[t][lost] = stale[lost]
    return out


def denoise(crops: Image, rng: Generator) -> Image:
    """A recursive temporal filter that spares what moves, over luma and chroma or chroma alone."""
    keep, spare = rng.uniform(0.4, 0.85), rng.uniform(6, 25)
    channels = slice(1, 3) if rng.random() < 0.4 else slice(0, 3)
    state: NDArray[np.float32] | None = None
    out: list[Image] = []
    for crop in crops:
        x = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb), np.float32)
        if state is not None:
            stay = keep * np.exp(-np.square((x - state) / spare))
            x[..., channels] += (stay * (state - x))[..., channels]
        state = x
        ycc = np.clip(x + 0.5, 0, 255).astype(np.uint8)
        out.append(np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB), np.uint8))
    return np.stack(out)


def overlay(crops: Image, rng: Generator) -> Image:
    """A logo, a caption or a running ticker appears, with or without a band behind it."""
    out, (n, side) = crops.copy(), crops.shape[:2]
    shown = slice(int(rng.integers(0, n)), n) if rng.random() < 0.7 else slice(0, n // 2)
    word, scale = str(rng.choice(WORDS)), side / 192 * rng.uniform(0.35, 1.0)
    (width, height), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    edge = rng.uniform(0.02, 0.22)  # near the upper or the lower edge of the crop
    y = int(side * (edge if rng.random() < 0.4 else 1 - edge)) + height // 2
    x, pace = rng.uniform(-0.2, 0.9) * side, rng.uniform(1, 6) * (rng.random() < 0.4)
    ink = tuple(int(v) for v in rng.choice([[255] * 3, [0] * 3, [240, 220, 40]]))
    band = tuple(int(v) for v in rng.integers(0, 256, 3)) if rng.random() < 0.5 else None
    through = rng.uniform(0.6, 1.0)
    for t in range(n)[shown]:
        drawn, left = out[t].copy(), int(x - pace * t)
        if band is not None:
            right = left + width + height if pace == 0 else side
            left_edge = left - height // 2 if pace == 0 else 0
            top, low = y - height * 3 // 2, y + height // 2
            cv2.rectangle(drawn, (left_edge, top), (right, low), band, -1)
        at = (left, y)
        cv2.putText(drawn, word, at, cv2.FONT_HERSHEY_DUPLEX, scale, ink, 1, cv2.LINE_AA)
        out[t] = cv2.addWeighted(drawn, through, out[t], 1 - through, 0)
    return out


def wobble(crops: Image, rng: Generator) -> Image:
    """A stabiliser or a rolling shutter bends the whole frame, smoothly in space and time."""
    side = crops.shape[1]
    cells = int(rng.integers(2, 5))
    reach = side * float(np.exp(rng.uniform(np.log(0.003), np.log(0.012))))
    field = rng.normal(0, reach, (cells, cells, 2))
    grid = np.arange(side, dtype=np.float32)
    out = []
    for crop in crops:
        smooth = cv2.resize(field.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        x, y = grid[None] + smooth[..., 0], grid[:, None] + smooth[..., 1]
        out.append(cv2.remap(crop, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))
        field = 0.85 * field + rng.normal(0, 0.5 * reach, field.shape)
    return np.stack(out).astype(np.uint8)


def banding(crops: Image, rng: Generator) -> Image:
    """Bands of mains light roll over the frame, or its exposure hunts."""
    n, side = crops.shape[:2]
    depth, pace = rng.uniform(0.02, 0.12), rng.uniform(-1.5, 1.5)
    waves = rng.uniform(0.3, 2.5) * (rng.random() < 0.7)
    phase = 2 * np.pi * (waves * np.arange(side) / side + rng.random())
    gains = 1 + depth * np.sin(phase[None] + pace * np.arange(n)[:, None])
    lit = crops * gains[:, :, None, None].astype(np.float32)
    return np.asarray(np.clip(lit + 0.5, 0, 255), np.uint8)


TROUBLES: dict[str, Callable[[Image, Generator], Image]] = {
    "reencode": reencode,
    "packet_loss": packet_loss,
    "denoise": denoise,
    "overlay": overlay,
    "wobble": wobble,
    "banding": banding,
}
