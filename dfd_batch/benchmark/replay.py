"""A stage that takes its time and does nothing; a module of its own, for it is loaded often."""

from __future__ import annotations

import time

import pyarrow as pa


class Replay:
    """Sleeps as long as a real stage takes.

    Args:
        seconds: Of each object.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch after as long as its objects would take."""
        time.sleep(self._seconds * len(batch))
        return batch
