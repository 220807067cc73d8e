"""Pairs that take long to make, kept on disk as far as they are made.

Of a stem, `.f16` holds the values of pair after pair and `.pairs.npz` all else that is known of
them, and with that how many are whole. They are read into one array each: thousands of small ones
that stay would leave the heap full of holes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfd_batch.training.progress import told

EVERY = 100
"""Pairs after which making would go on."""

Halves = NDArray[np.float16]
Known = dict[str, NDArray[Any]]
Pair = tuple[Halves, dict[str, Any]]
"""Values, of the same shape for each pair, and what else is known of it, under the same names."""


def kept_pairs(
    stem: Path, n_pairs: int, make: Callable[[range], Iterable[Pair]], what: str
) -> tuple[Halves, Known]:
    """Return the values (n_pairs, …) of the first pairs and what else is known (n_pairs, …).

    Args:
        stem: Of the two files, named after all that the pairs depend on.
        n_pairs: At least one.
        make: Yields the pairs of some numbers, in order.
        what: They are, in the plural.
    """
    values, rest = (stem.with_name(stem.name + suffix) for suffix in (".f16", ".pairs.npz"))
    known, shape = _read(values, rest)
    n_known = len(next(iter(known.values()), ()))
    if n_known < n_pairs:
        numbers = range(n_known, n_pairs)
        with values.open("r+b" if n_known else "wb") as file:
            file.truncate(n_known * 2 * math.prod(shape))  # what an end in the middle left
            file.seek(0, os.SEEK_END)
            work = zip(numbers, make(numbers), strict=True)
            for number, (array, record) in told(work, what, n_pairs, n_known):
                shape = array.shape
                file.write(np.ascontiguousarray(array, np.float16).data)
                for name, value in record.items():
                    known.setdefault(name, []).append(value)
                if number % EVERY == EVERY - 1 or number + 1 == n_pairs:
                    file.flush()
                    partial = rest.with_suffix(".partial.npz")
                    arrays: dict[str, Any] = {k: _array(v) for k, v in known.items()}
                    np.savez(partial, shape=np.array(shape), **arrays)
                    partial.replace(rest)
    every = np.fromfile(values, np.float16, n_pairs * math.prod(shape))
    return every.reshape(n_pairs, *shape), {k: _array(v[:n_pairs]) for k, v in known.items()}


def _read(values: Path, rest: Path) -> tuple[dict[str, list[Any]], tuple[int, ...]]:
    """Return what is known of the pairs that are whole, and the shape of one's values."""
    if not (rest.is_file() and values.is_file()):
        return {}, ()
    with np.load(rest) as kept:
        shape = tuple(kept["shape"].tolist())
        known = {name: list(kept[name]) for name in kept.files if name != "shape"}
    whole = values.stat().st_size // (2 * math.prod(shape))
    return {name: told[:whole] for name, told in known.items()}, shape


def _array(told: list[Any]) -> NDArray[Any]:
    return np.stack(told) if isinstance(told[0], np.ndarray) else np.array(told)
