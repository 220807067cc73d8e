"""`dfd compact`: few report files instead of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta

import typer
from rich.table import Table

from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import compact as compaction
from dfd_batch.settings import Settings


def run(out: str, wanted: Sequence[str], today: bool, settings: Settings, as_json: bool) -> int:
    """Rewrite days into few files, say what became of each, and return the exit code.

    Args:
        out: Where the scan wrote.
        wanted: Days as YYYY-MM-DD; all that are over where empty.
        today: The day that is not over, too.
        settings: How storage is reached.
        as_json: For machines.

    Raises:
        UsageError: A day is none, or has no reports.
    """
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    known = compaction.days(out, settings.storage, tomorrow)
    if wanted:
        chosen = [_day(text) for text in wanted]
        lacking = [day for day in chosen if day not in known]
        if lacking:
            raise UsageError(f"There are no reports of {lacking[0]} in {out}.")
    else:
        chosen = known if today else compaction.days(out, settings.storage)
    told = [compaction.compact(out, day, settings.storage) for day in chosen]
    lost = any(day.state == "lost" for day in told)
    if as_json:
        typer.echo(to_json([asdict(day) for day in told]))
        return FAILED if lost else OK
    console = screen()
    table = Table(box=None, pad_edge=False)
    for title in ("day", "state"):
        table.add_column(title)
    for title in ("files before", "files now", "rows written", "files removed"):
        table.add_column(title, justify="right")
    for day in told:
        numbers = (day.n_files_before, day.n_files_after, day.n_rows, day.n_removed)
        table.add_row(day.day, day.state, *(f"{n:,}" for n in numbers))
    if told:
        console.print(table)
    elif known:
        say(console, "Only today has reports; --today compacts them as well.")
    else:
        say(console, "There are no reports yet.")
    if lost:
        say(console, "lost: another compaction of that day was faster; start again if need be.")
    return FAILED if lost else OK


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--day {text!r} is not a day: give YYYY-MM-DD.") from None
