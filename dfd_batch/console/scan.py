"""`dfd scan`: plan, progress, verdicts, and whether every object has its row."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console

from dfd_batch import storage as stores
from dfd_batch.console import tables
from dfd_batch.console.account import failures, lines, next_steps, reconciliation
from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.progress import WIDE, watching
from dfd_batch.console.screen import screen
from dfd_batch.console.text import printable, size, to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.runs import FAILURES_FILE
from dfd_batch.settings import Settings

if TYPE_CHECKING:
    from dfd_batch.catalog.plan import Plan
    from dfd_batch.runs import RunResult
    from dfd_batch.since import Since

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


def watched(
    source: str, out: str, settings: Settings, address: str | None, console: Console
) -> RunResult:
    """Judge what has no verdict yet as a part of another command: plan, progress, what is missing.

    Args:
        source: As of `dfd scan`.
        out: Where its reports go.
        settings: Of the scan.
        address: Ray cluster.
        console: Is told.
    """
    from dfd_batch import pipeline

    with watching(console) as listener:
        done = pipeline.scan(
            source,
            out,
            settings,
            address=address,
            on_plan=lambda plan: say(console, plan_line(plan)),
            on_progress=listener,
        )
    if not done.reconciled:
        say(console, reconciliation(done.n_manifest, done.n_reported, done.n_distinct))
    return done


def run(
    source: str | None,
    out: str | None,
    settings: Settings,
    address: str | None,
    limit: int | None,
    as_json: bool,
    since_last: bool = False,
) -> int:
    """Scan, print what came of it, and return the exit code."""
    # With --json, stdout carries the document alone.
    console = screen(stderr=as_json)
    if not console.is_terminal:
        console.width = WIDE
    source, out = places(source, out, console)
    from dfd_batch import pipeline

    # Ray tells of lost processes on stdout, whatever it is asked
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with quiet, watching(console) as listener:
        result = pipeline.scan(
            source,
            out,
            settings,
            address=address,
            limit=limit,
            since=since_of(source, out, settings, console) if since_last else None,
            on_plan=lambda plan: say(console, plan_line(plan)),
            on_progress=listener,
        )
    if as_json:
        typer.echo(to_json({**asdict(result), "reconciled": result.reconciled}))
    elif result.stopped is None:
        _tell(console, result, source, out, settings)
    if result.stopped is not None:
        again = "Nothing that is written is lost; run the same command again to go on."
        typer.echo(f"dfd: Stopped. {printable(result.stopped)} {again}", err=True)
    return OK if result.reconciled and result.stopped is None else FAILED


def since_of(source: str, out: str, settings: Settings, console: Console) -> Since | None:
    """Return what --since-last goes by, and say so where there is nothing to go by."""
    from dfd_batch.since import last_complete

    since = last_complete(source, out, settings)
    if since is None:
        say(console, "No complete scan of this kind before: everything is compared.")
    return since


def plan_line(plan: Plan) -> str:
    """Return a plan in one line."""
    n_planned = plan.table.num_rows
    told = f"{plan.n_listed:,} objects listed, {plan.n_done:,} done before, {n_planned:,} to scan"
    again = f", {plan.n_retry:,} of them again" if plan.n_retry else ""
    given_up = f"; {plan.n_exhausted:,} given up" if plan.n_exhausted else ""
    older = f"; {plan.n_older:,} more are unchanged since the last scan" if plan.n_older else ""
    return f"{told} ({size(plan.bytes_planned)}){again}{given_up}{older}"


def say(console: Console, text: str) -> None:
    """Print a line as it is: no markup, no wrapping, no colours by guess."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _tell(console: Console, result: RunResult, source: str, out: str, settings: Settings) -> None:
    rows, title = _worst(result, out, settings)
    if rows:
        console.print(tables.verdict_table(rows, _prefix(source), title))
        console.print()
    if result.n_manifest:
        for line in lines(asdict(result)):
            say(console, line)
    if result.work.failures:
        console.print(failures(list(result.work.failures)))
        say(console, f"failures  {printable(stores.join(result.run_uri, FAILURES_FILE))}")
    say(console, f"reports   {printable(reports_uri(out))}")
    say(console, f"run       {printable(result.run_uri)}")
    for line in next_steps(result.outcomes, result.verdicts, out):
        say(console, line)
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
