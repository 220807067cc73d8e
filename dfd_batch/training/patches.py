"""Labelled samples to face patches: the scan's own Crop stage, cutting more than the crop.

What a pool holds is therefore what a scan sees: the same decoder, clips, face detector, tracks and
geometry, with a margin around it that training can move and scale the crop in.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from dfd_batch.catalog.objects import make, of_file
from dfd_batch.checkpoint import Checkpoint, ModelCard, Preprocessing
from dfd_batch.faces.crop import Square, cut, face_size, face_square
from dfd_batch.faces.track import STEADY
from dfd_batch.outcomes import MediaFault
from dfd_batch.schema import MANIFEST
from dfd_batch.settings import Settings
from dfd_batch.stages import Crop, RunContext
from dfd_batch.storage import is_s3, local_path
from dfd_batch.training import pools
from dfd_batch.training.landmarks import MEAN_SHAPE, Landmark68, fit_mean_shape
from dfd_batch.training.pools import Face, Image, Points
from dfd_batch.training.prepare import CANONICAL_PX, PATCH_PX
from dfd_batch.training.sources import Sample, wilddeepfake

MIN_CANONICAL_PX = 48
SAME_FACE_IOU = 0.3
"""A labelled box that overlaps a found one so much is taken for the same face."""
PREPARED = "prepared"
NO_LABELLED_FACE = "no_labelled_face"
EDGE = (PATCH_PX - CANONICAL_PX) // 2


@dataclass(frozen=True)
class PatchPlan:
    """What the actors of one preparation know."""

    settings: Settings
    margin: float
    landmarks: Path | None
    """Weights of the 68-point network; the mean face is fitted without."""
    shards: Path
    chunk: int  # samples per shard
    samples: Any  # ray.ObjectRef[tuple[Sample, ...]], or the samples

    def of_chunk(self, number: int) -> Sequence[Sample]:
        """Return the samples of one shard."""
        held = self.samples
        samples: Sequence[Sample] = ray.get(held) if isinstance(held, ray.ObjectRef) else held
        return samples[number * self.chunk : (number + 1) * self.chunk]


class Patches:
    """Numbers of chunks to shards on disk, each a small pool; gives back the outcomes."""

    def __init__(self, plan: PatchPlan) -> None:
        self._plan = plan
        wide = Preprocessing(crop_size=PATCH_PX, margin=plan.margin * PATCH_PX / CANONICAL_PX)
        card = ModelCard(name="preparation", version="", description="", preprocessing=wide)
        context = RunContext(plan.settings, "", "", "", date.min, Checkpoint(card, {}))
        self._crop = Crop(context, confined=False)
        self._network = Landmark68(plan.landmarks) if plan.landmarks else None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the `outcome` of each sample of the chunks, whose shards are now written."""
        outcomes = [o for chunk in batch.column("chunk").to_pylist() for o in self._shard(chunk)]
        return pa.table({"outcome": pa.array(outcomes, pa.string())})

    def _shard(self, chunk: int) -> list[str]:
        made = [self.prepare(sample) for sample in self._plan.of_chunk(chunk)]
        outcomes = [outcome for _, outcome in made]
        target = self._plan.shards / f"{chunk:07d}"
        partial = target.with_name(f".{target.name}-{os.getpid()}")
        pools.write(partial, (face for faces, _ in made for face in faces), self._plan.margin)
        (partial / "outcomes.txt").write_text("\n".join(outcomes), encoding="utf-8")
        settle(partial, target)
        return outcomes

    def prepare(self, sample: Sample) -> tuple[list[Face], str]:
        """Return the faces of a sample and what became of it; never raises for what it holds."""
        if sample.cropped:
            try:
                return self._sequence(sample), PREPARED
            except MediaFault as fault:
                return [], fault.outcome.value
        found = of_file(local_path(sample.uri)) if not is_s3(sample.uri) else make(sample.uri)
        manifest = pa.Table.from_pylist([{**asdict(found), "attempt": 1}], schema=MANIFEST)
        row = self._crop(manifest).to_pylist()[0]
        if row["outcome"] is not None:
            return [], str(row["outcome"])
        faces = self._faces(sample, row)
        return faces, PREPARED if faces else NO_LABELLED_FACE

    def _faces(self, sample: Sample, row: dict[str, Any]) -> list[Face]:
        crops = np.frombuffer(row["crops"], np.uint8).reshape(-1, PATCH_PX, PATCH_PX, 3)
        five = np.array(row["crop_landmarks"], np.float32).reshape(-1, 5, 2)
        boxes = np.array(row["crop_box"], np.float32)
        tracks = np.array(row["crop_track"], np.int32)
        sizes = _sizes(five, tracks, np.array(row["crop_clip"], np.int32))
        faces = []
        for i in np.argsort(tracks, kind="stable"):  # one track's frames follow one another
            time_s = row["crop_time_s"][i]
            label = _label(sample, boxes, tracks, int(i), time_s)
            if label is None:
                continue
            # One scale per track: patches whose scale trembled would teach that faces do.
            own_px = self._plan.margin * float(np.median(sizes[tracks == tracks[i]]))
            scale = min(max(own_px, MIN_CANONICAL_PX), CANONICAL_PX) / CANONICAL_PX
            points = self._points(crops[i], five[i], float(sizes[i]))
            patch = _at_own_resolution(crops[i], points, scale)
            track = f"#face{tracks[i]}" if tracks[i] else ""
            frame = round(time_s * (row["fps"] or 0))
            faces.append(_face(sample, patch, CANONICAL_PX * patch.scale, label, frame, track))
        return faces

    def _points(self, crop: Image, five: Points, size: float) -> Points:
        """Return 68 points in a wide crop of a face of this size whose five are as displayed."""
        if self._network is not None:
            inner = crop[EDGE : EDGE + CANONICAL_PX, EDGE : EDGE + CANONICAL_PX]
            return np.asarray(self._network.find([inner])[0] + EDGE, np.float32)
        up = _upright(five)
        square = face_square(up, self._plan.margin, size)
        shift = np.array([square.x, square.y], np.float32)
        return fit_mean_shape((up - shift) * (CANONICAL_PX / square.side) + PATCH_PX / 2)

    def _sequence(self, sample: Sample) -> list[Face]:
        """Return crops that the data set's authors have cut, as the canonical crops they are."""
        sampling = self._plan.settings.sampling
        most = sampling.frames_per_clip * sampling.quick_clips
        faces = []
        for number, picture in wilddeepfake.frames(sample.uri, most):
            height, width = picture.shape[:2]
            side = min(max(height, width), PATCH_PX)
            square = Square(width / 2, height / 2, max(height, width))
            whole = cut(picture, square, PATCH_PX)
            points = self._network.find([whole])[0] if self._network else MEAN_SHAPE * PATCH_PX
            patch = _at_own_resolution(whole, points.astype(np.float32), side / PATCH_PX)
            faces.append(_face(sample, patch, PATCH_PX * patch.scale, sample.label, number))
        return faces


