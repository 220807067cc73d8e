"""Crop: manifest rows to cropped rows, on many CPU actors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dfd_batch.decode.cell import Cell
from dfd_batch.decode.fetch import Fetched, Fetcher
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import CROPPED, Clip, Decoded, FaceCrops, Probe
from dfd_batch.stages.context import RunContext
from dfd_batch.stages.rows import Row, named, unscored
from dfd_batch.watch import StageWatch

if TYPE_CHECKING:
    from dfd_batch.faces.cropper import ObjectFaces
    from dfd_batch.features.flow import MotionMaps

CROP_WORK = ("duration_s", "bytes_read", "fetch_ms", "decode_ms", "face_ms", "n_frames_decoded")


class Crop:
    """Manifest rows to cropped rows: fetch, decode, find faces, track, crop.

    Args:
        context: Of the run.
        watch: Is shown every clip before its faces are looked for; must copy what it keeps.
        confined: As scans cut stills, see `FaceCropper`; not for crops wider than the network's.
    """

    def __init__(
        self,
        context: RunContext,
        watch: Callable[[Clip], None] | None = None,
        *,
        confined: bool = True,
    ) -> None:
        self._cell = Cell(context.settings.limits)
        self._cell.start()
        import torch

        from dfd_batch.faces.cropper import FaceCropper
        from dfd_batch.features.flow import MotionMaps

        torch.set_num_threads(1)  # one process per core
        self._watch = watch
        self._told = StageWatch(context.run_id)
        settings = context.settings
        self._sampling = settings.sampling
        self._fetcher = Fetcher(settings.storage, settings.limits)
        card = context.detector().card
        self._cropper = FaceCropper(settings.faces, card.preprocessing, confined=confined)
        self._motion = MotionMaps() if card.architecture.motion else None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return `schema.CROPPED` rows; never raises for what an object holds."""
        rows = pa.Table.from_pylist([self._row(r) for r in batch.to_pylist()], schema=CROPPED)
        self._told.worked(rows, CROP_WORK)
        return rows

    def _row(self, manifest: Row) -> Row:
        row: Row = {**manifest, "n_crops": 0, "crops": b""}
        try:
            found = self._look(manifest, row)
            row |= _crop_columns(found)
            if self._motion is not None:
                row |= _motion_columns(found, self._motion)
        except MediaFault as fault:
            row |= unscored(fault.outcome, fault.kind, named(manifest["uri"], fault.message))
            self._told.failed(row)
        except Exception as error:
            # Not foreseen, so loud in the log; but one strange object must not end the scan of a
            # million others. `crashed` is retryable, so a passing cause gets another attempt.
            row |= unscored(
                Outcome.CRASHED, type(error).__name__, named(manifest["uri"], str(error))
            )
            self._told.crashed(row)
        return row

    def _look(self, manifest: Row, row: Row) -> FaceCrops:
        """Return the object's faces; fills `row` with what is known even when this raises."""
        faces: ObjectFaces | None = None
        face_s = 0.0
        keys = ("uri", "etag", "version_id", "size_bytes")
        reading = self._fetcher.fetch(*(manifest[key] for key in keys), in_parts=True)
        with reading as fetched, _fetch_columns(row, fetched):
            for item in self._cell.decode(
                fetched.path, self._sampling, manifest["uri"], fetched.load
            ):
                started = time.perf_counter()
                match item:
                    case Probe():
                        row |= _probe_columns(item)
                        faces = self._cropper.start(item)
                    case Clip() if faces is not None:
                        if self._watch is not None:
                            self._watch(item)
                        faces.add(item)
                    case Decoded():
                        row |= _account_columns(item)
                face_s += time.perf_counter() - started
                row["face_ms"] = 1000 * face_s
        if faces is None:
            raise ValueError("the decoder answered without a probe")
        started = time.perf_counter()
        try:
            return faces.finish()
        finally:
            row["face_ms"] = 1000 * (face_s + time.perf_counter() - started)


@contextmanager
def _fetch_columns(row: Row, fetched: Fetched) -> Iterator[None]:
    """Note what was read once it is known, also where reading or decoding ends in a fault."""
    try:
        yield
    finally:
        row |= {"bytes_read": fetched.bytes_read, "fetch_ms": fetched.fetch_ms}


def _probe_columns(probe: Probe) -> Row:
    names = ("media", "container", "codec", "duration_s", "fps", "width", "height")
    return {name: getattr(probe, name) for name in (*names, "rotation", "has_audio")}


def _account_columns(decoded: Decoded) -> Row:
    names = ("n_clips", "n_frames_decoded", "n_frames_used", "n_frames_repeated")
    return {name: getattr(decoded, name) for name in (*names, "truncated", "decode_ms")}


def _crop_columns(found: FaceCrops) -> Row:
    return {
        "n_faces": found.n_faces,
        "n_crops": len(found),
        "crops": found.crops.tobytes(),
        "crop_time_s": found.times_s.tolist(),
        "crop_track": found.tracks.tolist(),
        "crop_clip": found.clips.tolist(),
        "crop_box": found.boxes.tolist(),
        "crop_landmarks": found.landmarks.reshape(len(found), -1).tolist(),
    }


def _motion_columns(found: FaceCrops, maps: MotionMaps) -> Row:
    """Return the maps between an object's crops: here many processes share that work."""
    started = time.perf_counter()
    keys = np.stack([found.tracks, found.clips], 1).astype(np.int64)
    made = maps(found.crops, keys)
    return {"motion": made.tobytes(), "motion_ms": 1000 * (time.perf_counter() - started)}
