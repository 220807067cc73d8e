"""A photograph filmed with a handheld camera, and the clip written as H.264 with AAC sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.demo.photographs import Picture

if TYPE_CHECKING:
    import av

FPS = 25
SAMPLE_RATE_HZ = 44_100


@dataclass(frozen=True)
class View:
    """What a camera shows: a point of the photograph in the middle, and how large.

    Args:
        x: Photograph's pixel in the middle of the frame, from the left.
        y: The same from the top.
        zoom: Frame pixels per photograph pixel.
    """

    x: float
    y: float
    zoom: float


@dataclass(frozen=True)
class Shot:
    """A slow move from one view to another.

    Args:
        start: First view.
        end: Last view.
        width: Frame width in pixels.
        height: Frame height in pixels.
        duration_s: Length of the shot.
        seed: Of the shake of the hand and the noise of the sensor.
    """

    start: View
    end: View
    width: int = 640
    height: int = 480
    duration_s: float = 5.0
    seed: int = 0

    @property
    def n_frames(self) -> int:
        """Frames of the shot."""
        return round(self.duration_s * FPS)


def film(scenes: Iterable[Picture], shot: Shot) -> Iterator[Picture]:
    """Yield the shot's frames, one of each scene.

    Args:
        scenes: At least `shot.n_frames` pictures of one size, all alike for a still scene.
        shot: How the camera moves.
    """
    rng = np.random.default_rng(shot.seed)
    shake = smooth_noise(rng, shot.n_frames, 2, scale=1.5, window=7)
    grains = rng.normal(0, 1.6, (4, shot.height, shot.width, 1)).repeat(3, axis=3)
    noise = np.rint(grains).astype(np.int16)
    for index, scene in zip(range(shot.n_frames), scenes, strict=False):
        part = index / max(1, shot.n_frames - 1)
        eased = part * part * (3 - 2 * part)
        zoom = shot.start.zoom + eased * (shot.end.zoom - shot.start.zoom)
        x = shot.start.x + eased * (shot.end.x - shot.start.x) + shake[index, 0]
        y = shot.start.y + eased * (shot.end.y - shot.start.y) + shake[index, 1]
        matrix = np.array(
            [[zoom, 0, shot.width / 2 - zoom * x], [0, zoom, shot.height / 2 - zoom * y]]
        )
        frame = cv2.warpAffine(
            scene,
            matrix,
            (shot.width, shot.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        noisy = cv2.add(frame, noise[index % len(noise)], dtype=cv2.CV_8U)  # saturates
        yield np.asarray(noisy, np.uint8)


def smooth_noise(
    rng: np.random.Generator, n: int, dims: int, scale: float, window: int
) -> NDArray[np.float64]:
    """Return (n, dims) noise of standard deviation `scale`, smoothed over `window` steps."""
    raw = rng.normal(0, scale * np.sqrt(window), (n + window - 1, dims))
    kernel = np.ones(window) / window
    columns = [np.convolve(raw[:, d], kernel, mode="valid") for d in range(dims)]
    return np.stack(columns, axis=1)


def write_clip(path: Path, frames: Iterable[Picture], rotation: int = 0) -> None:
    """Write frames as H.264 with a quiet AAC murmur.

    One encoder thread and no clock in the file: the same frames give the same bytes.

    Args:
        path: The container follows from the suffix.
        frames: (H, W, 3) RGB pictures of one size, 25 per second.
        rotation: Counter-clockwise degrees a player turns the frames by, as phones record it.
    """
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream(
            "libx264",
            rate=FPS,
            options={"preset": "veryfast", "crf": "23", "g": str(2 * FPS), "threads": "1"},
        )
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=48_000)
        if rotation:
            video.set_display_rotation(rotation)
        n_frames = 0
        for n_frames, picture in enumerate(frames, start=1):
            if n_frames == 1:
                video.height, video.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for sound in _murmur(n_frames / FPS):
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def _murmur(duration_s: float) -> Iterator[av.AudioFrame]:
    """Yield audio frames of low noise that swells about four times a second, as speech does."""
    import av

    rng = np.random.default_rng(7)
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_s)
    wave = (smooth_noise(rng, n_samples, 1, scale=0.02, window=40)[:, 0] * swell).astype(np.float32)
    for start in range(0, n_samples, 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave[None, start : start + 1024]), format="fltp", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = start
        frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
        yield frame
