"""Where tables are printed: at a terminal's width, or as whole lines for whatever reads a pipe."""

from __future__ import annotations

import os

from rich.console import Console

UNFOLDED = 4_000
"""Characters: wider than any row."""


def screen(stderr: bool = False) -> Console:
    """Return the console of stdout or stderr.

    Without a terminal (and without COLUMNS) lines are left whole: names cut into pieces can
    neither be searched nor copied.
    """
    found = Console(stderr=stderr)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(stderr=stderr, width=UNFOLDED)
