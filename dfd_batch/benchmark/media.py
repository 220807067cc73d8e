"""Media to measure on: photographs with faces, filmed, in the sizes and codecs of archives.

Ten seconds are encoded; longer videos repeat their packets with later time stamps, which costs
seconds instead of hours and leaves the decoder the same work per frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd_batch.demo import photographs
from dfd_batch.demo.film import FPS, Shot, View, film
from dfd_batch.demo.photographs import Picture

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

RECIPE = "2"
"""Raised when what is made changes, so that nothing older is taken for it."""
BASE_S = 10
WIDTHS = {480: 854, 1080: 1920, 2160: 3840}
BITS_PER_PIXEL = 0.08
"""Of a frame: about 4 Mbit/s at 1080p, as archives have it."""
ENCODERS = {"h264": ("libx264", "fast"), "hevc": ("libx265", "superfast")}
"""Presets with what makes real videos costly to decode: CABAC, B-frames, deblocking."""


@dataclass(frozen=True)
class Made:
    """One generated video.

    Args:
        seconds: Length, a multiple of ten.
        height: 480, 1080 or 2160.
        codec: "h264" or "hevc".
        gop: Frames from one key frame to the next.
    """

    seconds: int
    height: int
    codec: str = "h264"
    gop: int = 50

    @property
    def name(self) -> str:
        """Return its file name."""
        return f"{self.codec}-{self.height}p-gop{self.gop}-{self.seconds}s-r{RECIPE}.mp4"


def make(video: Made, folder: Path) -> Path:
    """Return the file of a video, made unless it is there."""
    path = folder / video.name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{os.getpid()}-{video.name}"
    if video.seconds == BASE_S:
        _encode(video, unfinished)
    else:
        base = make(Made(BASE_S, video.height, video.codec, video.gop), folder)
        _repeat(base, unfinished, video.seconds // BASE_S)
    unfinished.rename(path)
    return path


def make_image(height: int, folder: Path) -> Path:
    """Return a JPEG of the given height that shows a face."""
    from PIL import Image

    path = folder / f"image-{height}p-r{RECIPE}.jpg"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        picture = next(_filmed(Made(BASE_S, height)))
        Image.fromarray(picture).save(path, quality=90)
    return path


def _filmed(video: Made) -> Iterator[Picture]:
    """Yield the frames: somebody before a hand-held camera that moves in a little."""
    portrait = photographs.astronaut().picture
    height = video.height
    zoom = height / 480
    shot = Shot(
        View(225, 200, 1.1 * zoom),
        View(235, 170, 1.4 * zoom),
        WIDTHS[height],
        height,
        duration_s=float(BASE_S),
        seed=height,
    )
    return film(repeat(portrait), shot)


def _encode(video: Made, path: Path) -> None:
    import av

    encoder, preset = ENCODERS[video.codec]
    width = WIDTHS[video.height]
    bits = round(width * video.height * FPS * BITS_PER_PIXEL)
    closed = f"keyint={video.gop}:min-keyint={video.gop}:scenecut=0:open-gop=0:log-level=none"
    options = {
        "preset": preset,
        "x265-params" if video.codec == "hevc" else "x264-params": closed,
        "threads": "0",
    }
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(encoder, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, video.height, "yuv420p"
        stream.codec_context.gop_size = video.gop
        stream.bit_rate = bits
        for picture in _filmed(video):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _repeat(base: Path, path: Path, n: int) -> None:
    """Write a video `n` times, one after the other; it begins with a key frame every time."""
    import av

    with av.open(str(base)) as source, av.open(str(path), "w", format="mp4") as container:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        assert stream.time_base is not None  # noqa: S101 - for the type checker
        round_ticks = round(BASE_S / stream.time_base)
        out = container.add_stream_from_template(stream)
        for index in range(n):
            for packet in packets:
                container.mux(_later(packet, index * round_ticks, out))


def _later(packet: Packet[Any], ticks: int, stream: VideoStream) -> Packet[Any]:
    """Return a copy of a packet with later time stamps."""
    import av

    copy: Packet[Any] = av.Packet(bytes(packet))
    copy.pts = None if packet.pts is None else packet.pts + ticks
    copy.dts = None if packet.dts is None else packet.dts + ticks
    copy.duration, copy.time_base = packet.duration, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    copy.stream = stream
    return copy
