"""Rows of objects that could not be judged."""

from __future__ import annotations

from typing import Any

from dfd_batch.outcomes import Outcome
from dfd_batch.watch import here

MAX_MESSAGE = 300
MAX_URI = 160  # of a message: the reason must fit in behind it
Row = dict[str, Any]


def unscored(outcome: Outcome, kind: str, message: str) -> Row:
    """Return the columns of an object whose outcome is known before it is judged."""
    return {
        "outcome": outcome.value,
        "error_kind": kind,
        "error_message": message[:MAX_MESSAGE],
        "node": here(),
        "n_crops": 0,
        "crops": b"",
    }


def named(uri: str, message: str) -> str:
    """Return a message that begins with its object's URI, long ones without their middle."""
    told = message.removeprefix(f"{uri}: ")
    shown = uri if len(uri) <= MAX_URI else f"{uri[:40]}…{uri[41 - MAX_URI :]}"
    return f"{shown}: {told}"
