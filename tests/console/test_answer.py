"""How a process of the command line ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

ENDS_BADLY = """
import atexit, ctypes, os, sys, types
sys.modules["{module}"] = types.ModuleType("{module}")
from dfd_batch.console.answer import leaving
libc = ctypes.CDLL(None)
libc.on_exit(ctypes.cast(libc.abort, ctypes.c_void_p), None)
atexit.register(print, "handler ran")
with leaving():
    print("told")
    sys.exit({code})
"""


def ended(module: str, code: str) -> subprocess.CompletedProcess[str]:
    script = ENDS_BADLY.format(module=module, code=code)
    return subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("None", 0), ("130", 130)])
def test_what_ray_tears_down_does_not_change_the_exit_code(code: str, expected: int) -> None:
    done = ended("ray", code)
    assert (done.returncode, done.stdout) == (expected, "told\nhandler ran\n"), done.stderr


def test_without_ray_a_process_ends_as_always() -> None:
    assert ended("another", "0").returncode == -signal.SIGABRT


def test_words_instead_of_a_code_are_told() -> None:
    done = ended("another", "'no such thing'")
    assert "no such thing" in done.stderr
