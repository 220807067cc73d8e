"""One local file, image or video, as probe, clips and account, in this very process.

Scans go through `decode.cell`, which runs this in a process that may crash. Where the files are
trusted (training data, demonstrations) it can be called directly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dfd_batch.decode.clips import Allocate
from dfd_batch.decode.container import Source
from dfd_batch.decode.image import read_image
from dfd_batch.decode.partial import Load, PartialFile
from dfd_batch.decode.sniff import HEAD_BYTES, Sniffed, sniff
from dfd_batch.decode.video import Planned, read_video
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Limits, Sampling


def empty(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return room for a clip in this process's own memory."""
    return np.empty(shape, np.uint8)


def decode(
    path: str,
    sampling: Sampling,
    limits: Limits,
    allocate: Allocate = empty,
    load: Load | None = None,
) -> Iterator[Planned | Probe | Clip | Decoded]:
    """Yield one plan, one probe, at least one clip and, last, the account.

    Args:
        path: A local file.
        sampling: Which clips of a video are read.
        limits: What the object may cost.
        allocate: Makes room for each clip's frames.
        load: Brings bytes of the file that are not there yet; None: all are.

    Raises:
        MediaFault: The file cannot be judged; the message begins with lower case, so that the
            object's name can be put before it.
    """
    if load is None:
        yield from _timed(_items(path, path, sampling, limits, allocate), lambda: 0.0)
        return
    with PartialFile(path, load) as file:
        items = _items(path, file, sampling, limits, allocate)
        yield from _timed(items, lambda: file.waited_s)


def _items(
    path: str, source: Source, sampling: Sampling, limits: Limits, allocate: Allocate
) -> Iterator[Planned | Probe | Clip | Decoded]:
    if isinstance(source, PartialFile):
        source.ensure(0, HEAD_BYTES)
    sniffed = sniff(path)
    if sniffed.media == "video":
        yield from read_video(source, sniffed, sampling, limits, allocate)
        return
    if isinstance(source, PartialFile):
        source.read()  # the whole of it
    yield from _image(path, sniffed, limits, allocate)


def _timed(
    items: Iterator[Planned | Probe | Clip | Decoded], waited_s: Callable[[], float]
) -> Iterator[Planned | Probe | Clip | Decoded]:
    """Yield the items, the account with the time that they took, without that of waiting."""
    spent_s, started = 0.0, time.perf_counter()
    for item in items:
        spent_s += time.perf_counter() - started
        if isinstance(item, Decoded):
            yield replace(item, decode_ms=1000 * (spent_s - waited_s()))
        else:
            yield item
        started = time.perf_counter()


def _image(
    path: str, sniffed: Sniffed, limits: Limits, allocate: Allocate
) -> Iterator[Planned | Probe | Clip | Decoded]:
    yield Planned(1)
    probe, clip, truncated = read_image(path, sniffed, limits)
    yield probe
    frames = allocate(clip.frames.shape)
    np.copyto(frames, clip.frames)
    yield replace(clip, frames=frames)
    yield Decoded(n_clips=1, n_frames_decoded=1, n_frames_used=1, truncated=truncated)
