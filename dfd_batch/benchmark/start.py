"""How soon the command line answers, and that it loads nothing heavy to do so."""

from __future__ import annotations

import subprocess
import sys
import time

from dfd_batch.benchmark.lines import Bench, Goal, Line

HELP = [sys.executable, "-m", "dfd_batch.cli", "--help"]
HEAVY = ("torch", "ray", "av", "cv2", "openvino", "pyarrow", "facenet_pytorch", "timm")
LOADED = (
    "import sys, contextlib, os\n"
    "from dfd_batch.cli import app\n"
    "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(open(os.devnull, 'w')):\n"
    "    app(['--help'])\n"
    f"print(sum(name in sys.modules for name in {HEAVY!r}))\n"
)


def measure(bench: Bench) -> list[Line]:
    """Return the lines of starting up."""
    seconds = [_wall_s() for _ in range(2 * bench.repeats + 1)]
    answer = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    return [
        Line("help_seconds", "`dfd --help`", "s", seconds, Goal("≤", 0.5)),
        Line(
            "help_heavy_imports",
            "of the heavy libraries, how many it loads",
            "",
            [float(answer.stdout)],
            Goal("≤", 0),
            ", ".join(HEAVY),
        ),
    ]


def _wall_s() -> float:
    started = time.perf_counter()
    subprocess.run(HELP, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    return time.perf_counter() - started
