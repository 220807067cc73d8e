"""The command line `dfd`: its commands and their flags.

Commands parse flags and hand over; heavy libraries are imported inside them, so that help and
usage errors answer at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from dfd_batch.console import learn, measure, operate, options
from dfd_batch.console.answer import answering, leaving

app = typer.Typer(
    name="dfd",
    help="Scans archives of videos and images for deepfakes: one object in, one verdict out.\n\n"
    "Example: `dfd scan /media/archive --out OUT`, then `dfd report OUT`; `dfd scan` alone makes a "
    "small demo archive.",
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


@app.command(rich_help_panel="Scan")
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
    since_last: options.SinceLast = False,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    embed_actors: options.EmbedActors = None,
    device: options.Device = None,
    metrics_port: options.MetricsPort = None,
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

    --since-last spares memory and reading of reports in large archives: it trusts the times of
    objects, back to a day before the last complete scan of the same source with the same settings
    (select.since_margin_hours); what failed is tried again whatever its age. What keeps an older
    time (replicated objects, a moved folder, an older version made current) waits for a scan
    without it; so scan without it now and then.

    Examples: `dfd scan s3://archive/2026 --out s3://verdicts`,
    `dfd scan /media/in --out OUT --include "*.mp4" --since-last`.

    Exit code: 0 every object has its row; 1 it has not; 2 usage; 130 interrupted.
    """
    again = "Stopped; what is written stays. Run the same command again to go on."
    with answering(interrupted=again):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import scan as scanning

        code = scanning.run(source, out, settings, address, limit, as_json, since_last)
    raise typer.Exit(code)


@app.command(rich_help_panel="Scan")
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
    since_last: options.SinceLast = False,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    embed_actors: options.EmbedActors = None,
    device: options.Device = None,
    metrics_port: options.MetricsPort = None,
    as_json: options.Json = False,
) -> None:
    """Say what a scan would do: how many objects, how large, how many are done. Takes its flags.

    Example: `dfd plan s3://archive/2026 --out s3://verdicts --newer-than 7d`.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import plan as planning

        planning.run(source, out, settings, limit, as_json, since_last)


@app.command(rich_help_panel="Scan")
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
    """Show one object's verdict, faces, segments and timeline.

    Examples: `dfd show clips/a.mp4 --out s3://verdicts`, `dfd show 7af29436 --out OUT --json`.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import show as showing

        showing.run(wanted, out, settings, as_json)


@app.command(rich_help_panel="Scan")
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
    """Sum up a run: outcomes, verdicts, speed, failures, and whether manifest equals report.

    Counted from what lies on storage, so a run that is still at work can be watched by it. More of
    its failures lie in OUT/runs/RUN/failures.jsonl, its last metrics in metrics.prom beside it.

    Examples: `dfd summary --out s3://verdicts`, `dfd summary 20260504 --out OUT --json`.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import summary as summing

        summing.run(run_id, out, settings, as_json)


@app.command(rich_help_panel="Scan")
def report(
    ctx: typer.Context,
    reports: Annotated[
        str, typer.Argument(metavar="OUT", help="Where the scans wrote.")
    ] = DEMO_OUT,
    site: Annotated[
        str, typer.Option("--out", "-o", help="Folder or s3:// prefix of the pages.")
    ] = "dfd-page",
    run_id: Annotated[
        str | None, typer.Option("--run", help="Only this run; its id or the beginning of it.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="SQL condition on the columns of the view `verdicts`."),
    ] = None,
    pictures: Annotated[
        str, typer.Option("--pictures", help="clear, blurred, or none: the media are not read.")
    ] = "clear",
    least: Annotated[
        str, typer.Option("--least", help="Verdict from which an object gets its own page.")
    ] = "suspicious",
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="At most N of these pages, the worst.")
    ] = 200,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    """Write verdicts as a site of static pages that opens from disk or from a bucket.

    Without --run or --where: the newest verdict of every object. The flagged objects are read
    again for pictures of what was judged; one that has changed since is not shown.

    Examples: `dfd report s3://verdicts --out page/`,
    `dfd report OUT --where "probability > 0.5 AND media = 'video'" --pictures blurred`.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import report as reporting

        wanted = reporting.wanted(reports, site, run_id, where, pictures, least, limit)
        code = reporting.run(wanted, settings, as_json)
    raise typer.Exit(code)


@app.command(rich_help_panel="Scan")
def verify(
    ctx: typer.Context,
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run id or its beginning; the latest by default."),
    ] = None,
    out: Reports = DEMO_OUT,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Objects to judge again, here and one by one.")
    ] = 8,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0.0, help="Of their probabilities; wider on another kind of device."
        ),
    ] = 1e-4,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Check a run: ids, files, one row per object, and a sample of objects judged again.

    Examples: `dfd verify --out s3://verdicts`, `dfd verify 20260504 --out OUT --sample 50`.

    Exit code: 0 all is well; 1 something is wrong, each in one sentence; 2 usage.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import verify as verifying

        code = verifying.run(run_id, out, settings, sample, tolerance, checkpoint, as_json)
    raise typer.Exit(code)


@app.command(rich_help_panel="Scan")
def info(
    ctx: typer.Context,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    as_json: options.Json = False,
) -> None:
    """Tell versions, machine and detectors.

    Example: `dfd info --checkpoint my-detector`.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import info as informing

        informing.run(settings, as_json)


learn.register(app)
operate.register(app)
measure.register(app)


def main(arguments: list[str] | None = None, name: str = "dfd") -> None:
    """Run the command line.

    Args:
        arguments: Instead of those that the process was started with.
        name: Of the program, as help and errors say it.
    """
    with leaving():
        app(arguments, prog_name=name)


if __name__ == "__main__":
    main()
