"""Consecutive frames in the prepared pools, whatever the pools are called."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dfd_batch.training import pools
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Pool
from dfd_batch.training.selection import DEVELOPMENT, training_pools, used_rows


def has_clips(config: TrainConfig) -> bool:
    """Return whether there are consecutive frames that a temporal head can be trained on."""
    return any(
        len(starts(pool, rows[pool.labels[rows] == 0], config.clip_frames))
        for pool, rows in media(config, False)
    )


def media(config: TrainConfig, held_out: bool) -> Iterator[tuple[Pool, NDArray[np.int64]]]:
    """Yield each pool with the rows that may be used for training, or for measuring."""
    if not held_out:
        yield from used_rows(config).values()
        return
    for name, pool in training_pools(config.work).items():
        development = f"{name}_dev"
        if development in DEVELOPMENT:  # trained on whole: measured in a pool of its own
            directory = config.work / "pools" / development
            if not (directory / "index.parquet").is_file():
                continue
            apart = pools.read(directory)
            yield apart, _allowed(apart, np.arange(len(apart)), config)
        else:
            rows = np.sort(np.concatenate([pool.rows(0, True), pool.rows(1, True)]))
            yield pool, _allowed(pool, rows, config)


def _allowed(pool: Pool, rows: NDArray[np.int64], config: TrainConfig) -> NDArray[np.int64]:
    return np.array([i for i in rows if config.allows(pool.licences[i])], np.int64)


def run(pool: Pool, row: int, most: int) -> tuple[int, int]:
    """Return [low, high) the consecutive frames with a row's label around it, `most` either way."""
    low, high = row, row + 1
    while low > max(0, row - most) and _follows(pool, low):
        low -= 1
    while high < min(len(pool), row + most) and _follows(pool, high):
        high += 1
    return low, high


def _follows(pool: Pool, row: int) -> bool:
    """Return whether a row shows the frame after its predecessor's, labelled alike."""
    same = pool.files[row] == pool.files[row - 1]
    same = same and bool(pool.labels[row] == pool.labels[row - 1])
    return same and int(pool.frames[row]) == int(pool.frames[row - 1]) + 1


def starts(pool: Pool, rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return those rows from which n consecutive genuine frames of one file follow."""
    good = [i for i in rows.tolist() if follow(pool, i, n) and not pool.labels[i : i + n].any()]
    return np.array(good, np.int64)


def follow(pool: Pool, row: int, n: int) -> bool:
    """Return whether n consecutive frames of one file begin at a row, however labelled."""
    last = row + n - 1
    return (
        last < len(pool)
        and pool.files[row] == pool.files[last]
        and int(pool.frames[last] - pool.frames[row]) == n - 1
    )
