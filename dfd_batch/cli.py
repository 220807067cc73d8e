"""The command line: `dfd scan | plan | show | summary | info | train`.

Commands parse flags and hand over; heavy libraries are imported inside them, so that help and
usage errors answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfd_batch.console import options
from dfd_batch.console.answer import answering
from dfd_batch.outcomes import UsageError

app = typer.Typer(
    name="dfd",
    help="Scans archives of videos and images for deepfakes: one object in, one verdict out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a bug keeps its plain traceback, without local variables
)

Source = Annotated[
    str | None,
    typer.Argument(
        help="Folder, file, s3://bucket/prefix, list of URIs (.jsonl, .csv, .parquet) or S3 "
        "Inventory manifest.json. Without it: a small demo archive.",
        show_default=False,
    ),
]
Reports = Annotated[str, typer.Option("--out", "-o", help="Where the scan wrote its reports.")]
DEMO_OUT = "dfd-demo/out"


@app.command()
def scan(
    ctx: typer.Context,
    source: Source = None,
    out: options.Out = None,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    coverage: options.Coverage = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    min_size: options.MinSize = None,
    max_size: options.MaxSize = None,
    newer_than: options.NewerThan = None,
    older_than: options.OlderThan = None,
    limit: options.Limit = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    embed_actors: options.EmbedActors = None,
    device: options.Device = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Ray cluster; else RAY_ADDRESS, else this machine.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Judge every object that has no verdict yet; start it again and it goes on.

    Exit code: 0 every object has its row; 1 it has not; 2 usage; 130 interrupted.
    """
    again = "Stopped; what is written stays. Run the same command again to go on."
    with answering(interrupted=again):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import scan as scanning

        code = scanning.run(source, out, settings, address, limit, as_json)
    raise typer.Exit(code)


@app.command()
def plan(
    ctx: typer.Context,
    source: Source = None,
    out: options.Out = None,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    coverage: options.Coverage = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    min_size: options.MinSize = None,
    max_size: options.MaxSize = None,
    newer_than: options.NewerThan = None,
    older_than: options.OlderThan = None,
    limit: options.Limit = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    embed_actors: options.EmbedActors = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Say what a scan would do: how many objects, how large, how many are done. Takes its flags."""
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import plan as planning

        planning.run(source, out, settings, limit, as_json)


@app.command()
def show(
    ctx: typer.Context,
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="OBJECT", help="URI, path, the end of either, or the start of a media_id."
        ),
    ],
    out: Reports = DEMO_OUT,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    """Show one object's verdict, faces, segments and timeline."""
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import show as showing

        showing.run(wanted, out, settings, as_json)


@app.command()
def summary(
    ctx: typer.Context,
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run id or its beginning; the latest by default."),
    ] = None,
    out: Reports = DEMO_OUT,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    """Sum up a run: outcomes, verdicts, speed, failures, and whether manifest equals report."""
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import summary as summing

        summing.run(run_id, out, settings, as_json)


@app.command()
def info(
    ctx: typer.Context,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    as_json: options.Json = False,
) -> None:
    """Tell versions, machine and detectors."""
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import info as informing

        informing.run(settings, as_json)


@app.command()
def train(
    data: Annotated[Path, typer.Option("--data", help="Folder of training data.")],
    work: Annotated[
        Path, typer.Option("--work", help="Prepared faces, state, logs; holds media: keep private.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Receives the best checkpoint so far.")],
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="End by then; else by images seen.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of data order and initial weights.")] = 0,
) -> None:
    """Train a detector; start it again with the same --work and it goes on."""
    again = "Stopped; the training state stays. Run the same command again to go on."
    with answering(interrupted=again):
        if not data.is_dir():
            raise UsageError(f"No training data at {data}; give --data the folder that holds it.")
        from dfd_batch.training.config import TrainConfig
        from dfd_batch.training.fit import train as fit

        config = TrainConfig(data=data, work=work, out=out, minutes=minutes, seed=seed)
        typer.echo(str(fit(config)))


def main() -> None:
    """Run the command line."""
    app(prog_name="dfd")


if __name__ == "__main__":
    main()
