"""Stand-ins for two stages of the chain: one that makes crops at once, one that is stalled."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from dfd_batch.schema import CROPPED, EMBEDDED
from dfd_batch.stages import RunContext

CROPS_BYTES = 32 * 224 * 224 * 3
"""Of one object: what a usual video gives."""
GATE = "gate-is-open"


class FastCrop:
    """Crops of the usual size without any decoding."""

    def __init__(self, context: RunContext) -> None:
        self._crops = np.random.default_rng(0).bytes(CROPS_BYTES)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = [{**row, "n_crops": 32, "crops": self._crops} for row in batch.to_pylist()]
        return pa.Table.from_pylist(rows, schema=CROPPED)


class StalledEmbed:
    """Waits, with the first batch in its hands, until somebody opens the gate."""

    def __init__(self, context: RunContext) -> None:
        self._gate = Path(context.out, GATE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        while not self._gate.exists():
            time.sleep(0.05)
        assert batch["crops"].nbytes >= CROPS_BYTES * len(batch)
        rows = [
            {**row, "outcome": "no_face", "n_crops": 0}
            for row in batch.drop_columns(["crops"]).to_pylist()
        ]
        return pa.Table.from_pylist(rows, schema=EMBEDDED)
