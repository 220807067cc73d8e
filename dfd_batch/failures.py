"""Failed objects as lines of JSON: the first of every kind in full, all of them counted.

A million objects may fail for one reason; a log of a million lines hides the other reasons.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dfd_batch.outcomes import Outcome

EACH = 20
"""Failures of a kind (outcome and error_kind) that are told in full."""
MOST_KINDS = 200
"""Kinds that are told apart; further ones are counted as `other`."""
OTHER = "other"
MAX_URI = 2000  # characters; S3 keys have 1024 bytes at most
COLUMNS = ("uri", "outcome", "error_kind", "error_message", "attempt", "node")
"""What a row tells of its failure."""


class Failures:
    """The failures of one run, or of one process of it.

    Args:
        run_id: Of the run.
        tell: Takes a line. Its JSON is plain ASCII: names of objects cannot break it or steer a
            terminal.
        each: So many of every kind are told; then its number, at powers of ten.
    """

    def __init__(
        self, run_id: str, tell: Callable[[str], object] = lambda _: None, each: int = EACH
    ) -> None:
        self._run_id = run_id
        self._tell = tell
        self._each = each
        self._counts: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def note(self, row: Mapping[str, Any], **more: str) -> None:
        """Take note of a row, if its object failed.

        Args:
            row: With the keys of `COLUMNS`, where known.
            more: Is told with it.
        """
        if not row.get("outcome") or not Outcome(row["outcome"]).failed:
            return
        kind = (str(row["outcome"]), str(row.get("error_kind") or ""))
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = (OTHER, OTHER)
        self._counts[kind] += 1
        n = self._counts[kind]
        if n <= self._each:
            told = told_in_full(self._run_id, row, **more)
            self._first.setdefault(kind, []).append(told)
            self._tell(json.dumps(told))
        elif n == 10 ** (len(str(n)) - 1):
            self._tell(self._count_line(kind, n))

    def causes(self, most: int) -> list[dict[str, Any]]:
        """Return the most common kinds, each with how many objects and one example."""
        return [
            _counted(kind, n)
            | {"example": self._first[kind][0]["uri"], "message": self._first[kind][0]["message"]}
            for kind, n in self._counts.most_common(most)
        ]

    def document(self) -> str:
        """Return all that was told in full, then a line per kind with its number; maybe empty."""
        full = [json.dumps(told) for first in self._first.values() for told in first]
        counts = [self._count_line(kind, n) for kind, n in self._counts.most_common()]
        return "".join(line + "\n" for line in (*full, *counts))

    def _count_line(self, kind: tuple[str, str], n: int) -> str:
        told = {"time": _now(), "event": "failures", "run_id": self._run_id}
        return json.dumps(told | _counted(kind, n))


def told_in_full(run_id: str, row: Mapping[str, Any], **more: str) -> dict[str, Any]:
    """Return what is told of a failed row."""
    told = {name: row.get(name) for name in COLUMNS} | more
    told["uri"] = str(told["uri"])[:MAX_URI]
    told["message"] = told.pop("error_message") or ""
    return {"time": _now(), "event": "failure", "run_id": run_id, **told}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _counted(kind: tuple[str, str], n: int) -> dict[str, Any]:
    return {"outcome": kind[0], "error_kind": kind[1], "n_objects": n}
