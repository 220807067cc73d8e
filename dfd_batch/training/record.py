"""Where, when and by which code a training ran: `run.json`, and the card's hardware and commit."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dfd_batch import __version__
from dfd_batch.outcomes import UsageError
from dfd_batch.training.config import TrainConfig, n_cpus
from dfd_batch.training.precision import settled

PACKAGES = ("torch", "timm", "ray", "numpy", "opencv-python-headless")
RECIPE = {
    *("seed", "initial_weights", "preprocessing", "licences", "without", "batch_pairs"),
    *("labelled_share", "generated_share", "learning_rate", "warmup_images", "weight_decay"),
    *("label_smoothing", "pair_weight", "dropout", "drop_path", "ema_decay", "optimizer"),
    *("sam_rho", "start_share", "adversarial_share", "adversarial_eps"),
}
"""Settings that the state of a run hangs on, beside its encoder; others may change on the way."""


def git_commit() -> str:
    """Return the commit of this code, `-dirty` when changed since; empty outside a checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # else the repository is the user's own
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(here.parents[1]))
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def hardware(config: TrainConfig, device: torch.device) -> str:
    """Return what a run computes on, e.g. `2 CPU cores (AMD EPYC), bf16`."""
    if device.type == "cuda":
        what = f"{config.workers} GPU ({torch.cuda.get_device_name(device)})"
    else:
        what = f"{config.workers * config.threads} of {n_cpus()} CPU cores ({_cpu_name()})"
    return f"{what}, {settled(config.precision, device.type)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # training on one machine needs no Ray
        return "not installed"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _recipe(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key in RECIPE}
    return kept | {"encoder": config["architecture"]["encoder"]}


def open_run(config: TrainConfig, hardware: str, name: str = "run") -> None:
    """Write `run.json`, or add a start to it where a run goes on.

    Args:
        config: Of this start.
        hardware: What it computes on.
        name: `temporal` for a temporal part alone, which goes on with whatever fits.

    Raises:
        UsageError: The work directory holds a run with another recipe.
    """
    path = config.work / f"{name}.json"
    now = config.model_dump(mode="json")
    starts: list[Any] = []
    goes_on = name != "run" or (config.work / "state.pt").is_file()
    before = json.loads(path.read_text(encoding="utf-8")) if goes_on and path.is_file() else None
    if before is not None:
        starts = before["starts"]
    if before is not None and name == "run":
        then, ours = _recipe(before["config"]), _recipe(now)
        changed = [key for key in ours if key in then and then[key] != ours[key]]
        if changed:
            told = "; ".join(f"{key} {then[key]} → {ours[key]}" for key in changed)
            raise UsageError(
                f"{config.work} holds a run with other settings ({told}): give the same ones to "
                "go on, or another --work (its pools may be a link to this one's)."
            )
    starts.append(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": config.command,
            "git_commit": git_commit(),
            "machine": {"node": platform.platform(), "hardware": hardware},
            "versions": {"dfd-batch": __version__, "python": platform.python_version()}
            | {name: _version(name) for name in PACKAGES},
        }
    )
    account = {"seed": config.seed, "config": now, "starts": starts}
    path.write_text(json.dumps(account, indent=1) + "\n", encoding="utf-8")