def settle(partial: Path, target: Path) -> None:
    """Give a finished folder its name; where another process was first, its work stays."""
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(partial)


@dataclass(frozen=True)
class _Patch:
    image: Image  # (P, P, 3)
    landmarks: Points  # (68, 2)
    scale: float  # of the picture in it


def _face(
    sample: Sample, patch: _Patch, canonical: float, label: int, frame: int, track: str = ""
) -> Face:
    return Face(
        patch=patch.image,
        landmarks=patch.landmarks,
        canonical_px=canonical,
        file=sample.uri + track,
        label=label,
        group=sample.group,
        method=sample.method if label else "",
        licence=sample.licence,
        frame=frame,
        split=sample.split,
        pair=sample.pair if label else "",
        swapped=sample.swapped and label == 1,
    )


def _at_own_resolution(crop: Image, points: Points, scale: float) -> _Patch:
    """Return a crop (P, P, 3) made smaller in the middle of its patch, mirrored around it.

    The Crop stage enlarges small faces to its one size. Training forges faces in the pixels that
    they have: blending enlarged ones would teach that soft faces are genuine.
    """
    n = min(2 * round(PATCH_PX * scale / 2), PATCH_PX)
    if n == PATCH_PX:
        return _Patch(crop, points, 1.0)
    edge = (PATCH_PX - n) // 2
    small = cv2.resize(crop, (n, n), interpolation=cv2.INTER_AREA)
    image = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_REFLECT_101)
    scale = n / PATCH_PX
    return _Patch(np.asarray(image, np.uint8), (points * scale + edge).astype(np.float32), scale)


def _sizes(
    five: Points, tracks: NDArray[np.int32], clips: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the size of each face (K,) that its crop was cut by, steady as `track.path` has it."""
    sizes = np.array([face_size(points) for points in five])
    for run in {*zip(tracks.tolist(), clips.tolist(), strict=True)}:
        here = (tracks == run[0]) & (clips == run[1])
        if sizes[here].max() < STEADY * sizes[here].min():
            sizes[here] = np.median(sizes[here])
    return sizes


def _upright(five: Points) -> Points:
    """Return five points (5, 2) after the quarter turns that put the mouth below the eyes."""
    z = five @ np.array([1, 1j], np.complex64)
    down = (z[3] + z[4] - z[0] - z[1]) / 1j
    z = z * (-1j) ** round(np.angle(down) / (math.pi / 2))
    return np.stack([z.real, z.imag], axis=1).astype(np.float32)


def _label(
    sample: Sample, boxes: NDArray[np.float32], tracks: NDArray[np.int32], i: int, time_s: float
) -> int | None:
    """Return the label of one crop; None where nobody knows it.

    Of a fake without labels face by face only the person with the largest face is taken: the
    others in it are as a rule untouched.
    """
    if sample.faces:
        best = max(sample.faces, key=lambda face: _iou(face.box, boxes[i]))
        return best.label if _iou(best.box, boxes[i]) >= SAME_FACE_IOU else None
    if sample.label:
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        of_track = [np.median(areas[tracks == track]) for track in range(tracks.max() + 1)]
        if tracks[i] != np.argmax(of_track):
            return None
    return sample.label_at(time_s)


def _iou(one: tuple[float, float, float, float], other: NDArray[np.float32]) -> float:
    ax0, ay0, ax1, ay1 = one
    bx0, by0, bx1, by1 = (float(value) for value in other)
    width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared)
