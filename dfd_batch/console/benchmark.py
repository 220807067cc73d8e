"""`dfd benchmark`: the lines as they are measured, then one table, and JSON for machines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from dfd_batch.benchmark.lines import Bench, Line
from dfd_batch.benchmark.run import GROUPS
from dfd_batch.benchmark.run import run as measure
from dfd_batch.console.scan import say
from dfd_batch.console.text import duration, to_json
from dfd_batch.outcomes import UsageError


def default_work() -> Path:
    """Return where media are kept from one run to the next unless told: this user's alone."""
    return Path(tempfile.gettempdir()) / f"dfd-benchmark-{os.getuid()}"


def run(bench: Bench, only: Sequence[str], to: Path | None) -> None:
    """Measure, print the table, and write the JSON document.

    Raises:
        UsageError: What is asked for cannot be measured, or JSON cannot be written.
    """
    console = Console()
    if to is not None and not to.absolute().parent.is_dir():
        raise UsageError(f"--json {to}: there is no folder {to.absolute().parent}.")
    bench = replace(bench, work=bench.work.absolute())
    say(console, f"Media and results in between: {bench.work}")

    def tell(name: str, lines: list[Line], so_far: dict[str, Any]) -> None:
        if to is not None:  # what is measured outlives a group that fails
            to.write_text(to_json(so_far) + "\n", encoding="utf-8")
        told = ", ".join(f"{line.key} {_figure(line.value, line.unit)}" for line in lines)
        say(console, f"{name}: {told}")

    document = measure(bench, only, tell)
    console.print()
    console.print(_lines_table(document))
    if document["sizing"]:
        console.print(_sizing_table(document))
    say(console, _machine(document))
    if to is not None:
        say(console, f"json      {to}")


def list_groups() -> None:
    """Print the names that `--only` takes."""
    for name, (what, keys) in GROUPS.items():
        typer.echo(f"{name}: {what}")
        for key in keys:
            typer.echo(f"  {key}")


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def _lines_table(document: dict[str, Any]) -> Table:
    table = Table(title="Benchmark", title_justify="left", box=None, pad_edge=False)
    for name, side in (("line", "left"), ("median", "right"), ("spread", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column("goal", no_wrap=True)
    table.add_column("", no_wrap=True)
    for line in document["lines"]:
        unit = line["unit"]
        spread = ""
        if line["n"] > 1:
            spread = f"{_figure(line['low'], '')} … {_figure(line['high'], '')} ({line['n']})"
        reached = {True: "[green]reached[/]", False: "[red]not reached[/]", None: ""}
        table.add_row(
            f"{line['what']} [dim]{line['note']}[/]" if line["value"] is None else line["what"],
            _figure(line["value"], unit),
            spread,
            line["goal"] or "",
            reached[line["reached"]],
        )
    return table


def _sizing_table(document: dict[str, Any]) -> Table:
    prices = document["prices"]
    table = Table(
        title=f"Sizing: {prices['object_mb']:g} MB an object, {prices['cpu_core_hour']:g} "
        f"{prices['currency']} a core hour, {prices['gpu_hour']:g} a GPU hour (--prices)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("machine")
    for name in ("objects/h", "per 1,000 objects", "per TB"):
        table.add_column(name, justify="right")
    for row in document["sizing"]:
        table.add_row(
            row["machine"],
            f"{row['objects_per_hour']:,}",
            f"{row['price_per_1000_objects']:g} {row['currency']}",
            f"{row['price_per_tb']:g} {row['currency']}",
        )
    return table


def _machine(document: dict[str, Any]) -> str:
    machine = document["machine"]
    flags = ", ".join(machine["cpu_flags"]) or "none of the telling flags"
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    versions = ", ".join(f"{name} {found}" for name, found in machine["libraries"].items())
    return (
        f"machine   {machine['cores']} cores of {machine['cpu']} ({flags}), "
        f"{machine['memory_gb']} GB, {gpus}, load before {machine['load_before']}\n"
        f"versions  dfd-batch {machine['dfd_batch']}, Python {machine['python']}, {versions}\n"
        f"time      {duration(document['elapsed_s'])}"
    )
