"""`dfd report`: verdicts as a site of static pages."""

from __future__ import annotations

import time
from dataclasses import asdict

import typer

from dfd_batch.console.answer import OK
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import printable, to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Settings
from dfd_batch.site.build import Pictures, Wanted, build
from dfd_batch.site.selection import BANDS

EVERY_S = 5.0
MAX_REASONS = 10


def wanted(
    out: str,
    site: str,
    run_id: str | None,
    where: str | None,
    pictures: str,
    least: str,
    limit: int,
) -> Wanted:
    """Return what the flags ask for.

    Raises:
        UsageError: A flag has no such value, or two of them exclude each other.
    """
    if run_id is not None and where is not None:
        raise UsageError("Give --run or --where; a condition may name a run: run_id = '…'.")
    if pictures not in list(Pictures):
        raise UsageError(f"--pictures {pictures!r}: give {', '.join(Pictures)}.")
    if least not in BANDS:
        raise UsageError(f"--least {least!r}: give {', '.join(BANDS)}.")
    return Wanted(out, site, run_id, where, Pictures(pictures), least, limit)


def run(wanted: Wanted, settings: Settings, as_json: bool) -> int:
    """Write the site, say where it lies, and return the exit code."""
    console = screen(stderr=as_json)
    told_at_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told_at_s
        if time.monotonic() - told_at_s >= EVERY_S or done == total:
            told_at_s = time.monotonic()
            say(console, f"{done:,} of {total:,} objects looked at again")

    site = build(wanted, settings, tell)
    if as_json:
        typer.echo(to_json(asdict(site)))
        return OK
    say(console, f"rows      {site.n_rows:,}, {site.n_flagged:,} suspicious or worse")
    say(console, f"pages     {site.n_pages:,} objects, pictures {wanted.pictures.value}")
    for uri, reason in list(site.not_shown.items())[:MAX_REASONS]:
        say(console, f"not shown {printable(uri)}: {printable(reason)}")
    if len(site.not_shown) > MAX_REASONS:
        say(
            console,
            f"          and {len(site.not_shown) - MAX_REASONS:,} more; their pages say why",
        )
    if site.left_over:
        say(
            console,
            f"note      {site.left_over:,} pages of an earlier site stay in "
            f"{printable(wanted.site)}/objects; delete them if they should not be seen",
        )
    say(console, f"open      {printable(site.index_uri)}")
    return OK
