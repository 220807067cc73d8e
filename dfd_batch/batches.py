"""How many objects travel together: through a task, through the network, into a file.

Each block costs Ray about 15 ms whatever it holds, so large runs share it among objects. Small
ones do not: their first verdicts should not wait for others, nor their last ones for one actor.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dfd_batch.decode.confine import MAX_DEADLINE_S
from dfd_batch.decode.sampling import n_clips_wanted
from dfd_batch.resources import PoolSizes
from dfd_batch.settings import Settings

MOST_PER_BLOCK = 4
BLOCKS_PER_ACTOR = 50
"""At least so many blocks for each Crop actor, or some would idle while the last are decoded."""
PER_EMBED_ON_GPU = 4
PIECES = 16
"""Of a manifest, at most."""


@dataclass(frozen=True)
class BatchSizes:
    """Objects per block, per forward pass of Embed, and verdicts per file."""

    block: int
    embed: int
    file: int


def batch_sizes(settings: Settings, pools: PoolSizes, n_rows: int) -> BatchSizes:
    """Return the sizes for a run, unless the settings fix them.

    Args:
        settings: `pools`, and the limits of time: a block must not outlast Ray's patience with a
            task that tells of no progress, should each of its objects hang.
        pools: Actors of the run.
        n_rows: Objects of the run.
    """
    limits, fixed = settings.limits, settings.pools
    clips = n_clips_wanted(settings.sampling, limits)
    longest_s = min(limits.timeout_s + clips * limits.timeout_per_clip_s, MAX_DEADLINE_S)
    fair = n_rows // (BLOCKS_PER_ACTOR * pools.crop)
    block = max(1, min(MOST_PER_BLOCK, fair, int(MAX_DEADLINE_S // longest_s)))
    return BatchSizes(
        block=block,
        embed=fixed.embed_batch_objects or (PER_EMBED_ON_GPU if pools.gpus_per_embed else block),
        file=fixed.rows_per_file or rows_per_file(n_rows),
    )


def rows_per_file(n_rows: int) -> int:
    """Return how many verdicts share a file: about a hundred files, 4 to 512 rows each.

    Small files lose little to a kill and show progress; large archives want fewer of them.
    """
    return min(512, max(4, n_rows // 100))


def pieces(table: pa.Table, block: int) -> list[pa.Table]:
    """Return a manifest in parts of whole blocks, which Ray splits up side by side.

    One task that splits a table gives a few blocks each time the scheduler looks at it, about 15 in
    a second: enough for thirty nodes, not for sixty.
    """
    rows = block * max(1, -(-table.num_rows // (block * PIECES)))
    return [table.slice(begin, rows) for begin in range(0, table.num_rows, rows)]
