"""Work that processes beside the training do ahead of it, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from dfd_batch.training.interrupt import ignore_interrupts

T = TypeVar("T")
PREFETCH = 4
"""Results that each process keeps ready."""


class _Made(Dataset[T], Generic[T]):
    def __init__(self, make: Callable[[int], T], numbers: range) -> None:
        self._make, self._numbers = make, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> T:
        return self._make(self._numbers[place])


def made(make: Callable[[int], T], numbers: range, processes: int) -> Iterator[T]:
    """Yield `make(number)` of each number, in order, made by so many processes.

    Args:
        make: Depends on nothing but its number, so that it does not matter who makes what.
        numbers: To be made.
        processes: 0 makes everything here.
    """
    yield from DataLoader(
        _Made(make, numbers),
        batch_size=None,
        num_workers=processes,
        collate_fn=_as_it_is,
        prefetch_factor=PREFETCH if processes else None,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # or it would draw from the one that weights are drawn from
    )


def _as_it_is(item: T) -> T:
    return item
