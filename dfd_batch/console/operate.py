"""The commands around a scan: ask its reports, keep them small, act on its verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfd_batch.console import options
from dfd_batch.console.answer import answering

DEMO_OUT = "dfd-demo/out"
Reports = Annotated[
    str, typer.Option("--reports", "--out", "-o", help="Where the scan wrote: its --out.")
]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; otherwise it is only said.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel="Operate")(query)
    app.command(rich_help_panel="Operate")(compact)
    app.command(rich_help_panel="Operate")(act)
    app.command(rich_help_panel="Operate")(restore)
    app.command(rich_help_panel="Operate")(tick)


def query(
    ctx: typer.Context,
    question: Annotated[
        str | None,
        typer.Argument(help="SQL, or the name of a question (--list).", show_default=False),
    ] = None,
    reports: Reports = DEMO_OUT,
    form: Annotated[
        str, typer.Option("--format", "-f", help="table, csv, json or parquet.")
    ] = "table",
    to: Annotated[
        str | None, typer.Option("--to", help="File or s3:// object for the answer; else stdout.")
    ] = None,
    assigned: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A question's variable; repeatable."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="The questions that have a name, and the views.")
    ] = False,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    """Ask the reports: a named question, or SQL over verdicts, faces, segments, runs and more.

    Examples: `dfd query worst -o s3://verdicts`; `dfd query cost --set price_per_hour=0.05`;
    `dfd query "SELECT verdict, count(*) FROM verdicts GROUP BY ALL" --format csv`.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import query as asking
        from dfd_batch.outcomes import UsageError

        chosen = "json" if as_json else form
        if chosen not in set(asking.Format):
            raise UsageError(f"--format {form!r}: give table, csv, json or parquet.")
        if listed:
            asking.list_questions(asking.Format(chosen))
        elif question is None:
            raise UsageError("Ask something: SQL or a question's name; --list shows them.")
        else:
            asking.run(question, reports, settings, asking.Format(chosen), to, assigned or [])


def compact(
    ctx: typer.Context,
    reports: Reports = DEMO_OUT,
    day: Annotated[
        list[str] | None,
        typer.Option("--day", help="YYYY-MM-DD (UTC); repeatable. Else all days before today."),
    ] = None,
    today: Annotated[bool, typer.Option("--today", help="Today's files, too.")] = False,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    """Rewrite the reports of past days into few files; no row is lost, scans may go on meanwhile.

    Killed in the middle, start it again. Readers of this package see every row once at every
    moment; others may see rows twice until it ends.

    Examples: `dfd compact -o s3://verdicts`, `dfd compact -o OUT --day 2026-05-04`.
    Exit code: 0 done; 1 another compaction was faster; 2 usage.
    """
    with answering():
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import compact as compacting

        code = compacting.run(reports, day or [], today, settings, as_json)
    raise typer.Exit(code)


def act(
    ctx: typer.Context,
    reports: Reports = DEMO_OUT,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="TOML file; without it objects are only tagged."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="Only objects for which this SQL over `verdicts` holds."),
    ] = None,
    really: Apply = False,
    config: options.Config = None,
    checkpoint: options.Checkpoint = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    r"""Act on verdicts by a policy: tag, allow, quarantine, delete. A dry run without --apply.

    Never touches an object that changed since it was judged. Every action becomes a row in
    OUT/actions; start it again and it goes on. `dfd restore` undoes a quarantine.

    Examples: `dfd act -o s3://verdicts`, `dfd act -o OUT --policy policy.toml --apply`. A policy:
    `\[quarantine] to = "s3://held/x"`, `min_probability = 0.95`, and on top, before sections,
    `allow_list = ["s3://archive/press/*"]`.
    Exit code: 0 done; 1 some actions failed; 2 usage, or a delete that is not safe.
    """
    with answering(interrupted="Stopped; start it again to go on."):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import act as acting

        code = acting.run(reports, policy, where, really, checkpoint, settings, as_json)
    raise typer.Exit(code)


def restore(
    ctx: typer.Context,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OBJECT…", help="URI, its end, or the start of a media_id.", show_default=False
        ),
    ] = None,
    reports: Reports = DEMO_OUT,
    everything: Annotated[bool, typer.Option("--all", help="All that is in quarantine.")] = False,
    really: Apply = False,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    profile: options.Profile = None,
    anonymous: options.Anonymous = None,
    as_json: options.Json = False,
) -> None:
    """Bring quarantined objects back to their places; without an object, list them.

    What came back is not moved again by `dfd act` unless its content changes.

    Example: `dfd restore clips/a.mp4 -o s3://verdicts --apply`.
    Exit code: 0 done; 1 some did not come back; 2 usage.
    """
    with answering(interrupted="Stopped; start it again to go on."):
        settings = options.settings_of(ctx.params)
        from dfd_batch.console import act as acting

        code = acting.run_restore(wanted or [], everything, reports, really, settings, as_json)
    raise typer.Exit(code)


def tick(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file of the tick.")],
    really: Annotated[
        bool, typer.Option("--apply", help="Do what the policy asks for; else it is only said.")
    ] = False,
    overlap_ok: Annotated[
        bool, typer.Option("--overlap-ok", help="Exit 0, not 75, where another tick is at work.")
    ] = False,
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster; else the file's or RAY_ADDRESS.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Do one tick of a schedule: scan, compact, act, report, tell. For cron, systemd, Kubernetes.

    Judges what has no verdict yet, so a tick that is late, was killed or never came is caught up
    with by the next. A lease in OUT/ticks lets one tick work at a time; that of a killed tick is
    taken over once it is old (lease.expires_s). The summary lies in OUT/ticks/latest.json and goes
    to the webhook whose URL is in TICK_WEBHOOK_URL.

    A file needs two lines, `source = "s3://archive/2026"` and `out = "s3://verdicts"`; sections
    scan, compact, act, report, notify, lease, and settings (what dfd.toml may hold) say more, and
    so does cluster/tick.toml.

    Examples: `dfd tick tick.toml`, `dfd tick /etc/dfd/tick.toml --apply --json`.

    Exit code: 0 done, maybe nothing to do; 1 a step failed or rows are missing, the next tick tries
    again; 2 usage: the file must be changed; 3 all is done, but the webhook was not reached; 75
    another tick is at work, nothing was done; 130 or 143 stopped by a signal.
    """
    with answering(interrupted="Stopped; the next tick goes on."):
        from dfd_batch.console import tick as ticking

        code = ticking.run(file, address, really, overlap_ok, as_json)
    raise typer.Exit(code)
