"""The scan: plan, then one Ray Data chain from URIs to Parquet, then the reconciliation.

The same chain runs on a laptop and on a cluster; only pool sizes and the device of the network
stages follow the resources that Ray reports.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.batches import batch_sizes, pieces
from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.catalog.listing import listing
from dfd_batch.catalog.plan import Plan, plan
from dfd_batch.reports.write import reports_uri
from dfd_batch.resources import leave_ray, pool_sizes, start_ray
from dfd_batch.runs import Run, RunResult, close_run, open_run
from dfd_batch.settings import Settings
from dfd_batch.since import Since, listing_record, plan_since
from dfd_batch.stages import Crop, Embed, Report, RunContext
from dfd_batch.watch import RunWatch

PART_OBJECTS = 100_000
"""Judged by one execution of the chain. Until its end Ray's driver keeps an account of every block,
8 KiB an object; starting the actors anew for the next part costs seconds."""


@dataclass(frozen=True)
class Progress:
    """How far a run is; counts are of rows that are safely on storage."""

    n_total: int
    n_done: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def n_left(self) -> int:
        """Return how many objects have no row yet."""
        return self.n_total - self.n_done

    @property
    def eta_s(self) -> float | None:
        """Return the seconds to go at the mean speed so far; None: nothing is done yet."""
        return self.n_left * self.elapsed_s / self.n_done if self.n_done else None


def make_plan(
    source: str,
    out: str,
    settings: Settings,
    limit: int | None = None,
    since: Since | None = None,
) -> Plan:
    """Return what a scan of `source` would do; starts no Ray. The arguments are those of `scan`.

    Raises:
        UsageError: The source, the output or the checkpoint cannot be used.
    """
    card = checkpoints.load_card(settings.checkpoint)
    detector = checkpoints.detector_id(card, *settings.judging)
    if since is not None:
        return plan_since(since, source, out, settings, detector, limit)
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
    since: Since | None = None,
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
        since: Leaves out what has not changed since (`since.last_complete`).
        on_plan: Told the plan before Ray starts.
        on_progress: Told after every written file.

    Raises:
        UsageError: The source, the output or the checkpoint cannot be used.
    """
    began = time.monotonic()
    settings = settings.model_copy(update={"storage": stores.resolved(settings.storage)})
    listed_at = datetime.now(UTC)
    found = make_plan(source, out, settings, limit, since)
    if on_plan:
        on_plan(found)
    checkpoint = checkpoints.load(settings.checkpoint)
    started_at = datetime.now(UTC)
    # to the microsecond: two runs of one plan may start in one second and are two runs
    run = Run(f"{started_at:%Y%m%dT%H%M%S%f}-{found.digest[:8]}", out, started_at)
    listed = listing_record(source, listed_at, since)
    open_run(run, found.table, source, settings, checkpoint.card, found.detector_id, listed)
    stopped: str | None = None
    watch = RunWatch(run, settings, found.table.num_rows)
    with watch.served():
        if found.table.num_rows:
            own_ray = start_ray(address)
            try:
                context = RunContext(
                    settings, out, run.run_id, found.detector_id, run.scan_date, ray.put(checkpoint)
                )
                with watch.working():
                    stopped = _run_chain(context, found, began, watch, on_progress)
            finally:
                if own_ray:
                    leave_ray()
        elapsed_s = time.monotonic() - began
        counts, storage = found.counts(), settings.storage
        result = close_run(
            run, found.table, counts, found.detector_id, elapsed_s, storage, stopped, watch.work()
        )
        watch.ended(result)
    return result


def _chain(context: RunContext, part: pa.Table, n_rows: int) -> Dataset:
    """Return the whole data path, one line per stage."""
    settings = context.settings
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    sizes = pool_sizes(settings, resources)
    batches = batch_sizes(settings, sizes, n_rows)
    heavy: dict[str, Any] = {"num_cpus": sizes.cpus_per_actor}
    on_gpu = heavy | {"num_gpus": sizes.gpus_per_embed}
    given: dict[str, Any] = {"batch_format": "pyarrow", "fn_constructor_args": (context,)}
    return (
        in_blocks(part, batches.block)
        .map_batches(Crop, batch_size=1, compute=_pool(sizes.crop), **heavy, **given)
        .map_batches(
            Embed,
            batch_size=batches.embed,
            compute=_pool(sizes.embed),
            **on_gpu,
            **given,
        )
        .map_batches(Report, batch_size=batches.file, compute=_pool(1), num_cpus=0, **given)
    )


def in_blocks(table: pa.Table, block: int) -> Dataset:
    """Return a manifest as Ray Data hands it to the first stage, so many objects a block."""
    # a table would be one block
    return ray.data.from_arrow(pieces(table, block)).repartition(target_num_rows_per_block=block)


def _pool(size: int) -> ActorPoolStrategy:
    """Return a pool of fixed size: autoscaled ones ramp slowly or starve the GPU."""
    return ActorPoolStrategy(size=size)


def _batches(context: RunContext, table: pa.Table) -> Iterator[pa.Table]:
    """Yield what the chain tells of written rows, part by part of the manifest."""
    for begin in range(0, table.num_rows, PART_OBJECTS):
        chain = _chain(context, table.slice(begin, PART_OBJECTS), table.num_rows)
        told = chain.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        yield from cast(Iterator[pa.Table], told)


def _run_chain(
    context: RunContext,
    found: Plan,
    began: float,
    watch: RunWatch,
    on_progress: Callable[[Progress], None] | None,
) -> str | None:
    """Drive the chain to its end, counting what has been written.

    Returns why rows cannot be written; then all further work would be lost and is left undone.
    """
    outcomes: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    total = found.table.num_rows
    if on_progress:
        on_progress(Progress(total, elapsed_s=time.monotonic() - began))
    for written in _batches(context, found.table):
        reasons = written.column("unwritten").drop_null().to_pylist()
        if reasons:
            return str(reasons[0])
        outcomes.update(written.column("outcome").to_pylist())
        verdicts.update(v for v in written.column("verdict").to_pylist() if v is not None)
        elapsed_s, n_done = time.monotonic() - began, sum(outcomes.values())
        progress = Progress(total, n_done, dict(outcomes), dict(verdicts), elapsed_s)
        watch.wrote(written, progress.n_left, progress.eta_s or 0.0)
        if on_progress:
            on_progress(progress)
    return None
