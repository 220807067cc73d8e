"""What became of a run, in the lines that `dfd scan` ends with and `dfd summary` prints."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from dfd_batch.console.text import counts, duration, printable, size
from dfd_batch.outcomes import RETRYABLE, Outcome, Verdict

FLAGGED = (Verdict.MANIPULATED, Verdict.SUSPICIOUS)


def reconciliation(n_manifest: int, n_reported: int, n_distinct: int) -> str:
    """Return the line that says whether every object of the manifest has exactly one row."""
    if n_manifest == n_reported == n_distinct:
        return f"manifest {n_manifest:,} == report {n_reported:,}"
    return (
        f"manifest {n_manifest:,} != report {n_reported:,} ({n_distinct:,} distinct): objects lack "
        "their row or have more than one; scan again to judge those that lack it"
    )


def lines(account: Mapping[str, Any]) -> list[str]:
    """Return outcomes, verdicts, speed and work of a run, a line each.

    Args:
        account: With the keys of `runs.RunResult`; `elapsed_s` None: it has not ended.
    """
    work = account["work"]
    told = [
        f"outcomes  {counts(account['outcomes'])}",
        f"verdicts  {counts(account['verdicts'])}",
    ]
    elapsed_s = account["elapsed_s"]
    if elapsed_s:
        rate = account["n_reported"] / elapsed_s
        read = size(work["bytes_read"] / elapsed_s)
        told.append(f"time      {duration(elapsed_s)}, {rate:.2g} objects/s, {read}/s")
    total_s = sum(work["step_s"].values())
    if total_s:
        # the steps of one object run one after the other, those of many objects side by side
        steps = ", ".join(f"{name} {s / total_s:.0%}" for name, s in work["step_s"].items())
        told.append(f"work      {duration(total_s)} of all processes: {steps}")
    media = f"{size(work['bytes_read'])}, {duration(work['media_s'])} of video"
    frames = f"{work['n_frames_decoded']:,} frames, {work['n_frames_scored']:,} face crops scored"
    told.append(f"looked at {media}: {frames}")
    return told


def next_steps(outcomes: Mapping[str, int], verdicts: Mapping[str, int], out: str) -> list[str]:
    """Return what an operator may want to do now, a line each; maybe none."""
    told = []
    n_again = sum(n for name, n in outcomes.items() if name in RETRYABLE)
    n_flagged = sum(verdicts.get(verdict, 0) for verdict in FLAGGED)
    where = printable(shlex.quote(out))
    if n_again:
        told.append(f"{n_again:,} failed for a reason that may pass: run the same command again")
    if n_large := outcomes.get(Outcome.TOO_LARGE, 0):
        told.append(
            f"{n_large:,} too large, which counts as done here: with higher limits scan them into "
            "another --out"
        )
    if n_flagged:
        told.append(
            f"{n_flagged:,} flagged: `dfd query worst --reports {where}`, pictures by `dfd report "
            f"{where}`"
        )
    return [f"next      {line}" for line in told]


def failures(causes: list[Mapping[str, Any]]) -> Table:
    """Return failures by kind, with the number and an example of each (`runs.Work.failures`)."""
    table = Table(title="Failed", title_justify="left", box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("cause")
    table.add_column("objects", justify="right")
    table.add_column("for example", overflow="fold")
    for cause in causes:
        name = cause["example"].rsplit("/", 1)[-1]
        message = cause["message"].removeprefix(f"{cause['example']}: ")
        table.add_row(
            cause["outcome"],
            Text(printable(cause["error_kind"])),
            f"{cause['n_objects']:,}",
            Text(printable(f"{name}: {message}" if message else name)),
        )
    return table
