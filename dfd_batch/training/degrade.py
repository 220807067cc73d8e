"""What happens to media on their way to an archive, drawn once and replayed on both twins.

A pair's fake and its genuine twin get the very same draw: whatever compression, noise or colour
remains then tells nothing about the label.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfd_batch.training.pools import Image, Points

INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)


@dataclass(frozen=True)
class Geometry:
    """Where the network's crop lies in a patch."""

    flip: bool
    scale: float  # crop side in units of the canonical crop's
    shift: tuple[float, float]  # in units of the crop side
    degrees: float

    def matrix(self, patch_px: int, canonical_px: float, size: int) -> Points:
        """Return the affine map (2, 3) from patch pixels to crop pixels."""
        zoom = size / (canonical_px * self.scale)
        middle = (patch_px - 1) / 2
        turn = cv2.getRotationMatrix2D((middle, middle), self.degrees, zoom)
        m: NDArray[np.float64] = np.array(turn, np.float64)
        m[:, 2] += (size - 1) / 2 - middle + np.array(self.shift) * size
        if self.flip:
            m[0] *= -1
            m[0, 2] += size - 1
        return np.asarray(m, np.float32)

    def crop(self, patch: Image, canonical_px: float, size: int) -> Image:
        """Return the crop (size, size, 3) of a patch (P, P, 3)."""
        m = self.matrix(patch.shape[0], canonical_px, size)
        shrinks = canonical_px * self.scale > 1.5 * size
        source = cv2.GaussianBlur(patch, (0, 0), 0.5) if shrinks else patch
        out = cv2.warpAffine(
            source, m, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(out, np.uint8)


def draw_geometry(rng: Generator) -> Geometry:
    """Return a random crop: zoom .82-1.2, shift up to 6 %, now and then tilted."""
    return Geometry(
        flip=bool(rng.random() < 0.5),
        scale=float(np.exp(rng.uniform(np.log(0.82), np.log(1.2)))),
        shift=(float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.06, 0.06))),
        degrees=float(rng.normal(0, 6)) if rng.random() < 0.5 else 0.0,
    )


@dataclass(frozen=True)
class Degradation:
    """One way of making a crop worse; None or 0 leaves a step out."""

    seed: int
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    grey: bool = False
    shrink: float = 1.0
    kernels: tuple[int, int] = (cv2.INTER_AREA, cv2.INTER_LINEAR)
    blur: float = 0.0
    motion: tuple[int, float] = (0, 0.0)  # pixels, degrees
    noise: float = 0.0
    skin: float = 0.0  # levels that a smoothing of what has no edges spans
    sharpen: tuple[float, float] = (0.0, 1.0)  # amount, reach in pixels
    jpeg: int | None = None
    crf: int | None = None
    jpeg_again: int | None = None
    cutout: tuple[float, float, float, float] | None = None  # x, y, width, height in 0..1
    fill: int = 0  # level of what is cut out

    def __call__(self, image: Image) -> Image:
        """Return the degraded image, of the same shape (S, S, 3)."""
        size = image.shape[0]
        x = self._colour(image)
        if self.shrink < 1:
            small = max(24, round(size * self.shrink)) // 2 * 2
            x = _u8(cv2.resize(x, (small, small), interpolation=self.kernels[0]))
        x = self._soften(x)
        if self.crf is not None:
            x = h264([x], self.crf)[0]
        if self.jpeg is not None:
            x = jpeg(x, self.jpeg)
        if x.shape[0] != size:
            x = _u8(cv2.resize(x, (size, size), interpolation=self.kernels[1]))
        if self.jpeg_again is not None:
            x = jpeg(x, self.jpeg_again)
        return self._cut_out(x)

    def _colour(self, image: Image) -> Image:
        ramp = np.linspace(0, 1, 256, dtype=np.float32)
        curve = (ramp**self.gamma - 0.5) * self.contrast + 0.5
        table = np.clip(curve[:, None] * np.array(self.gain, np.float32) * 255, 0, 255)
        x = _u8(cv2.LUT(image, table.astype(np.uint8)[None]))
        if self.grey or self.saturation != 1.0:
            grey = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            keep = 0.0 if self.grey else self.saturation
            x = _u8(cv2.addWeighted(x, keep, grey, 1 - keep, 0))
        return x

    def _soften(self, x: Image) -> Image:
        if self.blur > 0:
            x = _u8(cv2.GaussianBlur(x, (0, 0), self.blur))
        if self.motion[0] > 1:
            length, degrees = self.motion
            kernel = np.zeros((length, length), np.float32)
            kernel[length // 2] = 1 / length
            turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), degrees, 1)
            turned = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
            x = _u8(cv2.filter2D(x, -1, turned / max(float(turned.sum()), 1e-6)))
        if self.noise > 0:
            noise = np.empty(x.shape, np.int16)
            cv2.setRNGSeed(self.seed)
            cv2.randn(noise, np.zeros(3), np.full(3, self.noise))
            x = _u8(cv2.add(x, noise, dtype=cv2.CV_8U))
        if self.skin > 0:
            x = _u8(cv2.bilateralFilter(x, 5, self.skin, 3))
        amount, reach = self.sharpen
        if amount > 0:
            x = _u8(cv2.addWeighted(x, 1 + amount, cv2.GaussianBlur(x, (0, 0), reach), -amount, 0))
        return x

    def _cut_out(self, x: Image) -> Image:
        if self.cutout is None:
            return x
        size = x.shape[0]
        left, top, width, height = (int(v * size) for v in self.cutout)
        out = x.copy()
        out[top : top + height, left : left + width] = self.fill
        return out


