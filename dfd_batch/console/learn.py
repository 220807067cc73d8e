"""The commands that train detectors, measure them and fit them to the user's own media."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from dfd_batch.console import options, train_options
from dfd_batch.console.answer import answering


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel="Detectors")(calibrate)
    app.command(rich_help_panel="Detectors")(prepare)
    app.command(rich_help_panel="Detectors")(train)
    app.command(rich_help_panel="Detectors")(evaluate)
    app.command(rich_help_panel="Detectors")(forge)


def calibrate(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the new checkpoint: same weights.")
    ] = Path("dfd-calibrated"),
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="GENUINE_MEDIA",
            help="Of the kind to be scanned: folder, s3://bucket/prefix or list. Without it: all "
            "that --reports holds.",
            show_default=False,
        ),
    ] = None,
    fpr: Annotated[
        float,
        typer.Option(
            "--fpr",
            min=1e-6,
            max=0.5,
            help="Share of genuine media that may come out suspicious or worse.",
        ),
    ] = 0.01,
    best_effort: Annotated[
        bool,
        typer.Option("--best-effort", help="With too few media, set the lowest rate they support."),
    ] = False,
    reports: Annotated[
        str | None,
        typer.Option(
            "--reports",
            help="Where their verdicts lie or are to be written; else CHECKPOINT/scan.",
        ),
    ] = None,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    coverage: options.Coverage = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    embed_actors: options.EmbedActors = None,
    device: options.Device = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Ray cluster.", rich_help_panel=options.HOW),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Set a detector's bands on your own genuine media, for a false alarm rate; no training.

    Examples: `dfd calibrate /media/genuine --fpr 0.001`, then
    `dfd scan … --checkpoint dfd-calibrated`; `dfd calibrate --reports OUT --out my-detector`.

    Exit code: 0 done; 1 too few media for the rate, or rows missing; 2 usage; 130 interrupted.
    """
    again = "Stopped; what is judged stays. Run the same command again to go on."
    with answering(interrupted=again):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import calibrate as calibrating

        command = _command_line()
        wanted = calibrating.Wanted(out, fpr, best_effort, command)
        code = calibrating.run(source, reports, wanted, settings, address, as_json)
    raise typer.Exit(code)


def prepare(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Root of a data set, or a folder of your media.")],
    work: Annotated[
        Path, typer.Option("--work", help="Receives the pool of faces; holds media: keep private.")
    ],
    layout: Annotated[
        str | None, typer.Option("--as", help="Layout of the source; guessed without.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the pool; else that of the layout.")
    ] = None,
    licence: Annotated[str, typer.Option("--licence", help="Of these media, for the card.")] = "",
    landmarks: Annotated[
        Path | None,
        typer.Option("--landmarks", help="landmark68.safetensors; else the mean face is fitted."),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Clips of each video.")] = 1,
    frames: Annotated[
        int, typer.Option("--frames", min=1, max=64, help="Consecutive frames of each clip.")
    ] = 32,
    limit: options.Limit = None,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster; else RAY_ADDRESS, else here.")
    ] = None,
) -> None:
    """Prepare labelled or genuine media for training; start it again and it goes on.

    Layouts: faceforensics, deepfakedetection, celeb-df, dfdc, dfdc-preview, wilddeepfake,
    openforensics, celeba, lav-df, forgerynet, real-fake, genuine, bundle.

    A bundle says itself what is prepared: it takes --name, --config and --checkpoint alone.

    Examples: `dfd prepare /data/FaceForensics --as faceforensics --work work`,
    `dfd prepare /media/mine --as genuine --work work --licence "my own"`.
    """
    again = "Stopped; what is prepared stays. Run the same command again to go on."
    with answering(interrupted=again):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import prepare as preparing

        settings = preparing.sampled(settings, clips, frames)
        given = options.given(ctx)
        preparing.run(
            source, layout, work, name, limit, landmarks, licence, settings, address, given
        )


