"""Objects per processor second against what one would otherwise write."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make
from dfd_batch.outcomes import UsageError

N_PLAIN = 2
"""Objects that the plain way judges per repetition: it takes half a minute for each."""


def clips(bench: Bench) -> list[Path]:
    """Return the videos of the comparison: 1080p, 10 to 60 s, or the user's own."""
    if bench.media is not None:
        found = sorted(p for p in bench.media.rglob("*") if p.is_file())
        if not found:
            raise UsageError(f"--media {bench.media}: there are no files in it.")
        return found
    kinds = [("h264", 50), ("h264", 250), ("hevc", 250)][: 2 if bench.quick else 3]
    folder = bench.work / "media"
    return [make(Made(s, 1080, codec, gop), folder) for codec, gop in kinds for s in (10, 60)]


def measure(bench: Bench) -> list[Line]:
    """Compare whole commands, start and all, on an archive of the same videos."""
    originals = clips(bench)
    n_objects = bench.n_objects or (48 if bench.quick else 144)
    archive = archive_of(originals, n_objects, bench.work / "archive")
    plain_start_s = cpu.apart(_plain_start, bench.detector)
    whole: list[float] = []
    without: list[float] = []
    ours_cpu: list[float] = []
    their_cpu: list[float] = []
    start: list[float] = []
    for repetition in range(bench.repeats):
        # the plain way's objects change from one repetition to the next: all kinds are met
        chosen = [originals[(repetition * N_PLAIN + i) % len(originals)] for i in range(N_PLAIN)]
        plain_s = statistics.mean(cpu.apart(plain_cpu, chosen, bench.detector))
        few = _scan_cpu(archive, bench, limit=2)
        many = _scan_cpu(archive, bench, limit=None)
        ours_s = (many - few) / (n_objects - 2)
        n_processes = len(os.sched_getaffinity(0))
        whole.append((plain_s * n_objects + plain_start_s * n_processes) / many)
        without.append(plain_s / ours_s)
        ours_cpu.append(ours_s)
        their_cpu.append(plain_s)
        start.append(few - 2 * ours_s)
    told = f"{n_objects} videos, {'own' if bench.media else '1080p, 10 and 60 s'}"
    return [
        Line(
            "objects_per_cpu_second_vs_plain",
            "objects per CPU second against the plain way, whole commands",
            "×",
            whole,
            Goal("≥", 10),
            f"{told}; all processes and Ray's start counted",
        ),
        Line(
            "objects_per_cpu_second_vs_plain_without_start",
            "the same per further object: an archive so large that starting does not count",
            "×",
            without,
            None,
            told,
        ),
        Line("cpu_seconds_per_object", "CPU per further object", "s", ours_cpu, None, told),
        Line("cpu_seconds_per_object_plain", "CPU per object, plain", "s", their_cpu, None, told),
        Line("cpu_seconds_of_start", "CPU of starting Ray and all actors", "s", start),
    ]


def archive_of(originals: Sequence[Path], n: int, folder: Path) -> Path:
    """Return a folder of n objects: hard links, each an object of its own by its name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for index in range(n):
        original = originals[index % len(originals)]
        target = folder / f"{index:04d}{original.suffix}"
        try:
            os.link(original, target)
        except OSError:  # another file system
            shutil.copy(original, target)
    return folder


def _scan_cpu(archive: Path, bench: Bench, limit: int | None) -> float:
    """Return the processor seconds of one `dfd scan`, all its processes."""
    out = bench.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    arguments = [sys.executable, "-m", "dfd_batch.cli", "scan", str(archive), "--out", str(out)]
    arguments += ["--checkpoint", bench.detector, "--device", "cpu", "--json"]
    if limit is not None:
        arguments += ["--limit", str(limit)]
    cost = cpu.command(arguments, bench.work / "scan.log")
    (summary,) = out.glob("runs/*/summary.json")
    outcomes = json.loads(summary.read_text(encoding="utf-8"))["outcomes"]
    if not outcomes.get("scored"):
        raise UsageError(f"None of the videos was scored, so nothing is compared: {outcomes}.")
    return cost.cpu_s


def _plain_start(detector: str) -> float:
    from dfd_batch.benchmark import plain

    return plain.start_cpu_s(detector)


def plain_cpu(paths: Sequence[Path], detector: str) -> list[float]:
    """Return the plain way's processor seconds on each video, without starting."""
    from dfd_batch.benchmark import plain

    return [one.cpu_s for one in plain.judge_all(paths, detector)]
