"""What machine the figures come from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from dfd_batch import __version__

LIBRARIES = (
    "ray",
    "torch",
    "openvino",
    "av",
    "decord",
    "opencv-python-headless",
    "facenet-pytorch",
)
TELLING_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "avx_vnni",
)


def describe() -> dict[str, Any]:
    """Return the processor, its cores, memory, GPUs, load and the versions of what is measured."""
    return {
        "cpu": _cpu_line("model name") or platform.processor() or platform.machine(),
        "cpu_flags": [f for f in TELLING_FLAGS if f in (_cpu_line("flags") or "").split()],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "dfd_batch": __version__,
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _cpu_line(key: str) -> str | None:
    """Return a value of the first processor in /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
