"""How a command ends: the exit code, and one sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
