"""How a command ends: the exit code, and one sentence instead of a traceback."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from dfd_batch.outcomes import UsageError

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


@contextmanager
def answering(interrupted: str = "Interrupted.") -> Iterator[None]:
    """End the command in one sentence on stderr when the user erred or pressed Ctrl-C.

    Anything else is a bug and keeps its traceback.

    Args:
        interrupted: What to say on Ctrl-C.
    """
    try:
        yield
    except UsageError as error:
        typer.echo(f"dfd: {error}", err=True)
        raise typer.Exit(USAGE) from None
    except KeyboardInterrupt:
        typer.echo(f"\ndfd: {interrupted}", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def leaving() -> Iterator[None]:
    """Turn the exit of the body into that of the process, past what Ray's native core tears down.

    A driver on a busy machine now and then aborted (SIGABRT, seen after the interpreter's end)
    when its work was done and told; schedulers would read that as a failure. Exit handlers still
    run. A process without Ray ends as always.
    """
    try:
        yield
    except SystemExit as done:
        if "ray" not in sys.modules or not isinstance(done.code, int | None):
            raise
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(done.code or 0)
