"""The limits: what the parts cost alone, so that one sees how far a stage is from the possible."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import STANDARD_CROPS, Bench, Line
from dfd_batch.benchmark.media import Made, make

BLOB_BYTES = STANDARD_CROPS * 192 * 192 * 3


def measure(bench: Bench) -> list[Line]:
    """Return each stage against its limit, and the bandwidths of what carries the data."""
    folder = bench.work / "media"
    video = make(Made(60, 1080, "h264", 250), folder)
    decode, embed = cpu.apart(_stages, video, bench)
    told = "1080p, 60 s, standard coverage"
    return [
        Line(
            "decode_vs_bare",
            "CPU of the contained decoder against decoding only the frames used",
            "×",
            decode,
            None,
            f"{told}; colours and containment are the rest",
        ),
        Line(
            "embed_vs_bare",
            "CPU of Embed against the frame encoder's bare forward on ready tensors",
            "×",
            embed,
            None,
            f"{told}; flow and motion features are the rest",
        ),
        Line(
            "object_store_mb_per_s",
            "object store, put and get of an object's crops",
            "MB/s",
            cpu.apart(_object_store, bench.repeats),
        ),
        Line(
            "storage_mb_per_s",
            "storage's bare read of a local file in the page cache",
            "MB/s",
            [_read_rate(video) for _ in range(bench.repeats)],
        ),
    ]


def _stages(video: Path, bench: Bench) -> tuple[list[float], list[float]]:
    import torch

    from dfd_batch import checkpoint as checkpoints
    from dfd_batch.benchmark.network import crops_of
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.features.cnn import network, normalise
    from dfd_batch.inference import CpuNetwork
    from dfd_batch.settings import Settings

    torch.set_num_threads(1)
    stages = Stages(Settings(checkpoint=bench.detector))
    checkpoint = checkpoints.load(bench.detector)
    size = checkpoint.card.preprocessing.crop_size
    bare = CpuNetwork(network(checkpoint), torch.zeros(1, 3, size, size))
    crops = torch.tensor(crops_of(str(video), bench.detector))
    ready = normalise(crops, checkpoint.card.preprocessing).contiguous()
    item = of_file(video)
    stages(item)
    decode, embed = [], []
    for _ in range(2 * bench.repeats):
        cost = stages(item)
        decode.append(cost.decode_s / _bare_decode_s(video))
        started = time.process_time()
        bare(ready)
        embed.append(cost.embed_s / (time.process_time() - started))
    return decode, embed


def _bare_decode_s(video: Path) -> float:
    """Return CPU seconds of decoding the clips' frames, one after the other, and nothing else."""
    import av

    from dfd_batch.decode.sampling import place_clips
    from dfd_batch.decode.timeline import read_timeline
    from dfd_batch.settings import Limits, Sampling

    started = time.process_time()
    sampling = Sampling()
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        timeline = read_timeline(container, stream)
        keys = [time_s for time_s, _ in timeline.keys]
        for run in place_clips(keys, timeline.duration_s, timeline.fps, sampling, Limits()):
            container.seek(round(run.start_s / float(stream.time_base or 1)), stream=stream)
            frames = container.decode(stream)
            for _ in range(run.n_clips * sampling.frames_per_clip):
                next(frames)
    return time.process_time() - started


def _object_store(repeats: int) -> list[float]:
    import ray

    from dfd_batch.resources import start_ray

    start_ray(None)
    blob, n = np.random.default_rng(0).integers(0, 256, BLOB_BYTES, np.uint8), 20
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(n):
            np.array(ray.get(ray.put(blob)))  # a copy, or nothing would be read
        rates.append(n * BLOB_BYTES / 1e6 / (time.perf_counter() - started))
    ray.shutdown()
    return rates


def _read_rate(path: Path) -> float:
    started = time.perf_counter()
    n_bytes = len(path.read_bytes())
    return n_bytes / 1e6 / (time.perf_counter() - started)
