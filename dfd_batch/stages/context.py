"""What every stage of a run knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import ray

from dfd_batch.checkpoint import Checkpoint
from dfd_batch.settings import Settings


@dataclass(frozen=True)
class RunContext:
    """What every stage of one run knows; small enough to travel with each actor."""

    settings: Settings
    out: str
    run_id: str
    detector_id: str
    scan_date: date
    checkpoint: Any
    """`ray.ObjectRef[Checkpoint]`, or the Checkpoint itself."""

    def detector(self) -> Checkpoint:
        """Return the checkpoint, fetched once per process."""
        held = self.checkpoint
        found: Checkpoint = held if isinstance(held, Checkpoint) else ray.get(held)
        return found
