"""The command `dfd benchmark` and its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfd_batch.console.answer import answering


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(rich_help_panel="Operate")(benchmark)


def benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer media and repetitions: 15 minutes on two cores.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--json", help="File for all figures, with `ratios`.")
    ] = None,
    media: Annotated[
        Path | None,
        typer.Option("--media", help="Folder of your videos to compare on, not generated ones."),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option("--labelled", help="CSV of file and label (0, 1) to compare accuracy on."),
    ] = None,
    s3: Annotated[
        str | None,
        typer.Option("--s3", help="s3://bucket/prefix to write to and read from; else moto's."),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", help="TOML of prices: cpu_core_hour, gpu_hour, object_mb …"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="LINE", help="A line or a group; repeatable (--list)."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="The groups and their lines.")] = False,
    work: Annotated[
        Path | None,
        typer.Option("--work", help="Folder of generated media, kept; else a temporary one."),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=1, help="Of each paired measurement.")
    ] = None,
    objects: Annotated[
        int | None,
        typer.Option("--objects", min=3, help="Videos of the archive that is compared on."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="Shipped detector or folder.")
    ] = "default",
) -> None:
    """Measure this machine: against the plain way to write it, and against the machine's limits.

    Makes its own media, measures in pairs one after the other, and says of each goal whether it
    is reached. Other work on the machine widens the spread; ratios suffer least.

    Examples: `dfd benchmark --quick --json figures.json`, `dfd benchmark --only faces`.
    Exit code: 0 measured, whatever the figures; 2 usage; 130 interrupted.
    """
    with answering(interrupted="Stopped; generated media stay. Start it again."):
        from dfd_batch.console import benchmark as benchmarking

        if listed:
            benchmarking.list_groups()
            return
        from dfd_batch.benchmark.lines import Bench

        bench = Bench(
            work=work or benchmarking.default_work(),
            quick=quick,
            repeats=repeats or (2 if quick else 5),
            n_objects=objects,
            media=media,
            labelled=labelled,
            s3=s3,
            prices=prices,
            detector=checkpoint,
        )
        benchmarking.run(bench, only or (), to)
