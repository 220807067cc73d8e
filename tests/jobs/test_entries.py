"""Every job is the command that it names: same flags, same exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
COMMANDS = {"scheduled_scan": "tick"}
"""Of the jobs that are not called as their command is."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", sorted(p.stem for p in JOBS.glob("*.py") if p.stem != "submit"))
def test_a_job_takes_the_flags_of_its_command_and_ends_with_its_exit_code(name: str) -> None:
    job = str(JOBS / f"{name}.py")
    ours, theirs = (
        run(job, "--help"),
        run("-m", "dfd_batch.cli", COMMANDS.get(name, name), "--help"),
    )
    assert ours.returncode == theirs.returncode == 0, ours.stderr
    flags = [{w for w in done.stdout.split() if w.startswith("--")} for done in (ours, theirs)]
    assert flags[0] == flags[1] != set()
    wrong = run(job, "--no-such-flag")
    assert wrong.returncode == 2 and "--no-such-flag" in wrong.stderr
