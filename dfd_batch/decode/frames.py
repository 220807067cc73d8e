"""Decoded frames in display order from a point in a video on, without those that are invented.

A decoder that meets damaged data conceals it: it patches a picture from others and carries the
patch on to the next key frame. FFmpeg says so in its log, and only there; such frames are counted
and left out, so that no verdict rests on them. (Codecs whose entropy coding knows no invalid data,
such as VP9 and mostly HEVC, decode damage into noise without noticing; nobody can count that.)

A video of one group of pictures whose beginning is damaged has no frame that is free of patches.
Read as `healed`, its frames count again once a while has passed without any further complaint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
import av.logging

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

KEY_SEARCH_PACKETS = 1000
"""Packets that are passed over for a key frame; streams that refresh gradually have none."""
HEAL_S = 1.0
"""Time without complaint after which a picture has mostly been drawn anew."""
NEVER = 2**62


@contextmanager
def _ffmpeg_log() -> Iterator[list[tuple[int, str, str]]]:
    """Yield what FFmpeg's decoders say meanwhile, every line of it."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.INFO)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_skip_repeated(skip)
        av.logging.set_level(level)


class FrameSource:
    """The frames of one stream, and the account of what was decoded for them.

    Args:
        container: An open file.
        stream: Its pictures.
        healed: Damage ends `HEAL_S` behind the last complaint, not only at a key frame.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, *, healed: bool = False
    ) -> None:
        self._container = container
        self._stream = stream
        self._heal = int(HEAL_S / float(stream.time_base or 1)) if healed else None
        self._damaged = (NEVER, NEVER)  # display times [from, to) in stream ticks
        self.n_decoded = 0
        self.n_invented = 0
        self.broken = False  # the container could not be read on

    def from_stamp(
        self, stamp: int | None, *, exact: bool, margin_s: float = 0.0, n_most: int = NEVER
    ) -> Iterator[VideoFrame]:
        """Yield frames from the key frame at a time stamp to the end of the stream.

        Args:
            stamp: Where to seek, in stream ticks; None reads on from the present position.
            exact: The key frame is that of the stamp, not an earlier one.
            margin_s: How much earlier to seek; what comes before the key frame is not decoded.
            n_most: Displayed packets decoded at most: the search for sound frames must have an end.
        """
        self._damaged = (NEVER, NEVER)
        if stamp is not None:
            try:
                margin = int(margin_s / float(self._stream.time_base or 1))
                self._container.seek(stamp - margin, stream=self._stream)
            except av.FFmpegError:
                self.broken = True
                return
        for packet in self._packets(stamp if exact else None):
            n_most -= not packet.is_discard  # what an edit list hides is no choice of ours
            if n_most < 0:
                return
            yield from self._decode(packet)

    def _packets(self, stamp: int | None) -> Iterator[Packet[VideoStream]]:
        """Yield packets from the first wanted key frame on, then the flush."""
        n_passed, started = 0, False
        try:
            for packet in self._container.demux(self._stream):
                stamps = [s for s in (packet.pts, packet.dts) if s is not None]
                early = stamp is not None and stamps and max(stamps) < stamp
                if not started and packet.size and (early or not packet.is_keyframe):
                    n_passed += 1
                    if n_passed < KEY_SEARCH_PACKETS or early:
                        continue
                started = True
                yield packet
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.broken = True

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[VideoFrame]:
        failed = False
        with _ffmpeg_log() as log:
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                frames, failed = [], packet.size > 0
        concealed = any("concealing" in message for _, _, message in log)
        self._note_damage(packet, concealed or failed)
        for frame in frames:
            self.n_decoded += 1
            if frame.is_corrupt or self._is_damaged(frame):
                self.n_invented += 1
            else:
                yield frame

    def _note_damage(self, packet: Packet[VideoStream], damaged: bool) -> None:
        """Remember damage from this packet's decoding time until the next sound key frame."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        begin, end = self._damaged
        if damaged:
            stamps = [s for s in (packet.pts, packet.dts) if s is not None]
            begin = min(begin, stamp if stamp is not None else -NEVER)
            end = max(stamps) + self._heal if stamps and self._heal is not None else NEVER
            self._damaged = (begin, end)
        elif packet.is_keyframe and begin < NEVER:
            shown = packet.pts if packet.pts is not None else stamp
            self._damaged = (begin, min(end, shown if shown is not None else NEVER))

    def _is_damaged(self, frame: VideoFrame) -> bool:
        begin, end = self._damaged
        return begin < NEVER and (frame.pts is None or begin <= frame.pts < end)
