"""The numbers of a scan that Prometheus may scrape: their names, labels and units.

`cluster/grafana.json` shows them; `dfd_batch.meters` says where they can be scraped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from dfd_batch.outcomes import Outcome, Verdict


@dataclass(frozen=True)
class Metric:
    """One metric: at most one label, with few values that are known beforehand.

    Args:
        name: As Prometheus sees it; on a Ray cluster `ray_` comes before it.
        kind: Counters only grow.
        help: What it says, for a person.
        label: Its label, if any.
        values: All values of the label.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    label: str | None = None
    values: tuple[str, ...] = ()


OBJECTS = Metric(
    "dfd_objects_total",
    "counter",
    "Objects whose row is written, by outcome.",
    "outcome",
    tuple(Outcome),
)
VERDICTS = Metric(
    "dfd_verdicts_total",
    "counter",
    "Objects whose verdict is written, by band.",
    "verdict",
    tuple(Verdict),
)
STEP_SECONDS = Metric(
    "dfd_step_seconds_total",
    "counter",
    "Seconds of work on objects, by step.",
    "step",
    ("fetch", "decode", "face", "embed", "judge"),
)
READ_BYTES = Metric("dfd_read_bytes_total", "counter", "Bytes of media read from storage.")
MEDIA_SECONDS = Metric(
    "dfd_media_seconds_total", "counter", "Seconds that the videos looked at last."
)
FRAMES = Metric(
    "dfd_frames_total",
    "counter",
    "Frames that left a decoder, and face crops that got a score.",
    "step",
    ("decoded", "scored"),
)
PLANNED = Metric("dfd_objects_planned", "gauge", "Objects that the run is to judge.")
LEFT = Metric("dfd_objects_left", "gauge", "Objects of the run whose row is not yet written.")
ETA = Metric("dfd_eta_seconds", "gauge", "Seconds to the run's end at its mean speed so far.")
FINISHED = Metric(
    "dfd_run_finished_timestamp_seconds", "gauge", "When the run ended, in Unix time."
)
COMPLETE = Metric("dfd_run_complete", "gauge", "1: the run gave every object its row; 0: not so.")

METRICS = (
    OBJECTS, VERDICTS, STEP_SECONDS, READ_BYTES, MEDIA_SECONDS, FRAMES,
    PLANNED, LEFT, ETA, FINISHED, COMPLETE,
)  # fmt: skip

WORK: dict[str, tuple[Metric, str | None, float]] = {
    "duration_s": (MEDIA_SECONDS, None, 1.0),
    "bytes_read": (READ_BYTES, None, 1.0),
    "fetch_ms": (STEP_SECONDS, "fetch", 1e-3),
    "decode_ms": (STEP_SECONDS, "decode", 1e-3),
    "face_ms": (STEP_SECONDS, "face", 1e-3),
    "embed_ms": (STEP_SECONDS, "embed", 1e-3),
    "judge_ms": (STEP_SECONDS, "judge", 1e-3),
    "n_frames_decoded": (FRAMES, "decoded", 1.0),
    "n_frames_scored": (FRAMES, "scored", 1.0),
}
"""Columns that say what an object took: metric, value of its label, their unit in the metric's."""


class Meters(Protocol):
    """Takes numbers; never raises."""

    def inc(self, metric: Metric, value: float, label: str | None = None) -> None:
        """Add to a counter."""

    def set(self, metric: Metric, value: float) -> None:
        """Set a gauge that has no label."""


def count_work(meters: Meters, rows: pa.Table, columns: Iterable[str]) -> None:
    """Add what objects took to the counters.

    Args:
        meters: Where to count.
        rows: With these columns.
        columns: Of `WORK`.
    """
    for name in columns:
        metric, label, unit = WORK[name]
        meters.inc(metric, unit * (pc.sum(rows.column(name)).as_py() or 0), label)
