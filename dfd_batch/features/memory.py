"""Going on where a device's memory does not hold a whole micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Tensors = tuple[Tensor, ...]


def in_halves(forward: Callable[[NDArray[Any]], Tensors], batch: NDArray[Any]) -> Tensors:
    """Return `forward(batch)`, computed in ever smaller halves where memory runs out.

    Args:
        forward: Gives tensors with a row per row of its argument, each row for itself.
        batch: (N, …), N >= 1.

    Raises:
        torch.OutOfMemoryError: Not even one row fits.
    """
    try:
        return forward(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # outside of the handler: the exception's traceback held the tensors of the attempt
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    parts = [in_halves(forward, half) for half in (batch[:middle], batch[middle:])]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
