"""A scan in a process of its own, whose driver tells how much memory it took at most."""

from __future__ import annotations

import gc
import json
import resource
import sys

import ray

from dfd_batch import pipeline, settings


def main() -> None:
    """Scan and print what the driver held as JSON.

    These are n_reported, MiB before the scan, MiB at most, and how many pieces of memory Python
    held more for each object that was judged behind the first part of the manifest.
    """
    source, out, detector, part_objects = sys.argv[1:]
    pipeline.PART_OBJECTS = int(part_objects)
    held: list[tuple[int, int]] = []

    def look(progress: pipeline.Progress) -> None:
        if progress.n_done >= pipeline.PART_OBJECTS:
            gc.collect()
            held.append((progress.n_done, sys.getallocatedblocks()))

    ray.init(
        address="local", num_cpus=3, include_dashboard=False, log_to_driver=False,
        _node_ip_address="127.0.0.1", object_store_memory=150_000_000,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    chosen = settings.load({"checkpoint": detector})
    result = pipeline.scan(source, out, chosen, on_progress=look)
    assert result.reconciled
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (n_first, first), *_, (n_last, last) = held
    print(json.dumps([result.n_reported, before, most, (last - first) / (n_last - n_first)]))
    ray.shutdown()


if __name__ == "__main__":
    main()
