"""Every job is the command that it names: same flags, same exit codes."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from dfd_batch import cli

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


@pytest.mark.parametrize("name", sorted(p.stem for p in JOBS.glob("*.py") if p.stem != "submit"))
def test_a_job_ends_past_what_ray_tears_down(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[list[str], str]] = []
    monkeypatch.setattr(cli, "main", lambda arguments, name: called.append((arguments, name)))
    monkeypatch.setattr(cli, "app", lambda *_, **__: None)
    runpy.run_path(str(JOBS / f"{name}.py"), run_name="__main__")
    ((arguments, program),) = called
    assert (arguments[0], program) == (COMMANDS.get(name, name), f"{name}.py")
