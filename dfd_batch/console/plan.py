"""`dfd plan`: what a scan would do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from dfd_batch.console.scan import places, plan_line, say, since_of
from dfd_batch.console.screen import screen
from dfd_batch.console.text import below, size, to_json
from dfd_batch.settings import Settings

if TYPE_CHECKING:
    from dfd_batch.catalog.plan import Plan

MAX_PREFIXES = 12


def run(
    source: str | None,
    out: str | None,
    settings: Settings,
    limit: int | None,
    as_json: bool,
    since_last: bool = False,
) -> None:
    """Print the plan of a scan; starts nothing."""
    console = screen(stderr=as_json)
    source, out = places(source, out, console)
    from dfd_batch import pipeline
    from dfd_batch.storage import is_s3, local_path, local_uri

    since = since_of(source, out, settings, console) if since_last else None
    plan = pipeline.make_plan(source, out, settings, limit, since)
    prefix = source if is_s3(source) else local_uri(local_path(source))
    account = summarise(plan, prefix)
    if as_json:
        typer.echo(to_json(account))
        return
    say(console, plan_line(plan))
    for title, groups in (("kind (by name)", "kinds"), ("below", "prefixes")):
        if account[groups]:
            console.print(_table(title, account[groups]))


def summarise(plan: Plan, prefix: str) -> dict[str, Any]:
    """Return a plan's counts, and objects and bytes by kind and by first folder below `prefix`."""
    kinds: Counter[str] = Counter()
    kind_bytes: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    folder_bytes: Counter[str] = Counter()
    for batch in plan.table.select(["uri", "media", "size_bytes"]).to_batches(max_chunksize=65_536):
        for uri, media, n_bytes in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            kind = media or "unknown"
            head, slash, _ = below(uri, prefix).partition("/")
            folder = head + slash if slash and head else "."
            kinds[kind] += 1
            kind_bytes[kind] += n_bytes or 0
            folders[folder] += 1
            folder_bytes[folder] += n_bytes or 0
    return {
        "digest": plan.digest,
        "n_listed": plan.n_listed,
        "n_done": plan.n_done,
        "n_planned": plan.table.num_rows,
        "n_new": plan.n_new,
        "n_retry": plan.n_retry,
        "n_exhausted": plan.n_exhausted,
        "n_older": plan.n_older,
        "bytes_planned": plan.bytes_planned,
        "kinds": _groups(kinds, kind_bytes, len(kinds)),
        "prefixes": _groups(folders, folder_bytes, MAX_PREFIXES),
    }


def _groups(numbers: Counter[str], n_bytes: Counter[str], n: int) -> list[dict[str, Any]]:
    return [
        {"name": name, "n_objects": count, "bytes": n_bytes[name]}
        for name, count in numbers.most_common(n)
    ]


def _table(title: str, groups: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title, min_width=16)
    table.add_column("objects", justify="right")
    table.add_column("size", justify="right")
    for group in groups:
        table.add_row(Text(group["name"]), f"{group['n_objects']:,}", size(group["bytes"]))
    return table
