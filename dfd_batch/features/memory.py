"""Going on where a device's memory does not hold a whole micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Tensors = tuple[Tensor, ...]
OF_A_CPU = ("can't allocate memory", "bad_alloc", "not enough memory")
"""What plain RuntimeErrors say where a processor's memory is used up (PyTorch, OpenVINO)."""


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that a device's memory is used up."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OF_A_CPU)


def in_halves(forward: Callable[[NDArray[Any]], Tensors], batch: NDArray[Any]) -> Tensors:
    """Return `forward(batch)`, computed in ever smaller halves where memory runs out.

    Args:
        forward: Gives tensors with a row per row of its argument, each row for itself.
        batch: (N, …), N >= 1.

    Raises:
        RuntimeError: Not even one row fits (`out_of_memory` tells), or something else is wrong.
    """
    try:
        return forward(batch)
    except (RuntimeError, MemoryError) as error:
        if len(batch) == 1 or not out_of_memory(error):
            raise
    # outside of the handler: the exception's traceback held the tensors of the attempt
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    parts = [in_halves(forward, half) for half in (batch[:middle], batch[middle:])]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
