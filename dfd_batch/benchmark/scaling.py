"""Objects per second against the number of nodes, with the stages' measured times replayed.

Where cores are missing, actors sleep as long as the real stages take: what is left is what the
driver and the scheduler can do, in blocks as those of large runs. A node is an actor of Crop and
its share of Embed, of which eight nodes share a process. Crops do not travel: what a node's object
store carries does not depend on how many nodes there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make

SHARING = 8
"""Nodes whose Embed shares a process."""
BLOCKS, FEW_BLOCKS = 24, 8
"""That each node takes; their first and last second, in which not all work, count too."""
START_S = 600
"""How long the actors of all nodes may take to start."""


@dataclass(frozen=True)
class Times:
    """Seconds of a 1080p object in the two heavy stages."""

    crop_s: float
    embed_s: float


def measure(bench: Bench) -> list[Line]:
    """Return how throughput grows with nodes."""
    times = cpu.apart(stage_times, bench)
    counts = (1, 4, 16) if bench.quick else (1, 2, 4, 8, 16, 32, 64)
    blocks = FEW_BLOCKS if bench.quick else BLOCKS
    rates = {n: cpu.apart(_rate, n, times, blocks) for n in counts}
    told = f"Crop {times.crop_s:.2f} s, Embed {times.embed_s:.2f} s an object, replayed"
    lines = [
        Line(f"objects_per_s_{n}_nodes", f"{n} nodes, simulated", "1/s", [rate], None, told)
        for n, rate in rates.items()
    ]
    one = rates[1] * times.crop_s
    worst = min(rate / (n * rates[1]) for n, rate in rates.items())
    return [
        *lines,
        Line(
            "scaling_share_of_linear",
            f"share of linear growth from 1 to {max(counts)} nodes, the worst of all counts",
            "×",
            [worst],
            Goal("≥", 0.9),
            f"one node at {one:.0%} of what its stage alone gives",
        ),
    ]


def stage_times(bench: Bench) -> Times:
    """Return the times of the stages on a 1080p video, as CPU seconds; for a fresh process."""
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.settings import Settings

    stages = Stages(Settings(checkpoint=bench.detector))
    item = of_file(make(Made(60, 1080, "h264", 250), bench.work / "media"))
    stages(item)
    cost = stages(item)
    return Times(cost.crop_s, cost.embed_s)


def _rate(n_nodes: int, times: Times, blocks: int) -> float:
    """Return objects per second of a chain over so many nodes."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from dfd_batch.batches import MOST_PER_BLOCK
    from dfd_batch.benchmark.efficiency import rate
    from dfd_batch.benchmark.replay import Replay
    from dfd_batch.pipeline import in_blocks
    from dfd_batch.resources import start_ray

    start_ray(None)
    DataContext.get_current().wait_for_min_actors_s = START_S
    n_objects = n_nodes * blocks * MOST_PER_BLOCK
    ids = pa.table({"media_id": [str(i) for i in range(n_objects)]})
    chain = in_blocks(ids, MOST_PER_BLOCK)
    # with a tenth to spare, or the second stage would be the one that is measured
    n_embed = math.ceil(n_nodes / SHARING)
    embed_s = min(times.embed_s, times.crop_s) * n_embed / n_nodes / 1.1
    for seconds, n_actors in ((times.crop_s, n_nodes), (embed_s, n_embed)):
        chain = chain.map_batches(
            Replay,
            batch_size=MOST_PER_BLOCK,
            batch_format="pyarrow",
            fn_constructor_args=(seconds,),
            compute=ActorPoolStrategy(size=n_actors),
            num_cpus=0,
        )
    found = rate(chain)
    ray.shutdown()
    return found
