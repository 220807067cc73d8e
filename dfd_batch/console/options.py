"""The flags that `scan` and `plan` share, and the settings that they make.

`FLAGS` is the one place that says which flag sets which key; keys without a flag are set in
`dfd.toml` or the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dfd_batch.console.text import parse_age_days, parse_size

if TYPE_CHECKING:
    from dfd_batch.settings import Settings

WHICH, WHERE, HOW = "Which objects", "Storage", "How"

Out = Annotated[
    str | None, typer.Option("--out", "-o", help="Folder or s3:// prefix of reports and runs.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings (else ./dfd.toml).")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
SinceLast = Annotated[
    bool,
    typer.Option(
        "--since-last",
        help="Leave out what is unchanged since the last complete scan, by time.",
        rich_help_panel=WHICH,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="At most N objects.", rich_help_panel=WHICH),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", help="Glob to scan; repeatable.", rich_help_panel=WHICH),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Glob to leave out; repeatable.", rich_help_panel=WHICH),
]
MinSize = Annotated[
    str | None, typer.Option("--min-size", help="E.g. 10kB.", rich_help_panel=WHICH)
]
MaxSize = Annotated[str | None, typer.Option("--max-size", help="E.g. 2GB.", rich_help_panel=WHICH)]
NewerThan = Annotated[
    str | None,
    typer.Option("--newer-than", help="Changed within, e.g. 7d or 12h.", rich_help_panel=WHICH),
]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", help="Unchanged for, e.g. 30d.", rich_help_panel=WHICH),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option("--endpoint-url", help="Of an S3-compatible store.", rich_help_panel=WHERE),
]
Profile = Annotated[
    str | None, typer.Option("--profile", help="AWS profile.", rich_help_panel=WHERE)
]
Anonymous = Annotated[
    bool | None,
    typer.Option(
        "--anonymous/--no-anonymous", help="Public bucket, no keys.", rich_help_panel=WHERE
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", help="Shipped detector or folder.", rich_help_panel=HOW),
]
Coverage = Annotated[
    str | None,
    typer.Option("--coverage", help="quick, standard or full.", rich_help_panel=HOW),
]
CropActors = Annotated[
    int | None,
    typer.Option("--crop-actors", help="Processes that decode.", rich_help_panel=HOW),
]
EmbedActors = Annotated[
    int | None,
    typer.Option("--embed-actors", help="Processes that run the CNN.", rich_help_panel=HOW),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        help="Serve the run's numbers to Prometheus at this port of 127.0.0.1.",
        rich_help_panel=HOW,
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=HOW)
]


def _as_given(value: Any, _flag: str) -> Any:
    return value


FLAGS: dict[str, tuple[str, str, Callable[[Any, str], Any]]] = {
    # parameter: (section, key, reading); the section "" is the top
    "checkpoint": ("", "checkpoint", _as_given),
    "include": ("select", "include", _as_given),
    "exclude": ("select", "exclude", _as_given),
    "min_size": ("select", "min_size_bytes", parse_size),
    "max_size": ("select", "max_size_bytes", parse_size),
    "newer_than": ("select", "newer_than_days", parse_age_days),
    "older_than": ("select", "older_than_days", parse_age_days),
    "endpoint_url": ("storage", "endpoint_url", _as_given),
    "profile": ("storage", "profile", _as_given),
    "anonymous": ("storage", "anonymous", _as_given),
    "coverage": ("sampling", "coverage", _as_given),
    "crop_actors": ("pools", "crop_actors", _as_given),
    "embed_actors": ("pools", "embed_actors", _as_given),
    "device": ("pools", "device", _as_given),
    "metrics_port": ("watch", "metrics_port", _as_given),
}


def given(ctx: typer.Context) -> frozenset[str]:
    """Return the names of the parameters that stand on the command line, defaults or not."""
    # By name: typer brings its own copy of click's enumeration, or not, by its version.
    told = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return frozenset(
        name for name, by in told.items() if by is not None and by.name == "COMMANDLINE"
    )


def settings_of(params: Mapping[str, Any]) -> Settings:
    """Return the settings of a command's flags over environment over file over defaults.

    Args:
        params: A command's parameters by name; those that are None or empty were not given.

    Raises:
        UsageError: A value is not allowed.
    """
    from dfd_batch.settings import load

    flags: dict[str, Any] = {}
    for name, (section, key, reading) in FLAGS.items():
        value = params.get(name)
        if value is None or value == []:
            continue
        node = flags.setdefault(section, {}) if section else flags
        node[key] = reading(value, "--" + name.replace("_", "-"))
    return load(flags, params.get("config"))
