"""`dfd verify`: whether what a run left on storage is whole and true."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import printable, to_json
from dfd_batch.settings import Settings
from dfd_batch.verify import Check, verify

MAX_SENTENCES = 20


def run(
    run_id: str | None,
    out: str,
    settings: Settings,
    sample: int,
    tolerance: float,
    checkpoint: str | None,
    as_json: bool,
) -> int:
    """Print what is wrong with a run, the latest by default, and return the exit code."""
    found = verify(out, settings, run_id, sample=sample, tolerance=tolerance, checkpoint=checkpoint)
    if as_json:
        typer.echo(to_json({**asdict(found), "sound": found.sound}))
        return OK if found.sound else FAILED
    console = screen()
    say(console, f"run       {printable(found.run_uri)}")
    console.print(_table(found.checks))
    for check in found.checks:
        _tell(console, check.wrong)
    _tell(console, [f"note: {note}" for note in found.notes])
    return OK if found.sound else FAILED


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("check", "looked at", "found"):
        table.add_column(name)
    for check in checks:
        found = Text(f"{len(check.wrong):,} wrong", "bold red") if check.wrong else Text("good")
        table.add_row(check.name, Text(printable(check.looked_at)), found)
    return table


def _tell(console: Console, sentences: list[str]) -> None:
    for sentence in sentences[:MAX_SENTENCES]:
        say(console, printable(sentence))
    if len(sentences) > MAX_SENTENCES:
        say(console, f"… and {len(sentences) - MAX_SENTENCES:,} more; --json has them all")
