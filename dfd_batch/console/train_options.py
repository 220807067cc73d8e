"""The flags of `train`, and the settings that they make; every setting can stand in a TOML file.

`FLAGS` is the one place that says which flag sets which key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dfd_batch.outcomes import UsageError

if TYPE_CHECKING:
    from dfd_batch.training.config import TrainConfig

WHAT, MODEL, COURSE, WHERE, CARD = "Data", "Detector", "Course", "Machine", "Card"
Text = str | None

Work = Annotated[
    Path | None,
    typer.Option("--work", help="Pools made by `dfd prepare`, state, curves: holds media."),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Receives the best checkpoint so far.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings; flags go before it.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be used and what it would take.")
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder to prepare first, by its README.", rich_help_panel=WHAT),
]
Mixture = Annotated[
    Text,
    typer.Option(
        "--mixture",
        help="genuine (pseudo-fakes alone), labelled (fakes alone) or both.",
        rich_help_panel=WHAT,
    ),
]
Open = Annotated[
    bool,
    typer.Option("--open", help="Only media under open licences.", rich_help_panel=WHAT),
]
LicenceLike = Annotated[
    list[str] | None,
    typer.Option(
        "--licence-like",
        help="Only licences that hold this; NC and ND ones where it says so; repeatable.",
        rich_help_panel=WHAT,
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without", help="Forging operation to leave out; repeatable.", rich_help_panel=WHAT
    ),
]
Encoder = Annotated[Text, typer.Option("--encoder", help="timm model name.", rich_help_panel=MODEL)]
CropSize = Annotated[int | None, typer.Option("--crop-size", help="Pixels.", rich_help_panel=MODEL)]
Temporal = Annotated[
    Text, typer.Option("--temporal", help="lstm, gru or none.", rich_help_panel=MODEL)
]
TemporalOnly = Annotated[
    Text,
    typer.Option(
        "--temporal-only",
        metavar="CHECKPOINT",
        help="Keep its frame encoder, train only what looks along time (stage B).",
        rich_help_panel=MODEL,
    ),
]
SynthesisOnly = Annotated[
    Text,
    typer.Option(
        "--synthesis-only",
        metavar="CHECKPOINT",
        help="Keep it, add a second look at stills for wholly generated faces (needs --init or "
        "--data with ImageNet weights).",
        rich_help_panel=MODEL,
    ),
]
Init = Annotated[
    Text,
    typer.Option(
        "--init",
        help="ImageNet weights (.safetensors), a checkpoint to fine-tune, timm, or none.",
        rich_help_panel=MODEL,
    ),
]
Images = Annotated[
    int | None,
    typer.Option("--images", help="To see; repeatable to the bit.", rich_help_panel=COURSE),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        help="End by then instead: the frame encoder alone; redrawing faces before it and the "
        "temporal part after it come on top.",
        rich_help_panel=COURSE,
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", rich_help_panel=COURSE)]
Optimizer = Annotated[
    Text, typer.Option("--optimizer", help="adamw or sam.", rich_help_panel=COURSE)
]
Ema = Annotated[
    bool | None,
    typer.Option("--ema/--no-ema", help="Keep averaged weights.", rich_help_panel=COURSE),
]
LearningRate = Annotated[
    float | None, typer.Option("--learning-rate", help="Peak.", rich_help_panel=COURSE)
]
Batch = Annotated[
    int | None, typer.Option("--batch", help="Pairs per step.", rich_help_panel=COURSE)
]
Precision = Annotated[
    Text, typer.Option("--precision", help="auto, bf16 or fp32.", rich_help_panel=WHERE)
]
Device = Annotated[Text, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=WHERE)]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes or GPUs, by Ray Train.", rich_help_panel=WHERE),
]
Address = Annotated[
    Text,
    typer.Option(
        "--address", help="Ray cluster; --work is a place all nodes reach.", rich_help_panel=WHERE
    ),
]
Name = Annotated[Text, typer.Option("--name", help="Of the detector.", rich_help_panel=CARD)]
Description = Annotated[Text, typer.Option("--description", rich_help_panel=CARD)]
Limitation = Annotated[
    list[str] | None,
    typer.Option("--limitation", help="A sentence; repeatable.", rich_help_panel=CARD),
]
Provisional = Annotated[bool | None, typer.Option("--provisional", rich_help_panel=CARD)]

OF_THE_ENCODER = {
    **{"encoder": "--encoder", "crop_size": "--crop-size", "images": "--images"},
    **{"minutes": "--minutes", "optimizer": "--optimizer", "ema": "--ema/--no-ema"},
    "learning_rate": "--learning-rate",
}
"""Flags without use where the frame encoder stays as it is, by parameter."""
FLAGS: dict[str, tuple[str, ...]] = {
    # parameter: the key, nested
    "work": ("work",),
    "out": ("out",),
    "data": ("data",),
    "mixture": ("mixture",),
    "licence_like": ("licences",),
    "without": ("without",),
    "encoder": ("architecture", "encoder"),
    "crop_size": ("preprocessing", "crop_size"),
    "temporal": ("architecture", "temporal"),
    "init": ("initial_weights",),
    "images": ("images",),
    "minutes": ("minutes",),
    "seed": ("seed",),
    "optimizer": ("optimizer",),
    "learning_rate": ("learning_rate",),
    "batch": ("batch_pairs",),
    "precision": ("precision",),
    "device": ("device",),
    "workers": ("workers",),
    "name": ("name",),
    "description": ("description",),
    "limitation": ("limitations",),
    "provisional": ("provisional",),
}


def settings_of(params: Mapping[str, Any], command: str) -> TrainConfig:
    """Return the settings of a command's flags over its file over the defaults.

    Args:
        params: The command's parameters by name; those that are None or empty were not given.
        command: The command line, for the card.

    Raises:
        UsageError: A value is not allowed.
    """
    from dfd_batch.training.config import OPEN_LICENCES, load

    for part in ("temporal_only", "synthesis_only"):
        idle = [flag for name, flag in OF_THE_ENCODER.items() if params.get(name) is not None]
        if params.get(part) is not None and idle:
            raise UsageError(
                f"--{part.replace('_', '-')} keeps the frame encoder: leave out {', '.join(idle)}."
            )
    flags: dict[str, Any] = {"command": command}
    for name, keys in FLAGS.items():
        value = params.get(name)
        if value is None or value in ([], ()):  # the latter from click's own params
            continue
        node = flags
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value
    if params.get("open"):
        flags["licences"] = [*OPEN_LICENCES, *flags.get("licences", [])]
    if params.get("ema") is False:
        flags["ema_decay"] = 0.0
    config = load(flags, params.get("config"))
    if params.get("ema") and not config.ema_decay:
        raise UsageError(
            "The settings file says ema_decay = 0, which averages nothing: leave it out, or --ema."
        )
    return config
