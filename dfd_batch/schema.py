"""The shapes of the data between stages: pyarrow schemas at the boundaries, dataclasses inside.

One object is one row from the manifest to the report; faces, tracks and frames are list columns
of that row. Image and feature arrays cross a boundary as plain bytes whose shape follows from
`n_crops` and the checkpoint (K, S, S, 3) and (K, D): a block then never needs a tensor extension
type, and rows with no crop are simply empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SCHEMA_VERSION = 1
"""Raised only when a column changes meaning; columns are added, never removed."""

TIMESTAMP = pa.timestamp("us", tz="UTC")

MANIFEST = pa.schema(
    [
        pa.field("media_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        ("etag", pa.string()),
        ("version_id", pa.string()),
        ("size_bytes", pa.int64()),
        ("last_modified", TIMESTAMP),
        ("media", pa.string()),  # a hint from the name; the content decides
        ("attempt", pa.int32()),
    ]
)
"""What a run is to judge: identity, what the storage told, and how often it was tried (from 1)."""

_PROBE = [
    ("container", pa.string()),
    ("codec", pa.string()),
    ("duration_s", pa.float64()),
    ("fps", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("rotation", pa.int32()),
    ("has_audio", pa.bool_()),
    ("truncated", pa.bool_()),
]

_DECODE = [
    ("n_clips", pa.int32()),
    ("n_frames_decoded", pa.int32()),
    ("n_frames_used", pa.int32()),
    ("n_frames_repeated", pa.int32()),
    ("n_faces", pa.int32()),
    ("bytes_read", pa.int64()),
    ("fetch_ms", pa.float32()),
    ("decode_ms", pa.float32()),
    ("face_ms", pa.float32()),
]

_FAULT = [
    ("outcome", pa.string()),
    ("error_kind", pa.string()),
    ("error_message", pa.string()),
]

_CROP_LISTS = [
    ("crop_time_s", pa.list_(pa.float64())),
    ("crop_track", pa.list_(pa.int32())),
    ("crop_clip", pa.list_(pa.int32())),
    ("crop_box", pa.list_(pa.list_(pa.float32()))),  # K x (x0, y0, x1, y1), display pixels
    ("crop_landmarks", pa.list_(pa.list_(pa.float32()))),  # K x (x, y) * 5, display pixels
]

CROPPED = pa.schema(
    [
        *MANIFEST,
        *_PROBE,
        *_DECODE,
        *_FAULT,
        ("node", pa.string()),  # where it failed
        ("n_crops", pa.int32()),
        ("crops", pa.large_binary()),  # uint8 (K, S, S, 3) RGB
        ("motion", pa.large_binary()),  # float16 (M, C, 14, 14) of `features.motion.MotionMaps`
        ("motion_ms", pa.float32()),
        *_CROP_LISTS,
    ]
)
"""After `stages.Crop`: what the container says, what decoding took, and the face crops."""

EMBEDDED = pa.schema(
    [
        *(f for f in CROPPED if f.name not in {"crops", "motion", "motion_ms"}),
        ("features", pa.large_binary()),  # float16 (K, D)
        ("frame_logit", pa.list_(pa.float32())),
        ("embed_ms", pa.float32()),  # of the networks and of the maps that they read
    ]
)
"""After `stages.Embed`: the crops' features and log-odds in their place: the encoder's own ones, of
stills those of both networks."""

BOX = pa.struct([(side, pa.float32()) for side in ("x0", "y0", "x1", "y1")])

REPORT = pa.schema(
    [
        # identity
        *MANIFEST,
        # verdict
        pa.field("outcome", pa.string(), nullable=False),
        ("verdict", pa.string()),
        ("probability", pa.float64()),
        ("integrity", pa.float64()),
        ("threshold", pa.float64()),
        ("error_kind", pa.string()),
        ("error_message", pa.string()),
        # evidence
        *_PROBE,
        ("n_clips", pa.int32()),
        ("n_frames_decoded", pa.int32()),
        ("n_frames_used", pa.int32()),
        ("n_frames_scored", pa.int32()),
        ("n_frames_repeated", pa.int32()),
        ("n_faces", pa.int32()),
        (
            "faces",
            pa.list_(
                pa.struct(
                    [
                        ("track", pa.int32()),
                        ("probability", pa.float32()),
                        ("first_s", pa.float64()),
                        ("last_s", pa.float64()),
                        ("n_frames", pa.int32()),
                        ("box", BOX),
                    ]
                )
            ),
        ),
        (
            "timeline",
            pa.list_(
                pa.struct(
                    [
                        ("t_s", pa.float64()),
                        ("track", pa.int32()),
                        ("probability", pa.float32()),
                    ]
                )
            ),
        ),
        (
            "segments",
            pa.list_(
                pa.struct(
                    [
                        ("track", pa.int32()),
                        ("start_s", pa.float64()),
                        ("end_s", pa.float64()),
                        ("probability", pa.float32()),
                    ]
                )
            ),
        ),
        # provenance
        pa.field("detector_id", pa.string(), nullable=False),
        ("detector", pa.string()),
        ("weights_sha256", pa.string()),
        ("package_version", pa.string()),
        pa.field("run_id", pa.string(), nullable=False),
        ("scanned_at", TIMESTAMP),
        # cost
        ("bytes_read", pa.int64()),
        ("fetch_ms", pa.float32()),
        ("decode_ms", pa.float32()),
        ("face_ms", pa.float32()),
        ("embed_ms", pa.float32()),
        ("judge_ms", pa.float32()),
    ],
    metadata={"dfd_batch.schema_version": str(SCHEMA_VERSION)},
)
"""A row of a report: one object, whatever became of it.

