"""Where, when and by which code a training ran: `run.json`, and the card's hardware and commit."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dfd_batch import __version__
from dfd_batch.outcomes import UsageError
from dfd_batch.training.config import TrainConfig, n_cpus
from dfd_batch.training.precision import settled
from dfd_batch.training.selection import training_pools

PACKAGES = ("torch", "timm", "ray", "numpy", "opencv-python-headless")
RUNS = ("run", "temporal", "synthesis")
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


def _media(work: Path) -> dict[str, str]:
    """Return what names the contents of each pool that is trained on."""
    indexes = {name: work / "pools" / name / "index.parquet" for name in training_pools(work)}
    return {name: sha256(path.read_bytes()).hexdigest()[:12] for name, path in indexes.items()}


def _own_outs(work: Path) -> list[str]:
    """Return where the runs of a work directory have put their checkpoints."""
    outs: list[str] = []
    for path in (work / f"{name}.json" for name in RUNS):
        if path.is_file():
            account = json.loads(path.read_text(encoding="utf-8"))
            # Accounts of before 0.9.1 name the last place alone.
            outs += account.get("outs") or [str(Path(account["config"]["out"]).resolve())]
    return outs


def open_run(config: TrainConfig, hardware: str, name: str = "run") -> None:
    """Write `run.json`, or add a start to it where a run goes on.

    Args:
        config: Of this start.
        hardware: What it computes on.
        name: `temporal` for a temporal part alone, which goes on with whatever fits.

    Raises:
        UsageError: The work directory holds a run with another recipe or on other media, or where
            the checkpoint shall lie is one of another run.
    """
    out = str(config.out.resolve())
    if (config.out / "card.json").is_file() and out not in _own_outs(config.work):
        raise UsageError(
            f"{config.out} holds a detector that was not trained in {config.work}: give another "
            "--out, or remove it."
        )
    path = config.work / f"{name}.json"
    now = config.model_dump(mode="json")
    media = _media(config.work)
    starts: list[Any] = []
    outs = [out]
    goes_on = name != "run" or (config.work / "state.pt").is_file()
    before = json.loads(path.read_text(encoding="utf-8")) if goes_on and path.is_file() else None
    if before is not None:
        starts = before["starts"]
        outs = list(dict.fromkeys([*before.get("outs", []), out]))
    if before is not None and name == "run":
        then, ours = _recipe(before["config"]), _recipe(now)
        changed = [key for key in ours if key in then and then[key] != ours[key]]
        if changed:
            told = "; ".join(f"{key} {then[key]} → {ours[key]}" for key in changed)
            raise UsageError(
                f"{config.work} holds a run with other settings ({told}): give the same ones to "
                "go on, or another --work (its pools may be a link to this one's)."
            )
        then = before.get("media", media)
        if then != media:
            unlike = sorted(k for k in then | media if then.get(k) != media.get(k))
            raise UsageError(
                f"{config.work} holds a run on other media (changed since: pool "
                f"{', '.join(unlike)}): train on these in another --work (its pools may be a link "
                "to this one's), which may begin from the former checkpoint by --init."
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
    account = {"seed": config.seed, "config": now, "outs": outs, "media": media, "starts": starts}
    path.write_text(json.dumps(account, indent=1) + "\n", encoding="utf-8")
