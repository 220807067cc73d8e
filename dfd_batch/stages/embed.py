"""Embed: cropped rows to embedded rows, on GPU actors where there are GPUs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dfd_batch.outcomes import Outcome
from dfd_batch.schema import EMBEDDED
from dfd_batch.settings import Settings
from dfd_batch.stages.context import RunContext
from dfd_batch.stages.rows import named, unscored
from dfd_batch.watch import StageWatch

if TYPE_CHECKING:
    from dfd_batch.features.flow import Maps

EMBED_WORK = ("embed_ms",)
MICRO_BATCH = {"cpu": 64, "cuda": 256}


class Embed:
    """Cropped rows to embedded rows: the crops of a batch joined, through the CNN, split again."""

    def __init__(self, context: RunContext) -> None:
        import torch

        from dfd_batch.features.cnn import Embedder
        from dfd_batch.features.flow import MotionMaps
        from dfd_batch.features.memory import out_of_memory
        from dfd_batch.features.motion import MotionEmbedder
        from dfd_batch.features.synthesis import PART, either

        self._told = StageWatch(context.run_id)
        self._out_of_memory, self._either = out_of_memory, either
        device = pick_device(context.settings)
        if device == "cpu":
            torch.set_num_threads(1)
        checkpoint = context.detector()
        self._size = checkpoint.card.preprocessing.crop_size
        micro_batch = context.settings.pools.embed_micro_batch_frames or MICRO_BATCH[device]
        views, architecture = context.settings.features.views, checkpoint.card.architecture
        self._embedder = Embedder(checkpoint, device, micro_batch, views)
        self._motion = (
            MotionEmbedder(checkpoint, device, micro_batch) if architecture.motion else None
        )
        self._synthesis = (
            Embedder(checkpoint, device, micro_batch, views, PART)
            if architecture.synthesis
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
            if self._synthesis is not None:
                still = np.array([m == "image" for m in batch.column("media").to_pylist()], bool)
                these = np.repeat(still, counts)
                _, made_whole = self._synthesis(joined[these], counts[still])
                logits[these] = self._either(logits[these], made_whole)
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
                message = named(row["uri"], "the network's device has no memory left.")
                row.update(unscored(Outcome.CRASHED, "out_of_memory", message))
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


def pick_device(settings: Settings) -> str:
    """Return the device of the network stages: what was asked for, else a GPU if there is one."""
    asked = settings.pools.device
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _runs(batch: pa.Table, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (K, 3) the object, track and clip of every crop of a batch."""
    objects = np.repeat(np.arange(len(counts)), counts)
    lists = [batch.column(name).to_pylist() for name in ("crop_track", "crop_clip")]
    columns = [[v for own in column for v in own or ()] for column in lists]
    return np.stack([objects, *(np.array(column, np.int64) for column in columns)], 1)
