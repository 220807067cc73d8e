"""What a training computes on, and the processes that make its batches."""

from __future__ import annotations

import torch

from dfd_batch.outcomes import UsageError
from dfd_batch.training.config import TrainConfig, n_cpus
from dfd_batch.training.heap import usual_heap
from dfd_batch.training.interrupt import ignore_interrupts


def device_of(config: TrainConfig) -> torch.device:
    """Return the device to train on.

    Raises:
        UsageError: CUDA is asked for where there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device = 'cuda', but torch sees no GPU here; use 'auto' or 'cpu'.")
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def n_loaders(config: TrainConfig, device: torch.device) -> int:
    """Return how many processes make batches: enough that the network does not wait for them."""
    if config.loaders is not None:
        return config.loaders
    return max(1, n_cpus() - 1 if device.type == "cuda" else n_cpus() // 3)


def start_loader(number: int) -> None:
    """Let a process that makes batches neither end by Ctrl-C nor keep the heap of the steps."""
    ignore_interrupts(number)
    usual_heap()
