"""Generated media for tests: every frame of a video carries its own number in its grey value."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Frames = Sequence[NDArray[np.uint8]]
AV1, AV1_FAST = "libsvtav1", {"preset": "12"}


def numbered_frames(n: int, width: int = 96, height: int = 64) -> list[NDArray[np.uint8]]:
    """Frames whose left half has grey 16 + 3 * number; the top right quarter is red."""
    frames = []
    for number in range(n):
        frame = np.full((height, width, 3), 16 + 3 * (number % 78), np.uint8)
        frame[: height // 2, width // 2 :] = (200, 30, 30)
        frame[height // 2 :, width // 2 :] = 128
        frames.append(frame)
    return frames


def number_of(frame: NDArray[np.uint8]) -> int:
    """The number that a frame of `numbered_frames` carries."""
    height, width = frame.shape[:2]
    left = frame[height // 4 : -height // 4, width // 8 : width // 2 - width // 8]
    return round((float(left.mean()) - 16) / 3)


def moving_frames(n: int, width: int = 320, height: int = 240) -> list[NDArray[np.uint8]]:
    """Textured frames with motion, so that damage to the data shows."""
    from skimage.data import astronaut

    base = np.tile(astronaut(), (1 + height // 512, 1 + (width + n) // 512, 1))
    return [base[:height, i : i + width].copy() for i in range(n)]


def write_video(
    path: Path,
    frames: Frames,
    *,
    fps: int = 25,
    codec: str = "libx264",
    gop: int = 12,
    pix_fmt: str = "yuv420p",
    audio: bool = False,
    rotation: int = 0,
    sar: Fraction | None = None,
    pts_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a video and return its path.

    Args:
        path: Its suffix chooses the container.
        frames: RGB pictures, uint8 (H, W, 3).
        rotation: Degrees clockwise by which a player must turn the frames.
        sar: Width to height of a pixel.
        pts_ms: Presentation times; evenly spaced unless given.
    """
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            options = {"preset": "ultrafast", "crf": "12", "sc_threshold": "0"} | (options or {})
        stream.options = options or {}
        if sar:
            stream.codec_context.sample_aspect_ratio = sar
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(-rotation)
        sound = (
            container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000)
            if audio
            else None
        )
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if pts_ms is not None:
                frame.pts, frame.time_base = pts_ms[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _write_tone(container, sound, len(frames) / fps)
    if codec == AV1:
        # Where root runs it, it gives the thread that calls it real-time priority, which all that
        # is started later inherits: a browser that is busy then stops the whole machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def _write_tone(
    container: av.container.OutputContainer, sound: av.AudioStream, length_s: float
) -> None:
    n = int(48000 * length_s)
    wave = np.sin(np.arange(n) * 2 * np.pi * 440 / 48000).astype(np.float32) * 0.1
    for begin in range(0, n - 960, 960):
        block = np.stack([wave[begin : begin + 960]] * 2)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, begin, Fraction(1, 48000)
        container.mux(sound.encode(frame))
    container.mux(sound.encode())


def write_sound(path: Path, length_s: float = 1.0) -> Path:
    """Write a file with sound alone."""
    with av.open(str(path), "w") as container:
        _write_tone(container, container.add_stream("aac", rate=48000), length_s)
    return path
