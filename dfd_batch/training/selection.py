"""Which faces of the prepared pools a run learns from, and which it may be measured on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfd_batch.outcomes import UsageError
from dfd_batch.training import pools
from dfd_batch.training.config import TrainConfig
from dfd_batch.training.pools import Pool

Rows = NDArray[np.int64]

DEVELOPMENT = ("dfdc_dev", "looks")
"""Pools that training never opens."""


def training_pools(work: Path) -> dict[str, Pool]:
    """Return the prepared pools of a work directory that training may open, by name.

    Those are neither the development pools nor pools of a test split.
    """
    found = sorted(path.parent for path in (work / "pools").glob("*/index.parquet"))
    opened = {path.name: pools.read(path) for path in found if path.name not in DEVELOPMENT}
    return {name: pool for name, pool in opened.items() if set(pool.splits) != {"test"}}


def check_margin(config: TrainConfig) -> None:
    """Refuse pools whose faces were prepared with another margin than scans will cut.

    Raises:
        UsageError: There are such.
    """
    wanted = config.preprocessing.margin
    for name, pool in training_pools(config.work).items():
        if pool.margin is not None and pool.margin != wanted:
            raise UsageError(
                f"The faces of {config.work / 'pools' / name} have a margin of {pool.margin:g} "
                f"face sizes, the detector would crop by {wanted:g}: set preprocessing.margin = "
                f"{pool.margin:g}, or prepare them anew in another --work."
            )


def used_rows(config: TrainConfig) -> dict[str, tuple[Pool, Rows]]:
    """Return each training pool with the rows that a run of these settings may use."""
    return {
        name: (pool, used_of(name, pool, config))
        for name, pool in training_pools(config.work).items()
    }


def measured_rows(name: str, pool: Pool, label: int) -> Rows:
    """Return the rows of one label that no training sees.

    All of a development pool, none of a pool that is trained on whole, else the held-out ones.

    Args:
        name: Of the pool.
        pool: Its faces.
        label: 1 = manipulated.
    """
    if name in DEVELOPMENT:
        return np.flatnonzero(pool.labels == label)
    return np.empty(0, np.int64) if _is_whole(name) else pool.rows(label, True)


def _is_whole(name: str) -> bool:
    """Return whether a pool is trained on whole: its development part is a pool of its own."""
    return f"{name}_dev" in DEVELOPMENT


def used_of(name: str, pool: Pool, config: TrainConfig) -> Rows:
    """Return the rows of a training pool that a run of these settings may use, in order."""
    whole = _is_whole(name)
    rows = np.concatenate(
        [
            np.flatnonzero(pool.labels == label) if whole else pool.rows(label, False)
            for label in (0, 1)
        ]
    )
    if not (config.labelled_share or config.generated_share):
        rows = rows[pool.labels[rows] == 0]
    if config.licences:
        rows = rows[[config.allows(pool.licences[i]) for i in rows]]
    return np.sort(rows)


def beside_strangers(pool: Pool, rows: Rows, alone: Sequence[int]) -> list[tuple[int, int]]:
    """Return (genuine row, fake row) of swapped faces without their source: somebody else's face.

    Args:
        pool: Of the fakes.
        rows: Faces of it that may be used.
        alone: Fakes without a source, as `pairs_of` finds them.
    """
    genuine = rows[pool.labels[rows] == 0]
    swapped = [i for i in alone if pool.swapped[i]]
    if not len(genuine):
        return []
    drawn = np.random.default_rng(len(genuine)).integers(len(genuine), size=len(swapped))
    return [(int(genuine[k]), i) for k, i in zip(drawn, swapped, strict=True)]


def _medium_and_face(file: str) -> tuple[str, str]:
    """Return a face's medium, and what tells it from the first person in that."""
    medium, mark, number = file.rpartition("#face")
    return (medium, number) if mark and number.isdigit() else (file, "")


def pairs_of(pool: Pool, rows: Rows) -> tuple[list[tuple[int, int]], list[int]]:
    """Return (genuine row, fake row) of each fake with a genuine face in its group, and the rest.

    A fake whose genuine faces are in the pool, but not among the rows, is in neither: it is no
    wholly generated one.

    Of several genuine faces in a group, one of the very medium that the fake was made from is
    taken, if it is known and there, and of those the one of the nearest frame, of several people in
    that the one of the same number.
    """
    genuine: dict[str, list[int]] = defaultdict(list)
    for i in rows[pool.labels[rows] == 0]:
        genuine[pool.groups[i]].append(int(i))
    swapped = {pool.groups[i] for i in np.flatnonzero(pool.labels == 0)}
    pairs, alone = [], []
    for i in rows[pool.labels[rows] == 1]:
        peers = genuine.get(pool.groups[i])
        if peers:
            own = [j for j in peers if _medium_and_face(pool.files[j])[0] == pool.pairs[i]]
            face = _medium_and_face(pool.files[i])[1]

            def unlike(j: int, i: int = i, face: str = face) -> tuple[int, bool]:
                apart = abs(int(pool.frames[j]) - int(pool.frames[i]))
                return apart, _medium_and_face(pool.files[j])[1] != face

            pairs.append((min(own or peers, key=unlike), int(i)))
        elif pool.groups[i] not in swapped:
            alone.append(int(i))
    return pairs, alone
