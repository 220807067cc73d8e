"""Objects share blocks where that saves, never so many that Ray would lose patience."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.batches import PIECES, BatchSizes, batch_sizes, pieces
from dfd_batch.decode.confine import MAX_DEADLINE_S
from dfd_batch.resources import PoolSizes
from dfd_batch.settings import Limits, Pools, Sampling, Settings

ON_CPU, ON_GPU = PoolSizes(2, 1, 1.0, 0.0), PoolSizes(2, 1, 1.0, 1.0)


def test_small_runs_do_not_wait_and_large_ones_share() -> None:
    assert batch_sizes(Settings(), ON_CPU, 12) == BatchSizes(1, 1, 4)
    assert batch_sizes(Settings(), ON_CPU, 100_000) == BatchSizes(4, 4, 512)
    assert batch_sizes(Settings(), ON_GPU, 12).embed == 4


def test_what_the_settings_fix_is_kept() -> None:
    fixed = Settings(pools=Pools(embed_batch_objects=7, rows_per_file=3))
    assert batch_sizes(fixed, ON_CPU, 100_000) == BatchSizes(4, 7, 3)


@pytest.mark.parametrize("timeout_s", [1.0, 60.0, 600.0, 5000.0])
@pytest.mark.parametrize("coverage", ["quick", "standard", "full"])
def test_a_block_of_hanging_objects_ends_before_ray_gives_up(
    timeout_s: float, coverage: str
) -> None:
    settings = Settings(
        limits=Limits(timeout_s=timeout_s),
        sampling=Sampling.model_validate({"coverage": coverage}),
    )
    clips = {"quick": 2, "standard": 3, "full": settings.limits.max_full_clips}[coverage]
    longest_s = min(timeout_s + clips * settings.limits.timeout_per_clip_s, MAX_DEADLINE_S)
    block = batch_sizes(settings, ON_CPU, 10**6).block
    assert block >= 1
    assert block * longest_s <= MAX_DEADLINE_S


@given(n=st.integers(0, 1000), block=st.integers(1, 8))
def test_pieces_are_the_manifest_in_order_and_end_with_blocks(n: int, block: int) -> None:
    manifest = pa.table({"uri": [str(i) for i in range(n)]})
    found = pieces(manifest, block)
    assert pa.concat_tables(found or [manifest]) == manifest
    assert len(found) <= PIECES and all(len(piece) % block == 0 for piece in found[:-1])
