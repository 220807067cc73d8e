"""`dfd info`: versions, machine and detectors, for a person or a bug report."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer
from rich.console import Console

from dfd_batch import __version__
from dfd_batch import checkpoint as checkpoints
from dfd_batch.console.scan import say
from dfd_batch.console.text import size, to_json
from dfd_batch.settings import Settings

PACKAGES = ("ray", "torch", "torchvision", "timm", "av", "pyarrow", "numpy")


def run(settings: Settings, as_json: bool) -> None:
    """Print versions, machine and detectors."""
    account: dict[str, Any] = {
        "versions": _versions(),
        "machine": _machine(),
        "detectors": [_detector(name, settings) for name in _names(settings)],
    }
    if as_json:
        typer.echo(to_json(account))
        return
    console = Console()
    told = ", ".join(f"{name} {number}" for name, number in account["versions"].items())
    say(console, f"versions  {told}")
    machine = account["machine"]
    gpus = ", ".join(machine["gpus"]) or "none"
    say(
        console,
        f"machine   {machine['n_cpus']} CPUs, {size(machine['memory_bytes'])} memory, GPU: {gpus}",
    )
    for detector in account["detectors"]:
        for line in _lines(detector):
            say(console, line)
    if not account["detectors"]:
        say(console, "detector  none shipped; give scans --checkpoint FOLDER")


def _versions() -> dict[str, str]:
    import av

    found = {"dfd-batch": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    numbers = av.library_versions["libavcodec"]
    return found | {"libavcodec": ".".join(str(part) for part in numbers)}


def _machine() -> dict[str, Any]:
    import psutil
    import torch

    return {
        "platform": platform.platform(),
        "n_cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _names(settings: Settings) -> list[str]:
    """Return the detector that a scan would use, then the other shipped ones."""
    shipped = sorted(path.parent.name for path in checkpoints.SHIPPED.glob("*/card.json"))
    chosen = [settings.checkpoint]
    if settings.checkpoint == "default" and "default" not in shipped:
        chosen = []
    return list(dict.fromkeys([*chosen, *shipped]))


def _detector(name: str, settings: Settings) -> dict[str, Any]:
    card = checkpoints.load_card(name)
    return {
        "checkpoint": name,
        "name": card.name,
        "version": card.version,
        "provisional": card.provisional,
        "description": card.description,
        "detector_id": checkpoints.detector_id(card, *settings.judging),
        "weights_sha256": card.weights_sha256,
        "architecture": card.architecture.model_dump(mode="json"),
        "thresholds": card.thresholds.model_dump(mode="json"),
        "metrics": [metric.model_dump(mode="json") for metric in card.metrics],
        "limitations": list(card.limitations),
    }


def _lines(detector: dict[str, Any]) -> list[str]:
    """Return a detector in lines of text."""
    state = " (provisional)" if detector["provisional"] else ""
    shape = detector["architecture"]
    bands = ", ".join(f"{band} from {p:.2f}" for band, p in detector["thresholds"].items())
    lines = [
        f"detector  {detector['checkpoint']}: {detector['name']} {detector['version']}{state}",
        f"          {detector['description']}",
        f"          id {detector['detector_id']}, sha256 {detector['weights_sha256'][:16]}…",
        f"          {shape['encoder']}, {shape['temporal']} {shape['hidden']}, {shape['output']}",
        f"          {bands}",
    ]
    for metric in detector["metrics"]:
        known = metric["low"] is not None and metric["high"] is not None
        interval = f" [{metric['low']:.3f}, {metric['high']:.3f}]" if known else ""
        told = f"{metric['name']} {metric['value']:.3f}{interval} on {metric['data']}"
        lines.append(f"          {told} (n = {metric['n']:,})")
    return lines + [f"          limit: {limit}" for limit in detector["limitations"]]
