"""A video file opened for reading: one local file, one demuxer, one thread, one picture stream."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.logging

from dfd_batch.decode.partial import PartialFile
from dfd_batch.decode.sniff import Sniffed
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Limits

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

Source = str | PartialFile
"""A local file by its path, or one that is filled in as it is read."""

DEFAULT_FPS = 25.0
FPS_RANGE = (0.1, 1000.0)  # outside, a header's rate is a time base or nonsense
SEARCH_BYTES = 2**20
CODEC_NAMES = {
    "mov": re.compile(rb"stsd.{12}([ -~]{4})", re.DOTALL),
    "matroska": re.compile(rb"\x86.(V_[A-Z0-9/_.]+)", re.DOTALL),
    "avi": re.compile(rb"vids([ -~]{4})"),
}
"""Where containers write the codec of their first video."""
NOT_PICTURES = ("attached_pic", "timed_thumbnails", "still_image")  # cover art is no video


@contextmanager
def open_video(
    source: Source, sniffed: Sniffed, limits: Limits
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yield the open container and the stream of moving pictures, ready to decode.

    FFmpeg may read this one file and nothing else: the demuxer is the one that was sniffed,
    protocols other than `file` are off, and references inside MP4 files stay at their default,
    which is not to be followed.

    Raises:
        MediaFault: `unreadable`, `unsupported` or `too_large`.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _whitelist(sniffed)}
    file = f"file:{source}" if isinstance(source, str) else source
    if isinstance(source, PartialFile):
        source.seek(0)
    try:
        container = av.open(
            file, "r", format=sniffed.opener, options=options, metadata_errors="replace"
        )
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise _damaged(sniffed, reason(error)) from None
    with container:
        yield container, _picture_stream(container, source, sniffed, limits)


def _damaged(sniffed: Sniffed, why: str) -> MediaFault:
    told = f"the {sniffed.container} container cannot be opened ({why})."
    return MediaFault(Outcome.UNREADABLE, "damaged_container", told)


def _whitelist(sniffed: Sniffed) -> str:
    names: str = av.ContainerFormat(sniffed.opener, "r").name
    return names


def _picture_stream(
    container: InputContainer, source: Source, sniffed: Sniffed, limits: Limits
) -> VideoStream:
    if not container.streams:  # not even sound: its description is cut off
        raise _damaged(sniffed, "no stream is described")
    streams = [
        stream
        for stream in container.streams.video
        if not any(av.stream.Disposition[name] in stream.disposition for name in NOT_PICTURES)
    ]
    if not streams:
        raise MediaFault(
            Outcome.UNSUPPORTED,
            "no_video_stream",
            f"the {sniffed.container} file holds no moving pictures (sound or data only).",
        )
    readable = [stream for stream in streams if stream.codec_context is not None]
    if not readable:
        raise MediaFault(
            Outcome.UNSUPPORTED,
            "codec_not_supported",
            f"the {sniffed.container} file's video codec "
            f"({codec_name(streams[0], source, sniffed)}) has no decoder here.",
        )
    stream = max(readable, key=lambda s: (s.width * s.height, -s.index))
    if stream.width * stream.height > limits.max_pixels:
        raise MediaFault(
            Outcome.TOO_LARGE,
            "too_many_pixels",
            f"frames have {stream.width} × {stream.height} pixels, more than limits.max_pixels = "
            f"{limits.max_pixels}.",
        )
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    # a frame may announce another size than the header did
    stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
    return stream


def codec_name(stream: VideoStream, source: Source, sniffed: Sniffed) -> str:
    """Return the codec's name, or where it has no decoder, what the container calls it."""
    if stream.codec_context is not None:
        name: str = stream.codec_context.codec.canonical_name
        return name
    if sniffed.opener not in CODEC_NAMES:
        return "unknown"
    with (
        nullcontext(source) if isinstance(source, PartialFile) else Path(source).open("rb") as file
    ):
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        ends = file.read(SEARCH_BYTES)
        file.seek(max(len(ends), size_bytes - SEARCH_BYTES))
        ends += file.read()
    found = CODEC_NAMES[sniffed.opener].search(ends)
    return found.group(1).decode() if found else "unknown"


def frames_per_second(stream: VideoStream) -> float:
    """Return the average frame rate, or 25 where the header's makes no sense."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and FPS_RANGE[0] <= rate <= FPS_RANGE[1]:
            return float(rate)
    return DEFAULT_FPS


def reason(error: BaseException) -> str:
    """Return FFmpeg's words for an error without the path that it appends."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words)[:80]
