"""What one would otherwise write: 32 uniformly spaced frames, MTCNN on each, one process per core.

The same libraries, honestly used: decord for the frames (PyAV where decord is not installed),
MTCNN on every frame at full resolution, the largest face through the same network in float32, the
mean of the frames' logits as the verdict. No Ray, no tracking, no containment, no calibration.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dfd_batch.benchmark.eager import EagerEncoder

N_FRAMES = 32
AT_ONCE = 8
"""Frames decoded at once: 32 of them would be 800 MB at 4K."""
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Judged:
    """What the plain way says of one object, and its processor seconds."""

    path: str
    logit: float | None  # None: no face
    cpu_s: float
    decode_s: float
    face_s: float
    network_s: float


class Plain:
    """Detector and network of one process."""

    def __init__(self, detector: str) -> None:
        import torch
        from facenet_pytorch import MTCNN

        from dfd_batch.benchmark.eager import EagerEncoder

        torch.set_num_threads(1)
        self._mtcnn = MTCNN(keep_all=True, device=torch.device("cpu"))
        self._encoder: EagerEncoder = EagerEncoder(detector)

    def __call__(self, path: str) -> Judged:
        """Return what is said of one object."""
        begun = time.process_time()
        decode_s = face_s = 0.0
        crops = []
        frames = read_frames(path)
        while True:
            started = time.process_time()
            frame = next(frames, None)
            decoded = time.process_time()
            decode_s += decoded - started
            if frame is None:
                break
            crop = self._crop(frame)
            if crop is not None:
                crops.append(crop)
            face_s += time.process_time() - decoded
        started = time.process_time()
        logits = self._encoder(np.stack(crops)) if crops else np.empty(0)
        ended = time.process_time()
        return Judged(
            path,
            float(logits.mean()) if len(logits) else None,
            ended - begun,
            decode_s,
            face_s,
            ended - started,
        )

    def _crop(self, frame: Frame) -> Frame | None:
        """Return the crop of the largest face of a frame, cut as the network has learned."""
        from dfd_batch.faces.crop import cut, face_square

        try:
            boxes, _, landmarks = self._mtcnn.detect(frame, landmarks=True)
        except (RuntimeError, IndexError):  # a candidate outside of the picture
            return None
        if boxes is None:
            return None
        sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        points = np.asarray(landmarks[int(np.argmax(sizes))], np.float32)
        given = self._encoder.preprocessing
        return cut(frame, face_square(points, given.margin), given.crop_size)


def read_frames(path: str) -> Iterator[Frame]:
    """Yield 32 uniformly spaced frames of a video, or the one of an image."""
    if path.lower().endswith(IMAGES):
        from PIL import Image

        with Image.open(path) as image:
            yield np.asarray(image.convert("RGB"))
        return
    try:
        import decord
    except ImportError:
        yield from _by_av(path)
        return
    reader: Any = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    wanted = np.linspace(0, len(reader) - 1, N_FRAMES).round().astype(int)
    for start in range(0, N_FRAMES, AT_ONCE):
        yield from reader.get_batch(wanted[start : start + AT_ONCE]).asnumpy()


def _by_av(path: str) -> Iterator[Frame]:
    """Yield the frames as decord would: from the key frame before each, decoded up to it."""
    import av

    from dfd_batch.decode.container import frames_per_second
    from dfd_batch.decode.timeline import declared_duration_s, read_timeline

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        length_s = declared_duration_s(container, stream)
        if length_s is None:  # recorded live: the packets tell
            length_s = read_timeline(container, stream).duration_s
        last_s = max(0.0, length_s - 1 / frames_per_second(stream))
        times_s = np.linspace(0, last_s, N_FRAMES)
        first, ticks_per_s = stream.start_time or 0, 1 / float(stream.time_base or 1)
        for wanted in first + (times_s * ticks_per_s).astype(int):
            container.seek(int(wanted), stream=stream)
            frame = None
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= wanted:
                    break
            if frame is not None:  # the last one where the headers tell of more than there is
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


_plain: Plain | None = None


def _load(detector: str) -> None:
    global _plain  # noqa: PLW0603 - one detector per process, loaded as it starts
    _plain = Plain(detector)


def _judge(path: str) -> Judged:
    assert _plain is not None  # noqa: S101 - for the type checker
    return _plain(path)


def judge_all(paths: Sequence[Path], detector: str) -> list[Judged]:
    """Return the verdicts of the plain way, one process per core."""
    n = min(len(os.sched_getaffinity(0)), len(paths))
    with ProcessPoolExecutor(
        n, mp_context=get_context("spawn"), initializer=_load, initargs=(detector,)
    ) as pool:
        return list(pool.map(_judge, map(str, paths)))


def start_cpu_s(detector: str) -> float:
    """Return the processor seconds until one process is ready; for a fresh process."""
    _load(detector)
    return time.process_time()
