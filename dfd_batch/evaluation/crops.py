"""Face crops of a prepared pool, and a detector's judgement of crops without a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dfd_batch import checkpoint as checkpoints
from dfd_batch.evaluation.metrics import Floats
from dfd_batch.schema import CROPPED
from dfd_batch.settings import Settings
from dfd_batch.stages import Embed, Judge, RunContext
from dfd_batch.training.pools import Image, Pool, evaluation_crops
from dfd_batch.training.selection import measured_rows

FPS = 25.0
BATCH_CROPS = 256


@dataclass(frozen=True)
class Faces:
    """Crops as a scan would cut them, both classes."""

    crops: Image  # (N, S, S, 3)
    labels: NDArray[np.int32]  # (N,) 1 = manipulated
    groups: list[str]  # (N,)


class CropJudge:
    """Gives crops the probability that a scan would give an object which shows nothing else.

    Args:
        settings: Name the checkpoint and the device.
    """

    def __init__(self, settings: Settings) -> None:
        loaded = checkpoints.load(settings.checkpoint)
        mark = checkpoints.detector_id(loaded.card, *settings.judging)
        context = RunContext(settings, "", "evaluation", mark, datetime.now(UTC).date(), loaded)
        self.crop_size = loaded.card.preprocessing.crop_size
        self._embed, self._judge = Embed(context), Judge(context)

    def __call__(
        self, objects: Sequence[Image], media: Literal["image", "video"] = "image"
    ) -> Floats:
        """Return probabilities (N,) of objects, each of crops (T, S, S, 3); images have T = 1."""
        rows = [_row(str(i), crops, media) for i, crops in enumerate(objects)]
        each = max(1, BATCH_CROPS // max((len(crops) for crops in objects), default=1))
        found: list[float | None] = []
        for start in range(0, len(rows), each):
            table = pa.Table.from_pylist(rows[start : start + each], schema=CROPPED)
            found += self._judge(self._embed(table)).column("probability").to_pylist()
        return np.array([np.nan if p is None else p for p in found], np.float64)


def _row(name: str, crops: Image, media: str) -> dict[str, object]:
    n, side = crops.shape[:2]
    return {
        "media_id": name,
        "uri": name,
        "media": media,
        "fps": FPS,
        "n_crops": n,
        "crops": np.ascontiguousarray(crops).tobytes(),
        "crop_time_s": (np.arange(n) / FPS).tolist(),
        "crop_track": [0] * n,
        "crop_clip": [0] * n,
        "crop_box": [[0.0, 0.0, float(side), float(side)]] * n,
        "crop_landmarks": [[side / 2] * 10] * n,
    }


def some(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many rows, evenly: neighbours are often frames of one video."""
    kept = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
    return np.asarray(rows[kept], np.int64)


def labelled_faces(name: str, pool: Pool, size: int, most: int) -> Faces:
    """Return faces that training leaves out, evenly over the pool.

    Args:
        name: Of the pool.
        pool: Prepared faces, those left out of both classes.
        size: Side S of the crops in pixels.
        most: Faces of each class.
    """
    parts = [some(measured_rows(name, pool, label), most) for label in (0, 1)]
    rows = np.sort(np.concatenate(parts))
    groups = [pool.groups[i] for i in rows]
    return Faces(evaluation_crops(pool, size, rows), pool.labels[rows], groups)
