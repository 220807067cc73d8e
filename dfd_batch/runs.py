"""A run on storage: what was to be done, with what, and what became of it.

`OUT/runs/<run_id>/manifest.parquet` is the promise, `run.json` the settings and the detector,
`summary.json` the account, written last: a run folder without one was cut short. Beside it lie the
final metrics (`metrics.prom`, Prometheus's text format) and what failed (`failures.jsonl`).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfd_batch import __version__
from dfd_batch import storage as stores
from dfd_batch.checkpoint import ModelCard
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.files import ReportFile, reading
from dfd_batch.reports.read import rows_of_run
from dfd_batch.reports.write import day_uri, write_table
from dfd_batch.settings import Settings, Storage

METRICS_FILE = "metrics.prom"
FAILURES_FILE = "failures.jsonl"
_COUNTED = pa.schema([(name, pa.string()) for name in ("media_id", "outcome", "verdict")])


@dataclass(frozen=True)
class Run:
    """Where one run lies and what names it."""

    run_id: str
    out: str
    started_at: datetime

    @property
    def uri(self) -> str:
        """Return the run's folder."""
        return stores.join(self.out, "runs", self.run_id)

    @property
    def manifest_uri(self) -> str:
        """Return the run's manifest."""
        return stores.join(self.uri, "manifest.parquet")

    @property
    def scan_date(self) -> date:
        """Return the UTC day that the run's reports are filed under."""
        return self.started_at.date()


@dataclass(frozen=True)
class Work:
    """What a run took and what failed in it, by the rows that it wrote.

    Args:
        step_s: Seconds of work by step: fetch, decode, face, embed, judge.
        media_s: Seconds that the videos looked at last.
        bytes_read: Of media.
        n_frames_decoded: Frames that left a decoder.
        n_frames_scored: Face crops that got a score.
        failures: The most common kinds of failure, each with its number and an example.
    """

    step_s: dict[str, float] = field(default_factory=dict)
    media_s: float = 0.0
    bytes_read: int = 0
    n_frames_decoded: int = 0
    n_frames_scored: int = 0
    failures: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class RunResult:
    """The account of a finished run."""

    run_id: str
    run_uri: str
    reports_uri: str
    detector_id: str
    plan: dict[str, int]
    """Counts of `catalog.plan.Plan`."""
    n_manifest: int
    """Objects that the run was to judge."""
    n_reported: int
    """Rows that it left on storage."""
    n_distinct: int
    """Objects among these rows; -1: some of them are not of the manifest."""
    elapsed_s: float
    outcomes: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    stopped: str | None = None
    """Why the run ended before its time, in one sentence; what was written stays."""
    work: Work = Work()

    @property
    def reconciled(self) -> bool:
        """Whether every object of the manifest has exactly one row."""
        return self.n_manifest == self.n_reported == self.n_distinct


def open_run(
    run: Run,
    table: pa.Table,
    source: str,
    settings: Settings,
    card: ModelCard,
    detector_id: str,
    listing: dict[str, Any] | None = None,
) -> None:
    """Write the manifest and run.json of a run that is about to start.

    Args:
        run: What names it.
        table: Its objects, of `schema.MANIFEST`.
        source: As the user gave it.
        settings: All of them.
        card: Of the detector.
        detector_id: Its fingerprint.
        listing: When and how the source was listed (`since.listing_record`).
    """
    write_table(table, run.manifest_uri, settings.storage)
    told = {
        "run_id": run.run_id,
        "source": source,
        "listing": listing,
        "started_at": run.started_at.isoformat(),
        "package_version": __version__,
        "detector_id": detector_id,
        "detector": {"name": card.name, "version": card.version, "sha256": card.weights_sha256},
        "settings": settings.model_dump(mode="json"),
        # so that verdicts can be explained and acted on where the checkpoint is not at hand
        "card": card.model_dump(mode="json"),
    }
    _write_json(told, stores.join(run.uri, "run.json"), settings.storage)


def close_run(
    run: Run,
    manifest: pa.Table,
    plan: dict[str, int],
    detector_id: str,
    elapsed_s: float,
    storage: Storage,
    stopped: str | None = None,
    work: Work | None = None,
) -> RunResult:
    """Return the account of a run, counted from what lies on storage, and write summary.json.

    A destination that can no longer be read or written is told in `stopped`.
    """
    try:
        rows = run_rows(run, storage)
    except UsageError as error:
        rows, stopped = _COUNTED.empty_table(), stopped or str(error)
    ids = rows.column("media_id")
    expected = manifest.column("media_id")
    known = pc.sum(pc.is_in(ids, value_set=expected.combine_chunks())).as_py() or 0
    result = RunResult(
        run_id=run.run_id,
        run_uri=run.uri,
        reports_uri=day_uri(run.out, run.scan_date),
        detector_id=detector_id,
        plan=plan,
        n_manifest=manifest.num_rows,
        n_reported=rows.num_rows,
        n_distinct=len(pc.unique(ids)) if known == rows.num_rows else -1,
        elapsed_s=round(elapsed_s, 3),
        outcomes=_counts(rows, "outcome"),
        verdicts=_counts(rows, "verdict"),
        stopped=stopped,
        work=work or Work(),
    )
    told = {**asdict(result), "reconciled": result.reconciled}
    try:
        _write_json(told, stores.join(run.uri, "summary.json"), storage)
    except UsageError as error:
        return replace(result, stopped=stopped or str(error))
    return result


def run_rows(run: Run, storage: Storage) -> pa.Table:
    """Return (media_id, outcome, verdict) of the rows that a run has written so far.

    Raises:
        UsageError: They cannot be read.
    """
    folder = day_uri(run.out, run.scan_date)

    def read(files: list[ReportFile]) -> pa.Table:
        return rows_of_run(files, folder, storage, _COUNTED.names, run.run_id)

    try:
        return reading(folder, storage, read)
    except (OSError, pa.ArrowException) as error:
        raise stores.explain(error, folder) from error


def _counts(rows: pa.Table, column: str) -> dict[str, int]:
    values = rows.column(column).to_pylist()
    return dict(Counter(v for v in values if v is not None).most_common())


def _write_json(told: dict[str, Any], uri: str, storage: Storage) -> None:
    stores.write_bytes(uri, (json.dumps(told, indent=1) + "\n").encode(), storage)