def draw(rng: Generator) -> Degradation:
    """Return a random degradation: from hardly any to that of a much-forwarded video."""
    codec = rng.choice(["none", "jpeg", "h264", "both"], p=[0.1, 0.4, 0.35, 0.15])
    light = rng.random() < 0.7
    cut = rng.random() < 0.15
    brighter = rng.uniform(0.85, 1.3) if light else 1.0
    red, green, blue = (rng.uniform(0.9, 1.1, 3) if light else np.ones(3)) * brighter
    place = (*rng.uniform(0, 0.8, 2), *rng.uniform(0.08, 0.35, 2))
    left, top, width, height = (float(v) for v in place)
    return Degradation(
        seed=int(rng.integers(2**31)),
        gain=(float(red), float(green), float(blue)),
        gamma=float(np.exp(rng.uniform(-0.35, 0.35))) if light else 1.0,
        contrast=float(rng.uniform(0.75, 1.25)) if light else 1.0,
        saturation=float(rng.uniform(0.5, 1.4)) if rng.random() < 0.5 else 1.0,
        grey=bool(rng.random() < 0.1),
        shrink=float(rng.uniform(0.35, 1.0)) if rng.random() < 0.5 else 1.0,
        kernels=(int(rng.choice(INTERPOLATIONS)), int(rng.choice(INTERPOLATIONS[1:3]))),
        blur=float(rng.uniform(0.3, 1.6)) if rng.random() < 0.25 else 0.0,
        motion=(int(rng.integers(3, 8)), float(rng.uniform(0, 180)))
        if rng.random() < 0.08
        else (0, 0.0),
        noise=float(rng.uniform(1, 10)) if rng.random() < 0.25 else 0.0,
        jpeg=int(rng.integers(30, 96)) if codec in {"jpeg", "both"} else None,
        crf=int(rng.integers(18, 38)) if codec in {"h264", "both"} else None,
        jpeg_again=int(rng.integers(55, 98)) if rng.random() < 0.3 else None,
        cutout=(left, top, width, height) if cut else None,
        fill=int(rng.integers(256)),
        # Telephones and broadcasters do both to honest pictures.
        skin=float(rng.uniform(10, 40)) if rng.random() < 0.08 else 0.0,
        sharpen=(float(rng.uniform(0.2, 1.4)), float(rng.uniform(0.7, 2.0)))
        if rng.random() < 0.25
        else (0.0, 1.0),
    )


def jpeg(image: Image, quality: int) -> Image:
    """Return an image after a JPEG round trip."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, blob = cv2.imencode(".jpg", image[..., ::-1], flags)
    return _u8(cv2.imdecode(blob, cv2.IMREAD_COLOR_RGB))


def h264(frames: list[Image], crf: int) -> list[Image]:
    """Return frames (H, W, 3) after an H.264 round trip in memory."""
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2:  # chroma has half of them
        even = (0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        padded = h264([_u8(cv2.copyMakeBorder(f, *even)) for f in frames], crf)
        return [f[:height, :width] for f in padded]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = height, width
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = []
    for index, image in enumerate(frames):
        planes = _u8(
            cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        )  # 20 x faster than PyAV's own here
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded += decoder.decode(None)
    return [_u8(cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420)) for frame in decoded]


def _u8(x: object) -> Image:
    return np.asarray(x, np.uint8)
