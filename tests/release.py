"""How long the longest tests go on: minutes in every run, their whole length for a release."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
RELEASE = os.environ.get("TEST_LENGTH") == "release"


def length(release: T, ever: T) -> T:
    """Return one or the other: `TEST_LENGTH=release pytest` is the long run."""
    return release if RELEASE else ever
