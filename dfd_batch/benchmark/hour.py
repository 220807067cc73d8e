"""One-hour videos against the plain way: cost follows what is looked at."""

from __future__ import annotations

from pathlib import Path

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make
from dfd_batch.benchmark.objects import plain_cpu


def measure(bench: Bench) -> list[Line]:
    """Compare the stages with the plain way on one-hour videos."""
    path = make(Made(3600, 1080, "h264", 250), bench.work / "media")
    values = []
    for _ in range(1 if bench.quick else bench.repeats):
        (plain_s,) = cpu.apart(plain_cpu, [path], bench.detector)
        values.append(plain_s / cpu.apart(_stage_cpu, path, bench.detector))
    line = Line(
        "one_hour_vs_plain",
        "objects per CPU second against the plain way, one-hour videos",
        "×",
        values,
        Goal("≥", 50),
        "1080p, a key frame every 10 s; without starting",
    )
    return [line]


def _stage_cpu(path: Path, detector: str) -> float:
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.settings import Settings

    stages = Stages(Settings(checkpoint=detector))
    stages(of_file(path))  # the first object pays for what is loaded late
    return stages(of_file(path)).total_s
