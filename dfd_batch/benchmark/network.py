"""The networks: CPU inference against eager float32, the GPU against its bare forward."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dfd_batch.benchmark import cpu
from dfd_batch.benchmark.lines import Bench, Goal, Line
from dfd_batch.benchmark.media import Made, make

N_CROPS = 64
NO_GPU = "not measured: no GPU"
BATCHES = (64, 128, 256, 512, 1024)
"""Of the bare forward on a GPU, of which the best counts."""


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the networks."""
    video = make(Made(10, 1080, "h264", 250), bench.work / "media")
    ratios, differences, frame_ms, n_frames = cpu.apart(_cpu, str(video), bench)
    eager = "the same frame encoder, float32, as PyTorch runs it, one thread"
    lines = [
        Line(
            "cpu_inference_vs_eager_float32",
            "CPU inference against eager float32",
            "×",
            ratios,
            Goal("≥", 3),
            eager,
        ),
        Line(
            "cpu_probability_difference",
            "largest difference of a crop's probability to eager float32",
            "",
            differences,
            Goal("≤", 0.01),
            f"{N_CROPS} crops",
        ),
        Line("cpu_inference_ms_per_frame", "CPU inference of a frame, one core", "ms", frame_ms),
        Line("frames_per_object", "face crops of a video at standard coverage", "", [n_frames]),
    ]
    return lines + _gpu_lines(cpu.apart(_gpu, str(video), bench))


def crops_of(video: str, detector: str) -> NDArray[np.uint8]:
    """Return face crops (K, S, S, 3) of a video."""
    from dfd_batch import checkpoint as checkpoints
    from dfd_batch.decode.media import decode
    from dfd_batch.faces.cropper import FaceCropper
    from dfd_batch.schema import Clip, Probe
    from dfd_batch.settings import Faces, Limits, Sampling

    cropper = FaceCropper(Faces(), checkpoints.load_card(detector).preprocessing)
    found = None
    for item in decode(video, Sampling(), Limits()):
        if isinstance(item, Probe):
            found = cropper.start(item)
        elif isinstance(item, Clip) and found is not None:
            found.add(item)
    assert found is not None  # noqa: S101 - decoding without a probe raises
    return found.finish().crops


def _cpu(video: str, bench: Bench) -> tuple[list[float], list[float], list[float], float]:
    import torch

    from dfd_batch import checkpoint as checkpoints
    from dfd_batch.benchmark.eager import EagerEncoder
    from dfd_batch.features.cnn import Embedder

    found = crops_of(video, bench.detector)
    crops = found[:N_CROPS]
    torch.set_num_threads(1)
    eager = EagerEncoder(bench.detector)
    ours = Embedder(checkpoints.load(bench.detector), "cpu")
    plain, (_, logits) = eager(crops), ours(crops)
    difference = np.abs(_probability(plain) - _probability(logits)).max()
    ratios, frame_ms = [], []
    for _ in range(bench.repeats):
        eager_s, ours_s = _cpu_s(lambda: eager(crops)), _cpu_s(lambda: ours(crops))
        ratios.append(eager_s / ours_s)
        frame_ms.append(1000 * ours_s / len(crops))
    return ratios, [float(difference)], frame_ms, float(len(found))


def _probability(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _cpu_s(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _gpu_lines(found: dict[str, list[float]] | None) -> list[Line]:
    measured = found or {}
    note = "" if found else NO_GPU
    return [
        Line(
            "gpu_embed_vs_bare",
            "Embed's frames per second on a GPU against the bare bf16 forward",
            "×",
            measured.get("ratio", []),
            Goal("≥", 0.8),
            note or "at the bare forward's best batch size",
        ),
        Line(
            "gpu_frames_per_second",
            "Embed on a GPU",
            "frames/s",
            measured.get("rate", []),
            None,
            note,
        ),
        Line(
            "gpu_memory_mb", "device memory of Embed", "MB", measured.get("memory", []), None, note
        ),
        Line(
            "crop_cores_per_gpu",
            "CPU cores of Crop that feed one GPU",
            "cores",
            measured.get("cores", []),
            None,
            note or "1080p",
        ),
    ]


def _gpu(video: str, bench: Bench) -> dict[str, list[float]] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    from dfd_batch import checkpoint as checkpoints
    from dfd_batch.benchmark.stage_costs import Stages
    from dfd_batch.catalog.objects import of_file
    from dfd_batch.features.cnn import Embedder, network
    from dfd_batch.settings import Settings
    from dfd_batch.stages import MICRO_BATCH
    from dfd_batch.storage import local_path

    checkpoint = checkpoints.load(bench.detector)
    one = crops_of(video, bench.detector)[:N_CROPS]
    many = np.concatenate([one] * (4096 // len(one)))
    bare = network(checkpoint).cuda().to(memory_format=torch.channels_last)
    ours = Embedder(checkpoint, "cuda", MICRO_BATCH["cuda"])
    stages = Stages(Settings(checkpoint=bench.detector))
    item = of_file(local_path(video))
    stages(item)
    found: dict[str, list[float]] = {"ratio": [], "rate": [], "memory": [], "cores": []}
    for _ in range(bench.repeats + 1):  # the first warms up
        best = max(_bare_rate(bare, checkpoint.card.preprocessing.crop_size, n) for n in BATCHES)
        torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        ours(many)
        rate = len(many) / (time.perf_counter() - started)
        cost = stages(item)
        found["ratio"].append(rate / best)
        found["rate"].append(rate)
        found["memory"].append(torch.cuda.max_memory_allocated() / 2**20)
        found["cores"].append(rate * cost.crop_s / cost.row["n_frames_scored"])
    return {key: values[1:] for key, values in found.items()}


def _bare_rate(network: object, size: int, batch: int) -> float:
    """Return frames per second of the forward pass on tensors that lie on the device."""
    import torch

    x = torch.randn(batch, 3, size, size, device="cuda").to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        for timed in (False, True):
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(max(2, 8192 // batch) if timed else 2):
                network(x)  # type: ignore[operator]
            torch.cuda.synchronize()
    return max(2, 8192 // batch) * batch / (time.perf_counter() - started)
