"""The face stage: its share of Crop, how small the pictures are, and how well boxes are tracked."""

from __future__ import annotations

import statistics
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.accuracy import read_labels
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make

if TYPE_CHECKING:
    from dfd_batch.faces.cropper import FaceCropper
    from dfd_batch.faces.detect import Detector, Look

N_CLIPS = 6
"""Labelled videos whose boxes are compared: every frame of them is given to the detector."""


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the face stage."""
    folder = bench.work / "media"
    codecs = [("h264", 250)] if bench.quick else [("h264", 250), ("hevc", 250)]
    videos = [make(Made(60, 1080, codec, gop), folder) for codec, gop in codecs]
    share = cpu.apart(_share, videos, bench)
    if bench.labelled is not None:
        labelled = [path for path, _ in read_labels(bench.labelled)]
        filmed = labelled[:: max(1, len(labelled) // N_CLIPS)][:N_CLIPS]
    else:
        filmed = [make(Made(10, 480), folder), make(Made(10, 1080, "h264", 250), folder)]
    overlaps, longest = cpu.apart(tracked_overlaps, filmed, bench.detector)
    kind = "labelled videos" if bench.labelled else "generated videos"
    return [
        Line(
            "face_share_of_crop",
            "CPU of finding, tracking and cropping faces, share of Crop's",
            "×",
            share,
            Goal("≤", 0.25),
            "1080p, 60 s, standard coverage",
        ),
        Line(
            "detector_long_side",
            "long side of the pictures that the detector sees first",
            "px",
            [float(longest)],
            Goal("≤", 640),
        ),
        Line(
            "tracked_box_iou",
            "overlap (IoU) of tracked boxes with detections in every frame, median of a video",
            "",
            overlaps,
            Goal("≥", 0.8),
            f"{len(overlaps)} {kind}",
        ),
    ]


def _share(videos: list[Path], bench: Bench) -> list[float]:
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.settings import Settings

    stages = Stages(Settings(checkpoint=bench.detector))
    stages(of_file(videos[0]))
    costs = [stages(of_file(path)) for _ in range(2 * bench.repeats) for path in videos]
    return [cost.face_s / cost.crop_s for cost in costs]


def tracked_overlaps(videos: list[Path], detector: str) -> tuple[list[float], int]:
    """Return the median overlap of tracked boxes with per-frame detections of each video.

    Videos without a usable face, and those that cannot be read, are left out. Beside it the
    longest side of the pictures that the detector's first looks see, in pixels.
    """
    from dfd_batch import checkpoint as checkpoints
    from dfd_batch.faces.cropper import FaceCropper
    from dfd_batch.faces.detect import Detector, Look
    from dfd_batch.outcomes import MediaFault
    from dfd_batch.settings import Faces

    faces = Faces()
    cropper = FaceCropper(faces, checkpoints.load_card(detector).preprocessing)
    every = Detector()
    look = Look(faces.detect_long_side, faces.min_detect_px)
    overlaps = []
    for path in videos:
        with suppress(MediaFault):
            overlaps.append(_overlap(path, cropper, every, look))
    return overlaps, look.long_side


def _overlap(path: Path, cropper: FaceCropper, every: Detector, look: Look) -> float:
    """Return one video's median overlap of tracked boxes with per-frame detections.

    Raises:
        MediaFault: It cannot be read or shows no usable face.
    """
    from dfd_batch.decode.media import decode
    from dfd_batch.faces.detect import iou
    from dfd_batch.schema import Clip, Probe
    from dfd_batch.settings import Coverage, Limits, Sampling

    items = decode(str(path), Sampling(coverage=Coverage.QUICK), Limits())
    found = cropper.start(next(item for item in items if isinstance(item, Probe)))
    detected = {}
    for item in items:
        if isinstance(item, Clip):
            found.add(item)
            for time_s, frame in zip(item.times_s, item.frames, strict=True):
                detected[float(time_s)] = (every.look([frame], look)[0], item.scale)
    crops = found.finish()
    own = []
    for time_s, box in zip(crops.times_s, crops.boxes, strict=True):
        others, scale = detected[float(time_s)]
        if others:  # a frame without a detection has nothing to compare with
            own.append(max(iou(box, other.box / np.float32(scale)) for other in others))
    return statistics.median(own) if own else 0.0
