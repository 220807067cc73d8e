"""The stages that Ray runs, in the order of the data: Crop, Embed, Judge, Report.

Each is a plain class: `__init__` loads, `__call__` takes a batch and gives a batch of the next
schema, row for row. `Crop` is the one place where an object's fault becomes its outcome; `Judge`
is the one place where report rows are made.

The networks' libraries are imported where a stage is made: the driver, which only names the stages,
starts without them, and each actor loads what its own stage needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from numpy.typing import NDArray

from dfd_batch import __version__
from dfd_batch.checkpoint import Checkpoint
from dfd_batch.decode.cell import Cell
from dfd_batch.decode.fetch import Fetched, Fetcher
from dfd_batch.judge.decide import Evidence, decide
from dfd_batch.outcomes import MediaFault, Outcome, UsageError
from dfd_batch.reports.write import write_rows
from dfd_batch.schema import CROPPED, EMBEDDED, REPORT, Clip, Decoded, FaceCrops, Probe
from dfd_batch.settings import Settings
from dfd_batch.watch import WRITTEN, StageWatch, here

if TYPE_CHECKING:
    from dfd_batch.faces.cropper import ObjectFaces
    from dfd_batch.features.flow import Maps, MotionMaps
    from dfd_batch.judge.frames import Features

MAX_MESSAGE = 300
MAX_URI = 160  # of a message: the reason must fit in behind it
CROP_WORK = ("duration_s", "bytes_read", "fetch_ms", "decode_ms", "face_ms", "n_frames_decoded")
EMBED_WORK = ("embed_ms",)
JUDGE_WORK = ("judge_ms", "n_frames_scored")
MICRO_BATCH = {"cpu": 64, "cuda": 256}
Row = dict[str, Any]


@dataclass(frozen=True)
class RunContext:
    """What every stage of one run knows; small enough to travel with each actor."""

    settings: Settings
    out: str
    run_id: str
    detector_id: str
    scan_date: date
    checkpoint: Any
    """`ray.ObjectRef[Checkpoint]`, or the Checkpoint itself."""

    def detector(self) -> Checkpoint:
        """Return the checkpoint, fetched once per process."""
        held = self.checkpoint
        found: Checkpoint = held if isinstance(held, Checkpoint) else ray.get(held)
        return found


def pick_device(settings: Settings) -> str:
    """Return the device of the network stages: what was asked for, else a GPU if there is one."""
    asked = settings.pools.device
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Crop:
    """Manifest rows to cropped rows: fetch, decode, find faces, track, crop.

    Args:
        context: Of the run.
        watch: Is shown every clip before its faces are looked for; must copy what it keeps.
    """

    def __init__(self, context: RunContext, watch: Callable[[Clip], None] | None = None) -> None:
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
        self._cropper = FaceCropper(settings.faces, card.preprocessing)
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
            row |= _fault(fault.outcome, fault.kind, _named(manifest["uri"], fault.message))
            self._told.failed(row)
        except Exception as error:
            # Not foreseen, so loud in the log; but one strange object must not end the scan of a
            # million others. `crashed` is retryable, so a passing cause gets another attempt.
            row |= _fault(
                Outcome.CRASHED, type(error).__name__, _named(manifest["uri"], str(error))
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


class Embed:
    """Cropped rows to embedded rows: the crops of a batch joined, through the CNN, split again."""

    def __init__(self, context: RunContext) -> None:
        import torch

        from dfd_batch.features.cnn import Embedder
        from dfd_batch.features.flow import MotionMaps
        from dfd_batch.features.memory import out_of_memory
        from dfd_batch.features.motion import MotionEmbedder

        self._told = StageWatch(context.run_id)
        self._out_of_memory = out_of_memory
        device = pick_device(context.settings)
        if device == "cpu":
            torch.set_num_threads(1)
        checkpoint = context.detector()
        self._size = checkpoint.card.preprocessing.crop_size
        micro_batch = context.settings.pools.embed_micro_batch_frames or MICRO_BATCH[device]
        self._embedder = Embedder(checkpoint, device, micro_batch, context.settings.features.views)
        self._motion = (
            MotionEmbedder(checkpoint, device, micro_batch)
            if checkpoint.card.architecture.motion
            else None
        )
        self._maps = MotionMaps()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return `schema.EMBEDDED` rows; rows without crops pass through."""
        counts = batch.column("n_crops").to_numpy()
        shape = (-1, self._size, self._size, 3)
        crops = [
            np.frombuffer(blob.as_buffer(), np.uint8).reshape(shape)
            for blob in batch.column("crops")
            if len(blob.as_buffer())
        ]
        started = time.perf_counter()
        joined = np.concatenate(crops) if crops else np.empty((0, *shape[1:]), np.uint8)
        spent = False
        try:
            vectors, logits = self._embedder(joined, counts)
            if self._motion is not None:
                keys = _runs(batch, counts)
                moved = self._motion(self._motion_maps(batch, joined, keys), keys)
                vectors = np.concatenate([vectors, moved], 1)
        except (RuntimeError, MemoryError) as error:
            if not self._out_of_memory(error):
                raise
            # not even one crop fits beside what else is on the device
            vectors, logits = np.empty((0, 0), np.float16), np.empty(0, np.float32)
            spent = True
        per_crop_ms = 1000 * (time.perf_counter() - started) / max(1, len(joined))
        ends = np.cumsum(counts)
        rows = batch.drop_columns(["crops", "motion"]).to_pylist()
        for row, n, end in zip(rows, counts, ends, strict=True):
            part = slice(int(end - n), int(end))
            row["features"] = vectors[part].tobytes()
            row["frame_logit"] = logits[part].tolist()
            row["embed_ms"] = per_crop_ms * int(n) + (row.pop("motion_ms") or 0.0)
            if n and spent:
                message = _named(row["uri"], "the network's device has no memory left.")
                row.update(_fault(Outcome.CRASHED, "out_of_memory", message))
                self._told.failed(row)
        embedded = pa.Table.from_pylist(rows, schema=EMBEDDED)
        self._told.worked(embedded, EMBED_WORK)
        return embedded

    def _motion_maps(
        self, batch: pa.Table, crops: NDArray[np.uint8], keys: NDArray[np.int64]
    ) -> Maps:
        """Return the maps of all crops' runs: those that Crop made, else made here."""
        whole = [self._maps(crops[:0], keys[:0])]
        for index, blob in enumerate(batch.column("motion")):
            mine = keys[:, 0] == index
            if blob.is_valid:
                own = np.frombuffer(blob.as_buffer(), np.float16)
                whole.append(own.reshape(-1, *whole[0].shape[1:]))
            elif mine.any():
                whole.append(self._maps(crops[mine], keys[mine]))
        return np.concatenate(whole)


