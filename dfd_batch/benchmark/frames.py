"""Frames decoded for the frames used, the price of length, and bytes read by ranges."""

from __future__ import annotations

from pathlib import Path

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make
from dfd_batch.benchmark.s3 import serving

MINUTE, TEN, HOUR = 60, 600, 3600


def measure(bench: Bench) -> list[Line]:
    """Return what decoding costs beside what is looked at."""
    folder = bench.work / "media"
    kinds = [(480, "h264", 50), (1080, "h264", 250)]
    if not bench.quick:
        kinds += [(480, "hevc", 250), (1080, "hevc", 50), (2160, "h264", 50), (2160, "hevc", 250)]
    seconds = [10, MINUTE] if bench.quick else [10, MINUTE, TEN]
    videos = [make(Made(s, h, codec, gop), folder) for h, codec, gop in kinds for s in seconds]
    videos.append(make(Made(TEN, 480, "h264", 50), folder))
    minute, hour = (make(Made(s, 480, "h264", 50), folder) for s in (MINUTE, HOUR))
    decoded, length = cpu.apart(_stages, videos, minute, hour, bench)
    with serving(bench) as prefix:
        share, ratio = cpu.apart(_ranges, hour, prefix, bench)
    return [
        Line(
            "frames_decoded_per_used",
            "frames decoded for each frame used, standard coverage",
            "×",
            decoded,
            Goal("≤", 1.3),
            f"{len(videos)} videos, {min(k[0] for k in kinds)}p to {max(k[0] for k in kinds)}p",
        ),
        Line(
            "hour_vs_minute_cost",
            "CPU of a one-hour video against a one-minute one, all stages",
            "×",
            length,
            Goal("≤", 1.5),
            "480p, the same number of clips",
        ),
        Line(
            "hour_bytes_share",
            "share of a one-hour video's bytes that is read from S3",
            "×",
            share,
            Goal("≤", 0.05),
            f"480p, {hour.stat().st_size / 1e6:.0f} MB, {'own bucket' if bench.s3 else 'moto'}",
        ),
        Line(
            "hour_from_s3_vs_local_cost",
            "CPU of Crop on a one-hour video from S3 against a local file",
            "×",
            ratio,
        ),
    ]


def _stages(
    videos: list[Path], minute: Path, hour: Path, bench: Bench
) -> tuple[list[float], list[float]]:
    """Return decoded ÷ used of each video, and the costs of an hour ÷ those of a minute."""
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.settings import Settings

    stages = Stages(Settings(checkpoint=bench.detector))
    decoded = []
    for path in videos:
        row = stages(of_file(path)).row
        decoded.append(row["n_frames_decoded"] / row["n_frames_used"])
    length = [
        stages(of_file(hour)).total_s / stages(of_file(minute)).total_s
        for _ in range(2 * bench.repeats)
    ]
    return decoded, length


def _ranges(path: Path, prefix: str, bench: Bench) -> tuple[list[float], list[float]]:
    """Return the shares of a video's bytes read from S3, and what that costs Crop."""
    from dfd_batch.benchmark.s3 import put
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.settings import Settings

    stages = Stages(Settings(checkpoint=bench.detector))
    remote, local = put(path, prefix), of_file(path)
    stages(local)
    share, cost = [], []
    for _ in range(bench.repeats):
        there, here = stages(remote), stages(local)
        share.append(there.row["bytes_read"] / path.stat().st_size)
        cost.append(there.crop_s / here.crop_s)
    return share, cost
