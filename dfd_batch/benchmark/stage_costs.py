"""The stages of a scan on single objects, without Ray: processor seconds and report row of each."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import pyarrow as pa

from dfd_batch import checkpoint as checkpoints
from dfd_batch.catalog.objects import MediaObject
from dfd_batch.schema import MANIFEST
from dfd_batch.settings import Settings
from dfd_batch.stages import Crop, Embed, Judge, RunContext


@dataclass(frozen=True)
class StageCost:
    """Processor seconds of one object."""

    decode_s: float  # of the contained decoder
    face_s: float  # of the Crop actor itself: reading, finding faces, tracking, cropping
    motion_s: float  # of what moves from crop to crop
    embed_s: float
    judge_s: float
    row: dict[str, Any]

    @property
    def crop_s(self) -> float:
        """Return the Crop stage's share."""
        return self.decode_s + self.face_s + self.motion_s

    @property
    def total_s(self) -> float:
        """Return all of it."""
        return self.crop_s + self.embed_s + self.judge_s


class Stages:
    """Crop, Embed and Judge of one process."""

    def __init__(self, settings: Settings) -> None:
        checkpoint = checkpoints.load(settings.checkpoint)
        detector = checkpoints.detector_id(checkpoint.card, *settings.judging)
        context = RunContext(
            settings, "", "benchmark", detector, datetime.now(UTC).date(), checkpoint
        )
        self.crop, self.embed, self.judge = Crop(context), Embed(context), Judge(context)

    def __call__(self, item: MediaObject) -> StageCost:
        """Return what an object costs and what becomes of it."""
        decoded, own = _children_s(), time.process_time()
        cropped = self.crop(manifest([item]))
        decode_s, own_s = _children_s() - decoded, time.process_time() - own
        motion_s = min(own_s, (cropped.column("motion_ms")[0].as_py() or 0.0) / 1000)
        started = time.process_time()
        embedded = self.embed(cropped)
        done = time.process_time()
        (row,) = self.judge(embedded).to_pylist()
        return StageCost(
            decode_s,
            own_s - motion_s,
            motion_s,
            done - started,
            time.process_time() - done,
            row,
        )


def manifest(items: list[MediaObject]) -> pa.Table:
    """Return manifest rows of a first attempt."""
    names = [field.name for field in MANIFEST if field.name != "attempt"]
    rows = [{name: getattr(item, name) for name in names} | {"attempt": 1} for item in items]
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def _children_s() -> float:
    """Return the processor seconds of living processes below this one: the contained decoder."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used = child.cpu_times()
            total += used.user + used.system
    return total
