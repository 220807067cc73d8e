"""The benchmark: its groups of lines in order, and one document of what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from dfd_batch.benchmark.lines import Bench, Line
from dfd_batch.benchmark.machine import describe
from dfd_batch.benchmark.sizing import Prices, read_prices, sizes
from dfd_batch.outcomes import UsageError

GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "start": (
        "how soon the command line answers",
        ("help_seconds", "help_heavy_imports"),
    ),
    "objects": (
        "objects per CPU second against what one would otherwise write",
        (
            "objects_per_cpu_second_vs_plain",
            "objects_per_cpu_second_vs_plain_without_start",
            "cpu_seconds_per_object",
            "cpu_seconds_per_object_plain",
            "cpu_seconds_of_start",
        ),
    ),
    "hour": (
        "one-hour videos against what one would otherwise write",
        ("one_hour_vs_plain",),
    ),
    "accuracy": (
        "whether looking at less costs accuracy",
        ("auc_minus_plain_auc",),
    ),
    "frames": (
        "frames decoded, length, bytes read",
        (
            "frames_decoded_per_used",
            "hour_vs_minute_cost",
            "hour_bytes_share",
            "hour_from_s3_vs_local_cost",
        ),
    ),
    "faces": (
        "the face stage",
        ("face_share_of_crop", "detector_long_side", "tracked_box_iou"),
    ),
    "network": (
        "inference on CPU and GPU",
        (
            "cpu_inference_vs_eager_float32",
            "cpu_probability_difference",
            "cpu_inference_ms_per_frame",
            "frames_per_object",
            "gpu_embed_vs_bare",
            "gpu_frames_per_second",
            "gpu_memory_mb",
            "crop_cores_per_gpu",
        ),
    ),
    "efficiency": (
        "the pipeline around the stages",
        ("pipeline_vs_slowest_stage", "overhead_ms_per_object", "first_verdict_seconds"),
    ),
    "planning": (
        "the plan of a million objects",
        ("plan_seconds", "plan_memory_gb"),
    ),
    "scaling": (
        "throughput against workers",
        ("scaling_share_of_linear", *(f"objects_per_s_{2**i}_nodes" for i in range(7))),
    ),
    "limits": (
        "the stages against what is possible",
        ("decode_vs_bare", "embed_vs_bare", "object_store_mb_per_s", "storage_mb_per_s"),
    ),
}
"""Each group with what it measures and the keys of its lines."""


def chosen(only: Sequence[str]) -> list[str]:
    """Return the groups that names of groups or of lines ask for; all without a name.

    Raises:
        UsageError: Nothing has such a name.
    """
    for name in only:
        if name not in GROUPS and all(name not in keys for _, keys in GROUPS.values()):
            raise UsageError(f"--only {name!r}: there is no such line; --list shows them.")
    return [
        group
        for group, (_, keys) in GROUPS.items()
        if not only or any(name == group or name in keys for name in only)
    ]


def run(
    bench: Bench,
    only: Sequence[str] = (),
    on_group: Callable[[str, list[Line], dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Return the benchmark's document: machine, lines, ratios, sizes of a cluster.

    Args:
        bench: What is asked for.
        only: Names of groups or lines; empty: all. A line comes with its group.
        on_group: Told the lines of each group as it ends, and the document so far.

    Raises:
        UsageError: Nothing has such a name, or something that is needed is missing.
    """
    groups = chosen(only)
    prices = read_prices(bench.prices)
    bench.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    machine, began = describe(), time.monotonic()
    lines: list[Line] = []
    document: dict[str, Any] = {}
    for name in groups:
        found: list[Line] = import_module(f"dfd_batch.benchmark.{name}").measure(bench)
        lines += found
        document = _document(bench, machine, time.monotonic() - began, lines, prices)
        if on_group:
            on_group(name, found, document)
    return document


def _document(
    bench: Bench, machine: dict[str, Any], elapsed_s: float, lines: list[Line], prices: Prices
) -> dict[str, Any]:
    return {
        "benchmark": 1,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": bench.quick,
        "repeats": bench.repeats,
        "detector": bench.detector,
        "machine": machine,
        "elapsed_s": round(elapsed_s, 1),
        "ratios": {line.key: line.value for line in lines if line.unit == "×"},
        "lines": [line.document() for line in lines],
        "prices": prices.model_dump(),
        "sizing": sizes(lines, prices),
    }
