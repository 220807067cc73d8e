"""When a video's key frames come, from the container's index or, where there is none, its packets.

An index is asked at a fixed number of moments, so that a video of ten hours costs what one of a
minute does. Files without one (transport streams, broken recordings) are demuxed once, without
decoding; those too big for that are sought by time alone.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import av

from dfd_batch.decode.container import frames_per_second

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

PROBES = 512
"""Moments at which an index is asked for key frames: far more than clips are placed."""
SCAN_BYTES = 256 * 2**20
"""Files up to this size are demuxed when they have no index (about 1 s of CPU at most)."""
MARGIN_S = 0.5
MISSING_END, MISSING_END_S = 0.05, 0.5
"""Share and length of the declared duration that may be absent from a file that is whole."""


@dataclass(frozen=True)
class Timeline:
    """Key frames of a stream; times count from its first frame."""

    keys: tuple[tuple[float, int], ...]
    """(time in s, time stamp to seek), ascending."""
    exact: bool
    """A key frame lies at each of them; else they are moments to seek."""
    duration_s: float
    """Of what the file really holds."""
    fps: float
    truncated: bool
    margin_s: float = 0.0
    """Seek so much earlier: where there is no index, seeks land imprecisely."""
    zero: int | None = None
    """Time stamp of the first displayed frame, if it is known."""


def read_timeline(container: InputContainer, stream: VideoStream) -> Timeline:
    """Return where a stream's key frames are; leaves the reading position anywhere.

    Args:
        container: An open file.
        stream: Its pictures.
    """
    zero = _zero(container, stream)  # first, while the reading position is the beginning
    return replace(_found(container, stream), zero=zero)


def _found(container: InputContainer, stream: VideoStream) -> Timeline:
    declared_s = declared_duration_s(container, stream)
    if _is_matroska(container):
        return _from_cues(container, stream, declared_s)
    entries = stream.index_entries
    if len(entries) and _seconds(stream, entries[-1].timestamp) >= 0.8 * (declared_s or 1e9):
        return _from_index(container, stream, declared_s or 0.0)
    return _from_packets(container, stream, declared_s)


def _zero(container: InputContainer, stream: VideoStream) -> int | None:
    """Return the time stamp of the first displayed frame, if it is known before decoding."""
    if container.format.name != "avi":
        return stream.start_time
    # AVI has no time stamps; FFmpeg's guess starts late by the decoder's reordering
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            return packet.pts
    return None


def declared_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the duration that the headers tell, from the stream's first frame on."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    told_s = float((container.duration or 0) / av.time_base)
    if _is_matroska(container):  # tells its last moment, whenever the pictures begin
        told_s -= max(0.0, float((stream.start_time or 0) * (stream.time_base or 0)))
    return told_s if told_s > 0 else None


def _is_matroska(container: InputContainer) -> bool:
    return container.format.name.startswith("matroska")


def _seconds(stream: VideoStream, stamp: int) -> float:
    """Return the time of a stamp, counted from the stream's first frame."""
    return float((stamp - (stream.start_time or 0)) * (stream.time_base or 0))


def _asked_keys(
    stream: VideoStream, end_s: float, size_bytes: int
) -> tuple[tuple[float, int], ...]:
    """Return key frames of the index that lie wholly within the file."""
    entries = stream.index_entries
    first = stream.start_time or 0
    ticks = end_s / float(stream.time_base or 1)
    found = {0}
    for i in range(PROBES + 1):
        moment = first + int(ticks * i / PROBES)
        for backward in (True, False):
            found.add(entries.search_timestamp(moment, backward=backward))
    keys = {}
    for position in sorted(found - {-1}):
        entry = entries[position]
        time_s = _seconds(stream, entry.timestamp)
        # an edit list may begin behind a key frame, which then is decoded but not displayed
        is_shown = not entry.is_discard or time_s < 0
        if entry.is_keyframe and is_shown and entry.pos + entry.size <= size_bytes:
            # stamps of an index count decoding time, which begins a little before display
            keys[max(0.0, time_s)] = entry.timestamp
    return tuple(sorted(keys.items()))


def _from_index(container: InputContainer, stream: VideoStream, declared_s: float) -> Timeline:
    entries, size_bytes = stream.index_entries, container.size
    n_whole = len(entries)
    if entries[-1].pos + entries[-1].size > size_bytes:  # bisect: positions ascend with time
        low, n_whole = 0, n_whole - 1
        while low < n_whole:
            middle = (low + n_whole) // 2
            entry = entries[middle]
            if entry.pos + entry.size <= size_bytes:
                low = middle + 1
            else:
                n_whole = middle
    truncated = n_whole < len(entries)
    held_s = _seconds(stream, entries[n_whole].timestamp) if truncated else declared_s
    fps = frames_per_second(stream)
    return Timeline(
        _asked_keys(stream, max(held_s, 0.0), size_bytes),
        exact=True,
        duration_s=max(held_s, 1 / fps),
        fps=fps,
        truncated=truncated,
    )


def _from_cues(
    container: InputContainer, stream: VideoStream, declared_s: float | None
) -> Timeline:
    # FFmpeg reads the cues, or builds them by reading on, when it is asked to seek far ahead
    last_s = 0.0
    ahead_s = declared_s if declared_s is not None else 1e6
    try:
        ahead = (stream.start_time or 0) + int(ahead_s / (stream.time_base or 1))
        container.seek(ahead, stream=stream)
        for packet in container.demux(stream):
            if packet.pts is not None:
                last_s = max(last_s, _seconds(stream, packet.pts + (packet.duration or 0)))
    except av.FFmpegError:
        pass
    fps = frames_per_second(stream)
    if declared_s is None or declared_s <= 0:
        declared_s = last_s
    missing_s = declared_s - last_s
    truncated = missing_s > max(MISSING_END_S, MISSING_END * declared_s)
    held_s = last_s if truncated else declared_s
    keys = _asked_keys(stream, held_s, container.size) if len(stream.index_entries) else ()
    return Timeline(keys, True, max(held_s, 1 / fps), fps, truncated)


def _from_packets(
    container: InputContainer, stream: VideoStream, declared_s: float | None
) -> Timeline:
    fps = frames_per_second(stream)
    if container.size > SCAN_BYTES and declared_s:
        step = declared_s / PROBES / float(stream.time_base or 1)
        first = stream.start_time or 0
        moments = (first + int(i * step) for i in range(PROBES))
        return Timeline(
            tuple((_seconds(stream, m), m) for m in moments), False, declared_s, fps, False
        )
    keys: dict[float, int] = {}
    last_s, n_read, truncated = 0.0, 0, False
    try:
        for packet in container.demux(stream):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None:
                continue
            n_read += packet.size
            last_s = max(last_s, _seconds(stream, stamp + (packet.duration or 0)))
            if packet.is_keyframe:
                keys.setdefault(max(0.0, _seconds(stream, stamp)), stamp)
            if n_read > SCAN_BYTES:
                break
    except av.FFmpegError:
        truncated = True
    truncated |= bool(
        declared_s and declared_s - last_s > max(MISSING_END_S, MISSING_END * declared_s)
    )
    return Timeline(
        tuple(sorted(keys.items())), True, max(last_s, 1 / fps), fps, truncated, MARGIN_S
    )
