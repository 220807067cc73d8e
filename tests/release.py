"""How long the longest tests go on: minutes in every run, their whole length for a release."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
RELEASE = os.environ.get("DFD_TESTS") == "release"


def length(release: T, ever: T) -> T:
    """Return one or the other: `DFD_TESTS=release pytest` is the long run."""
    return release if RELEASE else ever