class Judge:
    """Embedded rows to report rows: the only place where these are made, failed ones too."""

    def __init__(self, context: RunContext) -> None:
        self._told = StageWatch(context.run_id)
        import torch

        from dfd_batch.judge.frames import FrameJudge

        torch.set_num_threads(1)
        checkpoint = context.detector()
        self._card = checkpoint.card
        feature_dim = int(checkpoint.weights["encoder.head.weight"].shape[1])
        self._feature_dim = feature_dim + self._card.architecture.motion
        # a clip takes a millisecond on a CPU: no GPU is taken from the encoder for it
        self._judge = FrameJudge(checkpoint, "cpu", feature_dim)
        self._provenance = {
            "detector_id": context.detector_id,
            "detector": f"{self._card.name} {self._card.version}",
            "weights_sha256": self._card.weights_sha256,
            "package_version": __version__,
            "run_id": context.run_id,
        }

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return `schema.REPORT` rows."""
        rows = batch.to_pylist()
        started = time.perf_counter()
        for row in rows:
            if row["outcome"] is None and not (row["n_crops"] and self._is_finite(row)):
                self._spoilt(row)
        judged = [row for row in rows if row["outcome"] is None]
        logits = self._judge([self._features(row) for row in judged])
        for row, own in zip(judged, logits, strict=True):
            if np.isfinite(own).all():
                row.update(outcome=Outcome.SCORED.value, **decide(_evidence(row, own), self._card))
            else:  # finite features may still overflow the temporal head
                self._spoilt(row)
        judge_ms = 1000 * (time.perf_counter() - started) / max(1, len(judged))
        for row in rows:
            row.update(self._provenance, scanned_at=datetime.now(UTC))
            row["judge_ms"] = judge_ms if row["outcome"] == Outcome.SCORED else 0.0
        columns = [{name: row.get(name) for name in REPORT.names} for row in rows]
        report = pa.Table.from_pylist(columns, schema=REPORT)
        self._told.worked(report, JUDGE_WORK)
        return report

    def _spoilt(self, row: Row) -> None:
        message = _named(row["uri"], "the network gave no numbers, or some that are not finite.")
        row.update(_fault(Outcome.CRASHED, "not_finite", message))
        self._told.failed(row)

    def _features(self, row: Row) -> Features:
        from dfd_batch.judge.frames import Features

        return Features(
            media=row["media"],
            vectors=np.frombuffer(row["features"], np.float16).reshape(-1, self._feature_dim),
            frame_logits=np.array(row["frame_logit"], np.float32),
            tracks=np.array(row["crop_track"], np.int32),
            clips=np.array(row["crop_clip"], np.int32),
        )

    @staticmethod
    def _is_finite(row: Row) -> bool:
        vectors = np.frombuffer(row["features"], np.float16)
        return bool(np.isfinite(vectors).all() and np.isfinite(row["frame_logit"]).all())


class Report:
    """Embedded rows to a Parquet file of report rows; gives back only what the driver counts.

    Judging is cheap and writing waits for a file's worth of rows anyway, so both share one actor:
    every further process would load the libraries of the networks again.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._judge = Judge(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return what the driver counts of rows that are now safely written (`watch.WRITTEN`).

        Where they cannot be, `unwritten` says why: an exception would reach the driver as Ray's
        traceback, without the cause.
        """
        own = self._context
        rows = self._judge(batch)
        reason: str | None = None
        try:
            write_rows(rows, own.out, own.scan_date, own.run_id, own.settings.storage)
        except UsageError as error:
            reason = str(error)
        nodes = pc.fill_null(batch.column("node"), here())
        told = rows.append_column("node", nodes).select(WRITTEN)
        return told.append_column("unwritten", pa.array([reason] * len(rows), pa.string()))


def _fault(outcome: Outcome, kind: str, message: str) -> Row:
    return {
        "outcome": outcome.value,
        "error_kind": kind,
        "error_message": message[:MAX_MESSAGE],
        "node": here(),
        "n_crops": 0,
        "crops": b"",
    }


def _named(uri: str, message: str) -> str:
    """Return a message that begins with its object's URI, long ones without their middle."""
    told = message.removeprefix(f"{uri}: ")
    shown = uri if len(uri) <= MAX_URI else f"{uri[:40]}…{uri[41 - MAX_URI :]}"
    return f"{shown}: {told}"


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


def _motion_columns(found: FaceCrops, maps: MotionMaps) -> Row:
    """Return the maps between an object's crops: here many processes share that work."""
    started = time.perf_counter()
    keys = np.stack([found.tracks, found.clips], 1).astype(np.int64)
    made = maps(found.crops, keys)
    return {"motion": made.tobytes(), "motion_ms": 1000 * (time.perf_counter() - started)}


def _runs(batch: pa.Table, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (K, 3) the object, track and clip of every crop of a batch."""
    objects = np.repeat(np.arange(len(counts)), counts)
    lists = [batch.column(name).to_pylist() for name in ("crop_track", "crop_clip")]
    columns = [[v for own in column for v in own or ()] for column in lists]
    return np.stack([objects, *(np.array(column, np.int64) for column in columns)], 1)


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


def _evidence(row: Row, logits: Any) -> Evidence:
    return Evidence(
        media=row["media"],
        fps=row["fps"],
        times_s=np.array(row["crop_time_s"], np.float64),
        tracks=np.array(row["crop_track"], np.int32),
        boxes=np.array(row["crop_box"], np.float32),
        logits=logits,
    )
