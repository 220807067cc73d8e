"""One local file, image or video, as probe, clips and account, in this very process.

Scans go through `decode.cell`, which runs this in a process that may crash. Where the files are
trusted (training data, demonstrations) it can be called directly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dfd_batch.decode.clips import Allocate
from dfd_batch.decode.image import read_image
from dfd_batch.decode.sniff import Sniffed, sniff
from dfd_batch.decode.video import Planned, read_video
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Limits, Sampling


def empty(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return room for a clip in this process's own memory."""
    return np.empty(shape, np.uint8)


def decode(
    path: str, sampling: Sampling, limits: Limits, allocate: Allocate = empty
) -> Iterator[Planned | Probe | Clip | Decoded]:
    """Yield one plan, one probe, at least one clip and, last, the account.

    Args:
        path: A local file.
        sampling: Which clips of a video are read.
        limits: What the object may cost.
        allocate: Makes room for each clip's frames.

    Raises:
        MediaFault: The file cannot be judged; the message begins with lower case, so that the
            object's name can be put before it.
    """
    sniffed = sniff(path)
    items = (
        _image(path, sniffed, limits, allocate)
        if sniffed.media == "image"
        else read_video(path, sniffed, sampling, limits, allocate)
    )
    spent_s, started = 0.0, time.perf_counter()
    for item in items:
        spent_s += time.perf_counter() - started
        yield replace(item, decode_ms=1000 * spent_s) if isinstance(item, Decoded) else item
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