Identity as in `MANIFEST`. *Verdict*: `outcome` (`outcomes.Outcome`); where it is `scored`,
`verdict` (`outcomes.Verdict`), `probability` of manipulation after calibration, `integrity` =
1 - probability and `threshold`, from which a probability is suspicious; else all of them are null
and `error_kind` and `error_message` say why. *Evidence*: what the container says (sizes in
displayed pixels), counts of clips, frames and faces; `faces` (a person over time: probability, when
it is seen, its largest box), `timeline` (probability of each face crop at its time) and `segments`
(stretches that look manipulated), all times in seconds from the first frame. *Provenance*: the
detector's fingerprint, name and weights, version of this package, run, and UTC time of the verdict.
*Cost*: bytes read and milliseconds of each step; those of steps that many objects share (embed,
judge) are split evenly by crops or objects.
"""


@dataclass(frozen=True)
class Probe:
    """What a container says of itself; sizes are those of the displayed picture."""

    media: str
    """`video` or `image`."""
    container: str
    codec: str
    duration_s: float | None
    """None for images, and where the container does not say."""
    fps: float | None
    """Average frame rate; None for images."""
    width: int
    """In pixels, after rotation and pixel aspect ratio; `height` likewise."""
    height: int
    rotation: int = 0
    """Degrees clockwise that were applied."""
    has_audio: bool = False


@dataclass(frozen=True)
class Clip:
    """Consecutive displayed frames of one medium, starting at a key frame (one frame: an image).

    `frames` may be a view into shared memory that is gone when the next clip is asked for.
    """

    index: int
    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB, upright, square pixels."""
    times_s: NDArray[np.float64]
    """(T,) presentation times."""
    scale: float = 1.0
    """Frames' pixels per displayed pixel: < 1 when decoded at reduced size."""


@dataclass(frozen=True)
class Decoded:
    """The account of one object's decoding, known at its end."""

    n_clips: int = 0
    n_frames_decoded: int = 0
    """Frames that left the decoder, those on the way to a clip's first one included."""
    n_frames_used: int = 0
    """Frames of the clips."""
    n_frames_repeated: int = 0
    """Frames that were left out: the decoder had patched them up from others."""
    truncated: bool = False
    """Whether the file ends before its container says so."""
    decode_ms: float = 0.0


@dataclass(frozen=True)
class FaceCrops:
    """The face crops of one object, ordered by (clip, track, time).

    A crop is a square of the displayed picture resized to S; boxes and landmarks are in pixels of
    the displayed picture. A track is one person over time, numbered from 0.
    """

    crops: NDArray[np.uint8]
    """(K, S, S, 3) RGB."""
    times_s: NDArray[np.float64]
    """(K,) presentation times."""
    tracks: NDArray[np.int32]
    """(K,)"""
    clips: NDArray[np.int32]
    """(K,) index of the clip."""
    boxes: NDArray[np.float32]
    """(K, 4) face boxes x0 y0 x1 y1."""
    landmarks: NDArray[np.float32]
    """(K, 5, 2) eyes, nose, mouth corners."""

    n_faces: int = field(default=0)
    """Distinct tracks."""

    def __len__(self) -> int:
        return len(self.crops)
