"""Objects per processor second against what one would otherwise write."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make
from dfd_batch.outcomes import UsageError

N_PLAIN = 2
"""Objects that the plain way judges per repetition: it takes half a minute for each."""
N_FEW = 2
"""Objects of the scan whose cost tells what starting costs."""


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


def _few(originals: Sequence[Path], most: int) -> list[Path]:
    """Return as many as the plain way can judge, spread evenly."""
    kept = np.linspace(0, len(originals) - 1, min(most, len(originals))).round().astype(int)
    return [originals[i] for i in kept]


def measure(bench: Bench) -> list[Line]:
    """Compare whole commands, start and all, on an archive of the same videos."""
    n_objects = bench.n_objects or (48 if bench.quick else 144)
    originals = _few(clips(bench), min(n_objects, N_PLAIN * bench.repeats))
    archive = archive_of(originals, n_objects, bench.work / "archive")
    plain_start_s = cpu.apart(_plain_start, bench.detector)
    judged: list[list[float]] = [[] for _ in originals]
    few: list[float] = []
    many: list[float] = []
    for repetition in range(bench.repeats):
        # the plain way's objects change from one repetition to the next: all of them are met
        chosen = [(repetition * N_PLAIN + i) % len(originals) for i in range(N_PLAIN)]
        costs = cpu.apart(plain_cpu, [originals[i] for i in chosen], bench.detector)
        for i, cost_s in zip(chosen, costs, strict=True):
            judged[i].append(cost_s)
        few.append(_scan_cpu(archive, bench, limit=N_FEW))
        many.append(_scan_cpu(archive, bench, limit=None))
    # both ways are held against each other on the same objects: those of the archive
    plain = [statistics.mean(judged[i % len(originals)]) for i in range(n_objects)]
    further_s = statistics.mean(plain[N_FEW:])
    plain_s = sum(plain) + plain_start_s * len(os.sched_getaffinity(0))
    ours_cpu = [(b - a) / (n_objects - N_FEW) for a, b in zip(few, many, strict=True)]
    start = [a - N_FEW * ours_s for a, ours_s in zip(few, ours_cpu, strict=True)]
    whole = [plain_s / b for b in many]
    without = [further_s / ours_s for ours_s in ours_cpu]
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
        Line("cpu_seconds_per_object_plain", "CPU per object, plain", "s", [further_s], None, told),
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
    # the plain way knows no settings, so the user's are none of this comparison
    defaults = bench.work / "defaults.toml"
    defaults.write_text("", encoding="utf-8")
    arguments += ["--config", str(defaults)]
    cost = cpu.command(arguments, bench.work / "scan.log", _without_settings())
    (summary,) = out.glob("runs/*/summary.json")
    outcomes = json.loads(summary.read_text(encoding="utf-8"))["outcomes"]
    if not outcomes.get("scored"):
        raise UsageError(f"None of the videos was scored, so nothing is compared: {outcomes}.")
    return cost.cpu_s


def _without_settings() -> dict[str, str]:
    """Return the environment without what changes a scan or sends it to a cluster."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DFD_") and name != "RAY_ADDRESS"
    }


def _plain_start(detector: str) -> float:
    from dfd_batch.benchmark import plain

    return plain.start_cpu_s(detector)


def plain_cpu(paths: Sequence[Path], detector: str) -> list[float]:
    """Return the plain way's processor seconds on each video, without starting."""
    from dfd_batch.benchmark import plain

    return [one.cpu_s for one in plain.judge_all(paths, detector)]
