"""`dfd act` and `dfd restore`: what a policy would do, and doing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dfd_batch.console.answer import FAILED, OK
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import VERDICT_STYLE, counts, printable, to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import act as acting
from dfd_batch.reports import policy as policies
from dfd_batch.reports import restore as restoring
from dfd_batch.reports.actions import Action
from dfd_batch.reports.apply import apply, summary
from dfd_batch.settings import Settings

MOST_SHOWN = 20
_HARM = list(Action)


def run(
    out: str,
    policy_file: Path | None,
    where: str | None,
    really: bool,
    checkpoint: str | None,
    settings: Settings,
    as_json: bool,
) -> int:
    """Say what a policy asks for, do it where `really`, and return the exit code.

    Raises:
        UsageError: The policy is not valid or not safe, or storage cannot be reached.
    """
    policy = policies.load(policy_file)
    plan = acting.plan(out, policy, settings.storage, where, checkpoint)
    console = screen(stderr=as_json)
    if not as_json:
        _tell_plan(console, plan)
    rows = apply(plan, policy, out, settings.storage) if really else []
    account: dict[str, Any] = {
        "applied": really,
        "policy": policy.digest,
        "n_scored": plan.n_scored,
        "n_done_before": plan.n_done,
        "n_allow_listed": plan.n_listed,
        "n_restored_before": plan.n_restored,
        "planned": plan.counts,
        "false_alarms": plan.false_alarms,
        "results": summary(rows),
    }
    bad = [row for row in rows if row["status"] in {"failed", "denied"}]
    if as_json:
        listed = [
            {"uri": task.row["uri"], "actions": [action.value for action in task.todo]}
            for task in plan.tasks
        ]
        typer.echo(to_json(account | {"objects": listed}))
    elif really:
        _tell_results(console, rows)
    elif plan.tasks:
        say(console, "Dry run: nothing was touched. --apply does it.")
    return FAILED if bad else OK


def run_restore(
    wanted: Sequence[str], everything: bool, out: str, really: bool, settings: Settings, js: bool
) -> int:
    """Say what is in quarantine or would be brought back, do it where `really`.

    Raises:
        UsageError: What is wanted is not in quarantine.
    """
    held = restoring.quarantined(out, settings.storage)
    chosen = held if everything else restoring.choose(held, wanted)
    if really and not chosen and not everything:
        raise UsageError("Say which objects come back, or --all.")
    rows = restoring.restore(chosen, out, settings.storage) if really else []
    shown = chosen if wanted or everything else held
    if js:
        places = [{"uri": r["uri"], "kept_at": r["kept_at"]} for r in shown]
        typer.echo(to_json({"applied": really, "objects": places, "results": summary(rows)}))
    else:
        console = screen()
        for row in shown[: len(shown) if really else MOST_SHOWN]:
            say(console, f"{printable(row['uri'])}  from {printable(row['kept_at'])}")
        if really:
            _tell_results(console, rows)
        else:
            told = "would come back; --apply does it" if wanted or everything else "in quarantine"
            say(console, f"{len(shown):,} objects {told}.")
    return FAILED if any(row["status"] != "done" for row in rows) else OK


def _tell_plan(console: Console, plan: acting.ActPlan) -> None:
    worst = sorted(
        plan.tasks,
        key=lambda t: (-max(_HARM.index(a) for a in t.todo), -t.row["probability"]),
    )
    if worst:
        table = Table(box=None, pad_edge=False)
        table.add_column("action", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("P(manip.)", justify="right")
        table.add_column("object", overflow="fold")
        for task in worst[:MOST_SHOWN]:
            row = task.row
            style = VERDICT_STYLE.get(row["verdict"] or "", "")
            table.add_row(
                " + ".join(action.value for action in task.todo),
                Text(row["verdict"], style=style),
                f"{row['probability']:.3f}",
                Text(printable(row["uri"])),
            )
        console.print(table)
        more = len(worst) - MOST_SHOWN
        if more > 0:
            say(console, f"… and {more:,} objects more")
    told = [f"{plan.n_scored:,} scored objects", f"to do: {counts(plan.counts)}"]
    told += [f"done before: {plan.n_done:,}"] if plan.n_done else []
    told += [f"allow-listed: {plan.n_listed:,}"] if plan.n_listed else []
    told += [f"restored before, kept: {plan.n_restored:,}"] if plan.n_restored else []
    say(console, "; ".join(told))
    for alarm in plan.false_alarms:
        say(
            console,
            f"false alarms to expect of delete: up to {alarm['expected']:.3g} of "
            f"{alarm['n_scored']:,} objects, were all genuine (rate {alarm['rate']:.2%}, "
            f"calibrated on {alarm['n_genuine']:,})",
        )


def _tell_results(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    for action, by_status in summary(rows).items():
        say(console, f"{action:<12}{counts(by_status)}")
    for row in [row for row in rows if row["detail"]][:MOST_SHOWN]:
        say(console, f"  {row['action']} {row['status']}: {printable(row['detail'])}")
