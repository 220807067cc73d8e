"""Stage A on several processes or GPUs by Ray Train; they share the pairs of every step.

The work directory must be one that all nodes reach: each worker reads pools and state from it, the
first one writes. Gradients are averaged over all pairs, so that the number of workers changes the
speed of a run and not its course; statistics of batch norms are those of each worker's own share.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer

from dfd_batch.outcomes import UsageError
from dfd_batch.resources import leave_ray, start_ray
from dfd_batch.training.config import TrainConfig, n_cpus
from dfd_batch.training.devices import n_loaders
from dfd_batch.training.fit import EncoderRun, Listener, Standing
from dfd_batch.training.interrupt import Interrupts

TELL_EVERY_S = 1.0
MOST_FAILURES = 3
"""A lost worker or node: all begin anew from the last state."""


def fit_on_ray(config: TrainConfig, listener: Listener | None, address: str | None) -> bool:
    """Train the frame encoder with `config.workers` workers; return whether it was finished.

    Args:
        config: As for one process.
        listener: Told how far the run is, about every second.
        address: Ray cluster; None: `RAY_ADDRESS`, else a local Ray of this process.

    Raises:
        UsageError: No such cluster, or it has too few CPUs or GPUs.
    """
    own_ray = start_ray(address)
    try:
        gpu = _choose_device(config)
        for name in ("stop", "standing.json"):
            (config.work / name).unlink(missing_ok=True)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"config": _absolute(config).model_dump(mode="json")},
            scaling_config=ray.train.ScalingConfig(num_workers=config.workers, use_gpu=gpu),
            run_config=ray.train.RunConfig(
                name="stage-a",
                storage_path=str(config.work.resolve() / "ray"),
                failure_config=ray.train.FailureConfig(max_failures=MOST_FAILURES),
            ),
        )
        return _watch(trainer, config, listener)
    finally:
        if own_ray:
            leave_ray()


def _absolute(config: TrainConfig) -> TrainConfig:
    """Return the settings with paths that hold wherever Ray lets a worker stand."""
    named = {key: getattr(config, key) for key in ("work", "out", "data", "initial_weights")}
    paths = {k: v.resolve() for k, v in named.items() if isinstance(v, Path)}
    if "initial_weights" in paths and not paths["initial_weights"].exists():
        del paths["initial_weights"]  # the name of a shipped detector
    return config.model_copy(update=paths)


def _choose_device(config: TrainConfig) -> bool:
    """Return whether workers take GPUs."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    n_gpus, n = int(resources.get("GPU", 0)), config.workers
    if config.device == "cuda" or (config.device == "auto" and n_gpus):
        if n_gpus < n:
            raise UsageError(f"{n} workers want a GPU each, Ray reports {n_gpus}.")
        return True
    if resources.get("CPU", 0) < n:
        raise UsageError(f"{n} workers want a CPU each, Ray reports {resources.get('CPU', 0):g}.")
    return False


def _watch(trainer: TorchTrainer, config: TrainConfig, listener: Listener | None) -> bool:
    """Run the trainer beside this thread, which tells the listener and passes on interrupts."""
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            failed.append(error)

    def tell() -> Standing | None:
        path = config.work / "standing.json"
        if not path.is_file():
            return None
        standing = Standing(**json.loads(path.read_text(encoding="utf-8")))
        if listener:
            listener(standing)
        return standing

    thread = threading.Thread(target=fit, daemon=True)
    with Interrupts() as interrupts:
        thread.start()
        while thread.is_alive():
            thread.join(TELL_EVERY_S)
            if interrupts.any:
                (config.work / "stop").touch()
            last = tell()
    if failed:
        raise failed[0]
    # A wish to stop may come too late.
    return not (config.work / "stop").exists() or (last is not None and last.done >= 1)


def _work(given: dict[str, Any]) -> None:
    """Be one of the workers."""
    config = TrainConfig.model_validate(given["config"])
    # What was not set follows this node's processors, shared by the workers on it.
    here = ray.train.get_context().get_local_world_size()
    share = max(1, n_cpus() // here)
    device = ray.train.torch.get_device()
    loaders = config.loaders
    if loaders is None:
        loaders = max(1, n_loaders(config, device) // here)
    threads = min(config.threads, share)
    config = config.model_copy(
        update={"threads": threads, "loaders": loaders, "device": device.type}
    )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    EncoderRun(config, _Teller(config.work / "standing.json")).run(
        stop=(config.work / "stop").exists
    )


class _Teller:
    """Writes how far the run is, now and then, for the process that started it."""

    def __init__(self, path: Path) -> None:
        self._path, self._told_at = path, float("-inf")

    def __call__(self, standing: Standing) -> None:
        """Write it unless that was done just now."""
        if standing.done < 1 and time.monotonic() - self._told_at < TELL_EVERY_S:
            return
        self._told_at = time.monotonic()
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(standing)), encoding="utf-8")
        partial.replace(self._path)
