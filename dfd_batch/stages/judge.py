"""Judge: embedded rows to report rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dfd_batch import __version__
from dfd_batch.judge.decide import Evidence, decide
from dfd_batch.outcomes import Outcome
from dfd_batch.schema import REPORT
from dfd_batch.stages.context import RunContext
from dfd_batch.stages.rows import Row, named, unscored
from dfd_batch.watch import StageWatch

if TYPE_CHECKING:
    from dfd_batch.judge.frames import Features, Odds

JUDGE_WORK = ("judge_ms", "n_frames_scored")


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
        odds = self._judge([self._features(row) for row in judged])
        for row, own in zip(judged, odds, strict=True):
            if own.finite:
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
        message = named(row["uri"], "the network gave no numbers, or some that are not finite.")
        row.update(unscored(Outcome.CRASHED, "not_finite", message))
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


def _evidence(row: Row, odds: Odds) -> Evidence:
    return Evidence(
        media=row["media"],
        fps=row["fps"],
        times_s=np.array(row["crop_time_s"], np.float64),
        tracks=np.array(row["crop_track"], np.int32),
        boxes=np.array(row["crop_box"], np.float32),
        logits=odds.pooled,
        frame_logits=odds.alone,
    )
