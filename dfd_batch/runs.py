"""A run on storage: what was to be done, with what, and what became of it.

`OUT/runs/<run_id>/manifest.parquet` is the promise, `run.json` the settings and the detector,
`summary.json` the account, written last: a run folder without one was cut short.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from dfd_batch import __version__
from dfd_batch import storage as stores
from dfd_batch.checkpoint import ModelCard
from dfd_batch.reports.write import day_uri, write_table
from dfd_batch.settings import Settings, Storage


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
class RunResult:
    """The account of a finished run."""

    run_id: str
    run_uri: str
    reports_uri: str
    detector_id: str
    plan: dict[str, int]
    n_manifest: int
    n_reported: int
    n_distinct: int
    elapsed_s: float
    outcomes: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)

    @property
    def reconciled(self) -> bool:
        """Whether every object of the manifest has exactly one row."""
        return self.n_manifest == self.n_reported == self.n_distinct


def open_run(
    run: Run, table: pa.Table, source: str, settings: Settings, card: ModelCard, detector_id: str
) -> None:
    """Write the manifest and run.json of a run that is about to start."""
    write_table(table, run.manifest_uri, settings.storage)
    told = {
        "run_id": run.run_id,
        "source": source,
        "started_at": run.started_at.isoformat(),
        "package_version": __version__,
        "detector_id": detector_id,
        "detector": {"name": card.name, "version": card.version, "sha256": card.weights_sha256},
        "settings": settings.model_dump(mode="json"),
    }
    _write_json(told, stores.join(run.uri, "run.json"), settings.storage)


def close_run(
    run: Run,
    manifest: pa.Table,
    plan: dict[str, int],
    detector_id: str,
    elapsed_s: float,
    storage: Storage,
) -> RunResult:
    """Return the account of a run, counted from what lies on storage, and write summary.json."""
    rows = run_rows(run, storage)
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
    )
    told = {**asdict(result), "reconciled": result.reconciled}
    _write_json(told, stores.join(run.uri, "summary.json"), storage)
    return result


def run_rows(run: Run, storage: Storage) -> pa.Table:
    """Return (media_id, outcome, verdict) of the rows that a run has written so far."""
    columns = ["media_id", "outcome", "verdict"]
    folder = day_uri(run.out, run.scan_date)
    files = [
        stores.join(folder, name)
        for name in stores.list_names(folder, storage)
        if name.startswith(f"{run.run_id}-")
    ]
    if not files:
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    filesystem, _ = stores.filesystem(folder, storage)
    paths = [stores.filesystem(uri, storage)[1] for uri in files]
    return pds.dataset(paths, filesystem=filesystem, format="parquet").to_table(columns=columns)


def _counts(rows: pa.Table, column: str) -> dict[str, int]:
    values = rows.column(column).to_pylist()
    return dict(Counter(v for v in values if v is not None).most_common())


def _write_json(told: dict[str, Any], uri: str, storage: Storage) -> None:
    stores.write_bytes(uri, (json.dumps(told, indent=1) + "\n").encode(), storage)
