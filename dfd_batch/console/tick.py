"""`dfd tick`: one scheduled scan with all that belongs to it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import typer

from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.progress import watching
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import duration, printable, to_json
from dfd_batch.outcomes import UsageError

BUSY = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""
STOPPED = 143


def run(file: Path, address: str | None, really: bool, overlap_ok: bool, as_json: bool) -> int:
    """Do one tick, say what each step came to, and return the exit code.

    Args:
        file: The tick's TOML file.
        address: Ray cluster; goes before the file's.
        really: Whether the policy's actions are done.
        overlap_ok: Whether another tick at work is no failure.
        as_json: For machines.

    Raises:
        UsageError: The file is not valid, or something that it names.
    """
    from dfd_batch.schedule import rules
    from dfd_batch.schedule.lease import Busy
    from dfd_batch.schedule.tick import Tick

    console = screen(stderr=as_json)
    job = rules.load(file)
    if address is not None:
        job = job.at(address)
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    tick = Tick(job, really, lambda step: say(console, line(step)))
    try:
        with stoppable(), quiet, watching(console) as tick.on_progress:
            summary = tick.run()
    except Busy as other:
        typer.echo(f"dfd: Another tick is at work ({other}); nothing was done.", err=True)
        return OK if overlap_ok else BUSY
    except UsageError as error:  # nothing that another file would help
        typer.echo(f"dfd: {error}", err=True)
        return FAILED
    if as_json:
        typer.echo(to_json(summary))
    else:
        say(console, f"tick      {summary['tick_id']}, {duration(summary['elapsed_s'])}")
        say(console, printable(summary["text"]))
        for step in summary["steps"]:
            if step["status"] == "failed":  # on stderr, which cron mails
                typer.echo(f"dfd: {line(step)}", err=True)
    return int(summary["exit_code"])


def line(step: dict[str, Any]) -> str:
    """Return what a step came to in one line."""
    status = "" if step["status"] == "done" else f"{step['status']}: "
    return f"{step['name']:<9} {status}{printable(step['said'])}"


@contextmanager
def stoppable() -> Iterator[None]:
    """Let schedulers' SIGTERM end a tick as Ctrl-C does: the lease is given back at once."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        sys.exit(STOPPED)

    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, stop)  # inside: it may come the moment after
        yield
    except BaseException as error:
        # In the middle of an import, the exit may come out as an error of the half-made module;
        # Ray puts a handler of its own in our place, which ends with the signal's number.
        if stopped or (isinstance(error, SystemExit) and error.code == signal.SIGTERM):
            typer.echo("dfd: Stopped; the next tick goes on.", err=True)
            raise typer.Exit(STOPPED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
