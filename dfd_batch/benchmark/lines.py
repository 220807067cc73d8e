"""What a benchmark reports: lines with a figure, its spread, and a goal that is reached or not."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd_batch.settings import Sampling

STANDARD_CROPS = Sampling().standard_clips * Sampling().frames_per_clip
"""Of one face at standard coverage: what travels between the stages for an object."""
_COMPARED = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Goal:
    """A bound that a figure should keep.

    Args:
        sign: "≥" or "≤".
        bound: In the line's unit.
    """

    sign: str
    bound: float

    def reached(self, value: float) -> bool:
        """Return whether a figure keeps the bound."""
        return bool(_COMPARED[self.sign](value, self.bound))

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


@dataclass(frozen=True)
class Line:
    """One figure: the median of its repetitions, the lowest and the highest of them.

    Args:
        key: Its name in the JSON.
        what: In words.
        unit: "×" for ratios; they go to the JSON's `ratios` as well.
        values: One per repetition; none where it could not be measured, then `note` says why.
        goal: None: it is reported only.
        note: What it was measured on.
    """

    key: str
    what: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float | None:
        """Return the median, or None where nothing was measured."""
        return statistics.median(self.values) if self.values else None

    @property
    def reached(self) -> bool | None:
        """Return whether the goal is reached; None without a goal or a figure."""
        value = self.value
        return None if self.goal is None or value is None else self.goal.reached(value)

    def document(self) -> dict[str, object]:
        """Return the line for JSON."""
        return {
            "key": self.key,
            "what": self.what,
            "unit": self.unit,
            "value": self.value,
            "low": min(self.values, default=None),
            "high": max(self.values, default=None),
            "n": len(self.values),
            "goal": None if self.goal is None else str(self.goal),
            "reached": self.reached,
            "note": self.note,
        }


@dataclass(frozen=True)
class Bench:
    """What one run of the benchmark is asked for.

    Args:
        work: Folder of generated media and results in between; kept for the next run.
        quick: Fewer and smaller media, fewer repetitions.
        repeats: Of every paired measurement.
        n_objects: Of the archive that is compared on; None: by `quick`.
        media: The user's folder of videos instead of the generated 1080p clips.
        labelled: List of labelled media (CSV: file or uri, label) for accuracy.
        s3: `s3://bucket/prefix` to read ranges from; None: a local moto server.
        prices: Of `sizing`.
        detector: Name or folder of the checkpoint.
    """

    work: Path
    quick: bool = False
    repeats: int = 3
    n_objects: int | None = None
    media: Path | None = None
    labelled: Path | None = None
    s3: str | None = None
    prices: Path | None = None
    detector: str = "default"