def train(
    ctx: typer.Context,
    work: train_options.Work = None,
    out: train_options.Out = None,
    config: train_options.Config = None,
    dry_run: train_options.DryRun = False,
    data: train_options.Data = None,
    mixture: train_options.Mixture = None,
    open: train_options.Open = False,
    licence_like: train_options.LicenceLike = None,
    without: train_options.Without = None,
    encoder: train_options.Encoder = None,
    crop_size: train_options.CropSize = None,
    temporal: train_options.Temporal = None,
    temporal_only: train_options.TemporalOnly = None,
    synthesis_only: train_options.SynthesisOnly = None,
    init: train_options.Init = None,
    images: train_options.Images = None,
    minutes: train_options.Minutes = None,
    seed: train_options.Seed = None,
    optimizer: train_options.Optimizer = None,
    ema: train_options.Ema = None,
    learning_rate: train_options.LearningRate = None,
    batch: train_options.Batch = None,
    precision: train_options.Precision = None,
    device: train_options.Device = None,
    workers: train_options.Workers = None,
    address: train_options.Address = None,
    name: train_options.Name = None,
    description: train_options.Description = None,
    limitation: train_options.Limitation = None,
    provisional: train_options.Provisional = None,
) -> None:
    """Train a detector; start it again with the same --work and it goes on.

    Examples: `dfd train --work work --out my-detector --minutes 120`,
    `dfd train --work work --out my-detector --temporal-only default`,
    `dfd train --work work --out twice --synthesis-only my-detector --init imagenet.safetensors`.

    Exit code: 0 done; 2 usage; 130 interrupted, the state is saved.
    """
    again = "Stopped; the training state stays. Run the same command again to go on."
    with answering(interrupted=again):
        settings = train_options.settings_of(ctx.params, _command_line())
        from dfd_batch.console import train as training

        training.run(settings, address, dry_run, temporal_only, synthesis_only)


def evaluate(
    ctx: typer.Context,
    tests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEST…",
            help="Labelled media: roots of data sets, or lists (.csv, .jsonl, .parquet) of uri, "
            "label and maybe group, method, split, segments.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "--work", "-o", help="Folder of reports, tables and the page.")
    ] = "dfd-evaluation",
    checkpoints: Annotated[
        list[str] | None,
        typer.Option("--checkpoint", help="Detector to evaluate; repeatable, the first leads."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option("--as", help="Layout of the data sets; guessed without.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only media of this split.")] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Column of a list to slice by; repeatable.")
    ] = None,
    reports: Annotated[
        str | None,
        typer.Option("--reports", help="Judge the verdicts that a scan wrote there; no scan."),
    ] = None,
    faces: Annotated[
        list[Path] | None,
        typer.Option(
            "--faces",
            help="Pool of prepared faces (WORK/pools/NAME) for robustness curves and figures by "
            "forging operation; repeatable.",
        ),
    ] = None,
    most_faces: Annotated[
        int, typer.Option("--most-faces", min=2, help="Of each class and pool.")
    ] = 200,
    attacks: Annotated[
        bool,
        typer.Option("--attacks", help="Attack the frame encoder on these faces, too: FGSM, C&W."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without curves, operations and the LSTM's baseline.")
    ] = False,
    draws: Annotated[int, typer.Option("--draws", min=2, help="Of the bootstrap.")] = 500,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most N objects of each test, evenly.")
    ] = None,
    config: options.Config = None,
    coverage: options.Coverage = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    crop_actors: options.CropActors = None,
    embed_actors: options.EmbedActors = None,
    device: options.Device = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster; else RAY_ADDRESS, else here.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say how good detectors are on labelled media: figures with intervals, and a page of them.

    Scans what has no verdict yet, so start it again and it goes on.

    Examples: `dfd evaluate labelled.csv --out evaluation --checkpoint default`,
    `dfd evaluate labelled.csv --reports s3://verdicts --by camera --quick`.

    Exit code: 0 done; 1 rows missing; 2 usage; 130 interrupted.
    """
    again = "Stopped; what is judged stays. Run the same command again to go on."
    with answering(interrupted=again):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import evaluate as evaluating

        wanted = evaluating.Wanted(
            tests=tuple(tests or ()),
            out=out,
            command=_command_line(),
            layout=layout,
            split=split,
            by=tuple(by or ()),
            limit=limit,
            reports=reports,
            faces=tuple(faces or ()),
            most_faces=most_faces,
            attacks=attacks,
            quick=quick,
            n_draws=draws,
        )
        code = evaluating.run(wanted, checkpoints or [], settings, address, as_json)
    raise typer.Exit(code)


def forge(
    preview: Annotated[Path, typer.Option("--preview", help="PNG to write the sheet to.")],
    work: Annotated[Path, typer.Option("--work", help="Directory with prepared faces.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of faces and forgeries.")] = 0,
    clips: Annotated[bool, typer.Option("--clips", help="Clips instead of stills.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the pseudo-fakes that a training would learn from, and how fast they are made.

    Example: `dfd forge --preview sheet.png --work work --clips`.
    """
    with answering():
        from dfd_batch.console import forge as forging

        forging.run(preview, work, seed, clips, as_json)


def _command_line() -> str:
    """Return what was typed, as it can be written: arguments need not be UTF-8."""
    return shlex.join(["dfd", *sys.argv[1:]]).encode(errors="replace").decode()
