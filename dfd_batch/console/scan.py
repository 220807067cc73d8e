"""`dfd scan`: plan, progress, verdicts, and whether every object has its row."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console

from dfd_batch.console import tables
from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.progress import watching
from dfd_batch.console.text import counts, duration, printable, size, to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Settings

if TYPE_CHECKING:
    from dfd_batch.catalog.plan import Plan
    from dfd_batch.runs import RunResult

DEMO = Path("dfd-demo")


def places(source: str | None, out: str | None, console: Console) -> tuple[str, str]:
    """Return the source and the output; without a source the demo archive, made when missing.

    Raises:
        UsageError: A source is given but no output.
    """
    if source is not None and out is None:
        raise UsageError("Say where the verdicts go: --out FOLDER or --out s3://bucket/prefix.")
    if source is not None and out is not None:
        return source, out
    from dfd_batch.demo import make_demo

    say(console, f"No source given: the demo archive in ./{DEMO} is made (once) and scanned.")
    return str(make_demo(DEMO)), out or str(DEMO / "out")


def run(
    source: str | None,
    out: str | None,
    settings: Settings,
    address: str | None,
    limit: int | None,
    as_json: bool,
) -> int:
    """Scan, print what came of it, and return the exit code."""
    # With --json, stdout carries the document alone.
    console = Console(stderr=as_json)
    source, out = places(source, out, console)
    from dfd_batch import pipeline

    with watching(console) as listener:
        result = pipeline.scan(
            source,
            out,
            settings,
            address=address,
            limit=limit,
            on_plan=lambda plan: say(console, plan_line(plan)),
            on_progress=listener,
        )
    if as_json:
        typer.echo(to_json({**asdict(result), "reconciled": result.reconciled}))
    else:
        _tell(console, result, source, out, settings)
    return OK if result.reconciled else FAILED


def plan_line(plan: Plan) -> str:
    """Return a plan in one line."""
    n_planned = plan.table.num_rows
    told = f"{plan.n_listed:,} objects listed, {plan.n_done:,} done before, {n_planned:,} to scan"
    again = f", {plan.n_retry:,} of them again" if plan.n_retry else ""
    given_up = f"; {plan.n_exhausted:,} given up" if plan.n_exhausted else ""
    return f"{told} ({size(plan.bytes_planned)}){again}{given_up}"


def say(console: Console, text: str) -> None:
    """Print a line as it is: no markup, no wrapping, no colours by guess."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def reconciliation(n_manifest: int, n_reported: int, n_distinct: int) -> str:
    """Return the line that says whether every object of the manifest has exactly one row."""
    if n_manifest == n_reported == n_distinct:
        return f"manifest {n_manifest:,} == report {n_reported:,}"
    return (
        f"manifest {n_manifest:,} != report {n_reported:,} ({n_distinct:,} distinct): objects lack "
        "their row or have more than one; scan again to judge those that lack it"
    )


def _tell(console: Console, result: RunResult, source: str, out: str, settings: Settings) -> None:
    rows, title = _worst(result, out, settings)
    if rows:
        console.print(tables.verdict_table(rows, _prefix(source), title))
        console.print()
    if result.n_manifest:
        rate = result.n_reported / result.elapsed_s if result.elapsed_s else 0.0
        say(console, f"outcomes  {counts(result.outcomes)}")
        say(console, f"verdicts  {counts(result.verdicts)}")
        say(console, f"time      {duration(result.elapsed_s)}, {rate:.2g} objects/s")
    say(console, f"reports   {printable(reports_uri(out))}")
    say(console, f"run       {printable(result.run_uri)}")
    say(console, reconciliation(result.n_manifest, result.n_reported, result.n_distinct))


def _worst(result: RunResult, out: str, settings: Settings) -> tuple[list[dict[str, object]], str]:
    """Return the rows to show and their title: the run's, or what is known when it had none."""
    reports, storage = reports_uri(out), settings.storage
    if result.n_manifest:
        rows = read.run_rows(reports, storage, result.run_id, tables.SORT_COLUMNS)
        what = "of this run"
    else:
        mine = pc.field("detector_id") == result.detector_id
        rows = read.latest(reports, storage, tables.SORT_COLUMNS, mine, by=read.URI_KEY)
        what = "so far: nothing new to scan"
    worst = tables.worst_first(rows)
    # Evidence is read for the few rows that are shown only.
    chosen = pc.field("media_id").isin(pa.array(worst.column("media_id").to_pylist(), pa.string()))
    full = read.latest(reports, storage, tables.TABLE_COLUMNS, chosen, by=read.URI_KEY)
    extent = f"{worst.num_rows} of {rows.num_rows:,}, worst first"
    return tables.worst_first(full).to_pylist(), f"Verdicts {what} ({extent})"


def _prefix(source: str) -> str:
    """Return the beginning that the URIs of a source's objects share."""
    from dfd_batch.storage import is_s3, local_path, local_uri

    return source if is_s3(source) else local_uri(local_path(source))
