"""`dfd summary`: what became of a run."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from dfd_batch import storage as stores
from dfd_batch.console.account import failures, lines, next_steps, reconciliation
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import printable, to_json
from dfd_batch.failures import Failures
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Settings, Storage

STEPS = ("fetch", "decode", "face", "embed", "judge")
WORK = ("bytes_read", "n_frames_decoded", "n_frames_scored")
MS = tuple(f"{step}_ms" for step in STEPS)
FAILURE = ("uri", "outcome", "error_kind", "error_message", "attempt")
COLUMNS = ["media_id", "verdict", "duration_s", *FAILURE, *WORK, *MS]
MAX_CAUSES = 10


def run(run_id: str | None, out: str, settings: Settings, as_json: bool) -> None:
    """Print the account of a run, the latest by default."""
    account = summarise(run_id, out, settings.storage)
    if as_json:
        typer.echo(to_json(account))
        return
    console = screen()
    say(console, f"run       {account['run_id']} of {printable(account.get('source', '?'))}")
    for line in lines(account):
        say(console, line)
    if account["work"]["failures"]:
        console.print(failures(account["work"]["failures"]))
    for line in next_steps(account["outcomes"], account["verdicts"], out):
        say(console, line)
    told = reconciliation(account["n_manifest"], account["n_reported"], account["n_distinct"])
    say(console, told if account["finished"] else f"not finished (cut short or running): {told}")


def summarise(run_id: str | None, out: str, storage: Storage) -> dict[str, Any]:
    """Return the account of a run, counted from its manifest and report rows.

    Raises:
        UsageError: There is no such run.
    """
    account = read.run_summary(out, storage, run_id)
    rows = read.run_rows(reports_uri(out), storage, account["run_id"], COLUMNS)
    return {
        **account,
        "n_manifest": _n_manifest(account["run_uri"], storage),
        "n_reported": rows.num_rows,
        "n_distinct": len(pc.unique(rows.column("media_id"))),
        "outcomes": _count(rows, "outcome"),
        "verdicts": _count(rows, "verdict"),
        "elapsed_s": account.get("elapsed_s"),
        "work": {
            "step_s": {step: round(_sum(rows, f"{step}_ms") / 1000, 3) for step in STEPS},
            "media_s": round(_sum(rows, "duration_s"), 3),
            **{name: int(_sum(rows, name)) for name in WORK},
            "failures": _causes(account["run_id"], rows),
        },
    }


def _n_manifest(run_uri: str, storage: Storage) -> int:
    uri = stores.join(run_uri, "manifest.parquet")
    blob = stores.read_bytes(uri, storage)
    return int(pq.ParquetFile(pa.BufferReader(blob)).metadata.num_rows)


def _count(rows: pa.Table, column: str) -> dict[str, int]:
    pairs = pc.value_counts(rows.column(column).drop_null()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}


def _sum(rows: pa.Table, column: str) -> float:
    return float(pc.sum(rows.column(column)).as_py() or 0)


def _causes(run_id: str, rows: pa.Table) -> list[dict[str, Any]]:
    """Return the most common kinds of failure, with an example of each."""
    seen = Failures(run_id)
    for batch in rows.filter(pc.field("outcome") != "scored").select(FAILURE).to_batches():
        for row in batch.to_pylist():
            seen.note(row)
    return seen.causes(MAX_CAUSES)
