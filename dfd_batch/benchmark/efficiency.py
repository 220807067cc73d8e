"""The pipeline around the stages: what it adds, how busy it keeps them, how soon it answers.

Each stage gets cores of its own here (as where the networks run on GPUs), so that the slowest
stage alone and the whole chain meet the same machine.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import STANDARD_CROPS, Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make
from dfd_batch.schema import CROPPED, EMBEDDED

N_NOTHING = 200
"""Objects that go through stages that do nothing."""
N_QUICK, N_FULL = 40, 120
"""Objects for each core of a stage: filling and draining the chain are part of the time."""
N_CROPS, CROP_SIZE, N_FEATURES = STANDARD_CROPS, 192, 1344
"""Of an object at standard coverage: what travels between the stages."""


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the pipeline."""
    video = make(Made(10, 1080, "h264", 250), bench.work / "media")
    overhead = cpu.apart(_overhead, bench.repeats)
    first = [cpu.apart(_first_verdict, video, bench) for _ in range(bench.repeats)]
    shares = cpu.apart(_efficiency, video, bench)
    n_cores = len(os.sched_getaffinity(0))
    return [
        Line(
            "pipeline_vs_slowest_stage",
            "throughput of the whole chain against its slowest stage alone",
            "×",
            shares,
            Goal("≥", 0.85),
            f"1080p, quick; Crop and Embed on {max(1, n_cores // 2)} of {n_cores} cores each",
        ),
        Line(
            "overhead_ms_per_object",
            "scheduling and transport of an object through stages that do nothing",
            "ms",
            overhead,
            Goal("≤", 15),
            f"{N_CROPS * CROP_SIZE**2 * 3 / 1e6:.1f} MB of crops an object",
        ),
        Line(
            "first_verdict_seconds",
            "time to the first verdict after ray.init",
            "s",
            first,
            Goal("≤", 15),
            "1080p, 10 s",
        ),
    ]


class _Nothing:
    """A stage without work: hands on what the real one would, of the same size."""

    def __init__(self, give: str) -> None:
        self._give = give
        self._crops = bytes(N_CROPS * CROP_SIZE**2 * 3)
        self._features = bytes(N_CROPS * N_FEATURES * 2)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows: list[dict[str, Any]] = [{"media_id": i} for i in batch["media_id"].to_pylist()]
        if self._give == "crops":
            told = [row | {"n_crops": N_CROPS, "crops": self._crops} for row in rows]
            return pa.Table.from_pylist(told, schema=_nullable(CROPPED))
        if self._give == "features":
            told = [row | {"n_crops": N_CROPS, "features": self._features} for row in rows]
            return pa.Table.from_pylist(told, schema=_nullable(EMBEDDED))
        return batch.select(["media_id"])


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def _overhead(repeats: int) -> list[float]:
    """Return milliseconds per object of a chain of stages that do nothing."""
    from dfd_batch.batches import batch_sizes
    from dfd_batch.resources import pool_sizes, start_ray
    from dfd_batch.settings import Settings

    start_ray(None)
    settings = Settings()
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    together = batch_sizes(settings, pool_sizes(settings, resources), N_NOTHING)
    ids = pa.table({"media_id": [str(i) for i in range(N_NOTHING)]})
    told = []
    for _ in range(repeats):
        chain = ray.data.from_arrow(ids).repartition(target_num_rows_per_block=together.block)
        stages = (("crops", 1), ("features", together.embed), ("", together.file))
        for give, size in stages:
            chain = chain.map_batches(
                _Nothing,
                batch_size=size,
                batch_format="pyarrow",
                fn_constructor_args=(give,),
                compute=ActorPoolStrategy(size=1),
                num_cpus=0,
            )
        told.append(1000 / rate(chain))
    ray.shutdown()
    return told


def rate(chain: Dataset) -> float:
    """Return rows per second of a chain, from the first that arrives to the last."""
    arrivals: list[tuple[float, int]] = []
    for batch in chain.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        arrivals.append((time.perf_counter(), len(batch)))
    (begun, first), (ended, _) = arrivals[0], arrivals[-1]
    return (sum(n for _, n in arrivals) - first) / (ended - begun)


def _first_verdict(video: Path, bench: Bench) -> float:
    """Return seconds from Ray's readiness to the first verdict on storage."""
    from dfd_batch import pipeline
    from dfd_batch.benchmark.objects import archive_of
    from dfd_batch.resources import start_ray
    from dfd_batch.settings import Settings

    archive = archive_of([video], 12, bench.work / "first")
    out = bench.work / "first-out"
    shutil.rmtree(out, ignore_errors=True)
    start_ray(None)
    began = time.perf_counter()
    seen: list[float] = []

    def note(progress: pipeline.Progress) -> None:
        if progress.n_done:
            seen.append(time.perf_counter() - began)

    pipeline.scan(str(archive), str(out), Settings(checkpoint=bench.detector), on_progress=note)
    ray.shutdown()
    return seen[0]


def _pinned(stage: type[Any], cores: list[int], begun: Path) -> Callable[..., Any]:
    """Return a stage that keeps to some cores, its decoder with it, and tells when it begins."""

    class Pinned(stage):  # type: ignore[misc]
        def __init__(self, context: Any) -> None:
            os.sched_setaffinity(0, cores)
            super().__init__(context)

        def __call__(self, batch: pa.Table) -> pa.Table:
            if not begun.exists():
                begun.touch()
            return super().__call__(batch)

    return Pinned


def _efficiency(video: Path, bench: Bench) -> list[float]:
    """Return throughputs of the whole chain ÷ those of its slowest stage alone."""
    from dfd_batch import checkpoint as checkpoints
    from dfd_batch.benchmark.stage_costs import manifest
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.resources import start_ray
    from dfd_batch.settings import Coverage, Pools, Sampling, Settings
    from dfd_batch.stages import Crop, Embed, Judge, RunContext

    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    begun = bench.work / "begun"
    crop, embed = _pinned(Crop, cores[:half], begun), _pinned(Embed, cores[-half:], begun)
    n = (N_QUICK if bench.quick else N_FULL) * half
    start_ray(None)
    settings = Settings(
        checkpoint=bench.detector,
        pools=Pools(device="cpu"),
        sampling=Sampling(coverage=Coverage.QUICK),
    )
    checkpoint = checkpoints.load(bench.detector)
    today = datetime.now(UTC).date()
    context = RunContext(settings, "", "benchmark", "benchmark", today, ray.put(checkpoint))
    rows = manifest([of_file(video)] * n)

    def stage(before: Dataset, kind: Callable[..., Any], batch: int, actors: int) -> Dataset:
        return before.map_batches(
            kind,
            batch_size=batch,
            batch_format="pyarrow",
            fn_constructor_args=(context,),
            compute=ActorPoolStrategy(size=actors),
            num_cpus=0,
        )

    def source() -> Dataset:
        return ray.data.from_arrow(rows).repartition(target_num_rows_per_block=1)

    def seconds(chain: Dataset) -> float:
        """Return the time from the first object's begin to the arrival of the last."""
        begun.unlink(missing_ok=True)
        for _ in chain.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            pass
        return time.time() - begun.stat().st_mtime

    cropped = stage(source(), crop, 1, half).materialize()
    shares = []
    for _ in range(bench.repeats):
        alone = [
            seconds(stage(source(), crop, 1, half)),
            seconds(stage(cropped, embed, 1, half)),
        ]
        both = stage(stage(source(), crop, 1, half), embed, 1, half)
        shares.append(max(alone) / seconds(stage(both, Judge, 4, 1)))
    ray.shutdown()
    return shares
