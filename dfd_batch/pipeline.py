"""The scan: plan, then one Ray Data chain from URIs to Parquet, then the reconciliation.

The same chain runs on a laptop and on a cluster; only pool sizes and the device of the network
stages follow the resources that Ray reports.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.catalog.listing import listing
from dfd_batch.catalog.plan import Plan, plan
from dfd_batch.reports.write import reports_uri
from dfd_batch.resources import pool_sizes, start_ray
from dfd_batch.runs import Run, RunResult, close_run, open_run
from dfd_batch.settings import Settings
from dfd_batch.stages import Crop, Embed, Report, RunContext


@dataclass(frozen=True)
class Progress:
    """How far a run is; counts are of rows that are safely on storage."""

    n_total: int
    n_done: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0


def make_plan(source: str, out: str, settings: Settings, limit: int | None = None) -> Plan:
    """Return what a scan of `source` would do; starts no Ray.

    Raises:
        UsageError: The source, the output or the checkpoint cannot be used.
    """
    card = checkpoints.load_card(settings.checkpoint)
    detector = checkpoints.detector_id(card, settings.sampling, settings.faces)
    ledger = read_ledger(reports_uri(out), settings.storage, detector)
    objects = listing(source, settings.select, settings.storage, exclude_under=out)
    return plan(objects, ledger, detector, settings.limits.max_attempts, limit)


def scan(
    source: str,
    out: str,
    settings: Settings,
    *,
    address: str | None = None,
    limit: int | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Judge every object of `source` that `out` holds no verdict of, and return the account.

    Args:
        source: Folder, s3:// prefix, object, manifest file or S3 Inventory manifest.
        out: Folder or s3:// prefix for `reports/` and `runs/`.
        settings: Validated settings.
        address: Ray cluster to join; None: `RAY_ADDRESS`, else a local Ray of this process.
        limit: At most so many objects.
        on_plan: Told the plan before Ray starts.
        on_progress: Told after every written file.

    Raises:
        UsageError: The source, the output or the checkpoint cannot be used.
    """
    began = time.monotonic()
    found = make_plan(source, out, settings, limit)
    if on_plan:
        on_plan(found)
    checkpoint = checkpoints.load(settings.checkpoint)
    started_at = datetime.now(UTC)
    run = Run(f"{started_at:%Y%m%dT%H%M%S}-{found.digest[:8]}", out, started_at)
    open_run(run, found.table, source, settings, checkpoint.card, found.detector_id)
    if found.table.num_rows:
        own_ray = start_ray(address)
        try:
            context = RunContext(
                settings, out, run.run_id, found.detector_id, run.scan_date, ray.put(checkpoint)
            )
            _run_chain(_chain(run, context, found.table.num_rows), found, began, on_progress)
        finally:
            if own_ray:
                ray.shutdown()
    elapsed_s = time.monotonic() - began
    counts = found.counts()
    return close_run(run, found.table, counts, found.detector_id, elapsed_s, settings.storage)


def _chain(run: Run, context: RunContext, n_rows: int) -> Dataset:
    """Return the whole data path, one line per stage."""
    settings = context.settings
    pools = settings.pools
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    sizes = pool_sizes(settings, resources)
    per_file = pools.rows_per_file or rows_per_file(n_rows)
    filesystem, path = stores.filesystem(run.manifest_uri, settings.storage)
    heavy: dict[str, Any] = {"num_cpus": sizes.cpus_per_actor}
    on_gpu = heavy | {"num_gpus": sizes.gpus_per_embed}
    given: dict[str, Any] = {"batch_format": "pyarrow", "fn_constructor_args": (context,)}
    return (
        ray.data.read_parquet(path, filesystem=filesystem)
        .repartition(target_num_rows_per_block=1)  # a one-file manifest is one block otherwise
        .map_batches(Crop, batch_size=1, compute=_pool(sizes.crop), **heavy, **given)
        .map_batches(
            Embed,
            batch_size=pools.embed_batch_objects,
            compute=_pool(sizes.embed),
            **on_gpu,
            **given,
        )
        .map_batches(Report, batch_size=per_file, compute=_pool(1), num_cpus=0, **given)
    )


def _pool(size: int) -> ActorPoolStrategy:
    """Return a pool of fixed size: autoscaled ones ramp slowly or starve the GPU."""
    return ActorPoolStrategy(size=size)


def rows_per_file(n_rows: int) -> int:
    """Return how many verdicts share a file: about a hundred files, 8 to 512 rows each.

    Small files lose little to a kill and show progress; large archives want fewer of them.
    """
    return min(512, max(8, n_rows // 100))


def _run_chain(
    chain: Dataset, found: Plan, began: float, on_progress: Callable[[Progress], None] | None
) -> None:
    """Drive the chain to its end, counting what has been written."""
    outcomes: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    total = found.table.num_rows
    if on_progress:
        on_progress(Progress(total, elapsed_s=time.monotonic() - began))
    for batch in chain.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        written = cast(pa.Table, batch)
        outcomes.update(written.column("outcome").to_pylist())
        verdicts.update(v for v in written.column("verdict").to_pylist() if v is not None)
        if on_progress:
            elapsed_s = time.monotonic() - began
            n_done = sum(outcomes.values())
            on_progress(Progress(total, n_done, dict(outcomes), dict(verdicts), elapsed_s))
