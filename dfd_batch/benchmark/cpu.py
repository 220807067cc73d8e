"""Processor seconds of this process and all below it, and of whole commands.

A command is watched from a small process of its own that adopts whatever the command leaves
behind (`PR_SET_CHILD_SUBREAPER`): Ray's daemons and actors are counted with the driver. Each
process counts by what it had used when it was last seen, 0.1 s before its end at most.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

P = ParamSpec("P")
T = TypeVar("T")

PR_SET_CHILD_SUBREAPER = 36
LOOK_S = 0.1
LEAVE_S = 20.0
"""How long what a command leaves behind may take to end."""


@dataclass(frozen=True)
class Cost:
    """What a command cost."""

    cpu_s: float
    wall_s: float
    exit_code: int


def tree_cpu_s() -> float:
    """Return the processor seconds of this process and of every process below it that lives."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used = child.cpu_times()
            total += used.user + used.system
    return total


def command(arguments: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command and return its cost, with all processes that it starts.

    Args:
        arguments: Program and arguments.
        log: Receives its output.
        env: Its environment; None: this process's.

    Raises:
        RuntimeError: It failed; the message ends with the end of its output.
    """
    with tempfile.NamedTemporaryFile("r", suffix=".json") as told, log.open("wb") as output:
        watcher = [sys.executable, "-m", "dfd_batch.benchmark.cpu", told.name, *arguments]
        subprocess.run(watcher, stdout=output, stderr=output, env=env, check=False)  # noqa: S603
        text = told.read()
    cost = Cost(**json.loads(text)) if text else Cost(0, 0, -1)
    if cost.exit_code:
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise RuntimeError(f"{' '.join(arguments[:6])} … ended with {cost.exit_code}: {tail}")
    return cost


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(…)`, called in a fresh process that loads what it needs and ends."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _watch(arguments: list[str]) -> Cost:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    process = subprocess.Popen(arguments)  # noqa: S603
    seen: dict[tuple[int, float], float] = {}
    exit_code: int | None = None
    wall_s, left_s = 0.0, LEAVE_S
    while exit_code is None or (left_s > 0 and _alive()):
        _note(seen)
        time.sleep(LOOK_S)
        if exit_code is None:
            exit_code = process.poll()
            wall_s = time.monotonic() - started
        else:
            left_s -= LOOK_S
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    return Cost(sum(seen.values()), wall_s, exit_code)


def _alive() -> bool:
    """Reap what has ended; return whether something below still runs."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return any(
        child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        for child in psutil.Process().children(recursive=True)
    )


def _note(seen: dict[tuple[int, float], float]) -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used = child.cpu_times()
            key = (child.pid, child.create_time())
            seen[key] = max(seen.get(key, 0.0), used.user + used.system)


if __name__ == "__main__":
    cost = _watch(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(asdict(cost)), encoding="utf-8")
