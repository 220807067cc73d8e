"""Clips cut from decoded frames: consecutive, with exact times, as the display shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from dfd_batch.decode.frames import FrameSource
from dfd_batch.decode.geometry import Geometry, geometry, upright_of
from dfd_batch.decode.sampling import Run
from dfd_batch.decode.timeline import Timeline
from dfd_batch.schema import Clip
from dfd_batch.settings import Limits, Sampling

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Allocate = Callable[[tuple[int, int, int, int]], NDArray[np.uint8]]
"""Makes room for the frames of one clip, (T, H, W, 3)."""

HD_HEIGHT = 720  # from here on, pictures that do not name their colours are taken for BT.709
UNSPECIFIED_COLORSPACE = 2
EPS_S = 1e-6
SPARE_FRAMES = 300
"""Packets decoded for a run beyond the frames wanted: the length of a long group of pictures."""


class ClipReader:
    """Reads runs of clips; frames never go back in time from one clip to the next."""

    def __init__(
        self,
        source: FrameSource,
        stream: VideoStream,
        timeline: Timeline,
        sampling: Sampling,
        limits: Limits,
        allocate: Allocate,
    ) -> None:
        self._source = source
        self._stream = stream
        self._timeline = timeline
        self._sampling = sampling
        self._limits = limits
        self._allocate = allocate
        self._picture = Picture()
        self._last_s = -np.inf
        self._zero = timeline.zero
        self._index = 0
        self.n_used = 0
        self.geometry: Geometry | None = None

    def read(self, run: Run) -> Iterator[Clip]:
        """Yield the clips of a run that the file holds."""
        n_wanted = run.n_clips * self._sampling.frames_per_clip * self._sampling.stride
        frames = self._timed(self._stamp_of(run), SPARE_FRAMES + 4 * n_wanted)
        for _ in range(run.n_clips):
            clip = self._clip(frames)
            if clip is None:
                return
            yield clip

    def _stamp_of(self, run: Run) -> int | None:
        """Return where to seek for a run: its key frame, or the last one before it."""
        keys = self._timeline.keys
        before = [stamp for time_s, stamp in keys if time_s <= run.start_s + EPS_S]
        return before[-1] if before else (keys[0][1] if keys else None)

    def _timed(self, stamp: int | None, n_most: int) -> Iterator[tuple[VideoFrame, float]]:
        """Yield frames later than all before, with their times from the stream's start.

        Args:
            stamp: Where to seek, in stream ticks.
            n_most: Packets decoded at most.
        """
        step_s = 1 / self._timeline.fps
        previous_s = None
        exact, margin_s = self._timeline.exact, self._timeline.margin_s
        for frame in self._source.from_stamp(stamp, exact=exact, margin_s=margin_s, n_most=n_most):
            if self._zero is None:
                self._zero = frame.pts
            if frame.pts is None or self._stream.time_base is None:
                time_s = 0.0 if previous_s is None else previous_s + step_s
            else:
                time_s = float((frame.pts - (self._zero or 0)) * self._stream.time_base)
            # stamps that stand still; sums of steps miss the next stamp by a rounding
            if previous_s is not None and time_s <= previous_s + EPS_S:
                time_s = previous_s + step_s
            previous_s = time_s
            if time_s > self._last_s + EPS_S:
                yield frame, time_s

    def _clip(self, frames: Iterator[tuple[VideoFrame, float]]) -> Clip | None:
        """Return the next clip, shorter where the stream ends, or None behind its end."""
        n_frames, stride = self._sampling.frames_per_clip, self._sampling.stride
        out: NDArray[np.uint8] | None = None
        times_s: list[float] = []
        for position in range(n_frames * stride):
            found = next(frames, None)
            if found is None:
                break
            frame, time_s = found
            self._last_s = time_s
            if position % stride:
                continue
            if out is None:
                self.geometry = self.geometry or self._geometry(frame)
                out = self._allocate((n_frames, *self.geometry.shape, 3))
            assert self.geometry is not None  # noqa: S101 - for the type checker
            self._picture.write(frame, self.geometry, out[len(times_s)])
            times_s.append(time_s)
        if out is None or self.geometry is None:
            return None
        self.n_used += len(times_s)
        index, self._index = self._index, self._index + 1
        return Clip(index, out[: len(times_s)], np.array(times_s), self.geometry.scale)

    def _geometry(self, frame: VideoFrame) -> Geometry:
        matrix = frame.side_data.get("DISPLAYMATRIX")
        return geometry(
            frame.width,
            frame.height,
            self._stream.sample_aspect_ratio,
            upright_of(bytes(cast(memoryview, matrix)) if matrix is not None else None),
            self._limits.decode_long_side,
        )


class Picture:
    """Turns decoded frames into RGB pictures of one size, whatever sizes and formats come."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, geometry: Geometry, out: NDArray[np.uint8]) -> None:
        """Write a frame, converted, reduced and upright, to `out` (H, W, 3)."""
        width, height = geometry.decoded
        unnamed_hd = frame.colorspace == UNSPECIFIED_COLORSPACE and frame.height >= HD_HEIGHT
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if unnamed_hd else None,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(cast(memoryview, plane), np.uint8).reshape(height, plane.line_size)
        picture = rows[:, : width * 3].reshape(height, width, 3)
        geometry.upright.apply(picture, out)
