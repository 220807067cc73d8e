"""What an evaluation found: one row for each figure of each part, and how it is kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfd_batch import storage as stores
from dfd_batch.evaluation.bootstrap import Estimate
from dfd_batch.evaluation.robustness import Curve
from dfd_batch.settings import Storage


@dataclass(frozen=True)
class Part:
    """What figures were measured on."""

    detector: str
    test: str
    level: str
    """`object`, `frame`, `segment`, `face` (crops of a pool) or `clip` (forged ones of it)."""
    by: str = "all"
    slice: str = "all"
    n_genuine: int = 0
    n_manipulated: int = 0
    n_groups: int = 0


@dataclass(frozen=True)
class Row(Part):
    """One figure of one part; nulls where the data cannot tell."""

    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Detector:
    """Who was evaluated."""

    name: str
    detector_id: str
    checkpoint: str | None
    """None: its reports alone were at hand."""


@dataclass(frozen=True)
class Account:
    """What became of the media of one test set under one detector."""

    detector: str
    test: str
    n_listed: int
    outcomes: dict[str, dict[str, int]]
    """Outcome to `genuine` and `manipulated` objects; they sum to `n_listed`."""


@dataclass(frozen=True)
class Plots:
    """What is drawn of one detector on one test set."""

    detector: str
    test: str
    roc: tuple[list[float], list[float]]
    """False and true positive rates."""
    reliability: tuple[list[float], list[float], list[int]]
    """Mean probability, share of fakes and number of objects of each bin."""
    genuine: list[int]
    """Scores in 20 bins from 0 to 1."""
    manipulated: list[int]


@dataclass(frozen=True)
class CardFigure:
    """A figure that detectors' cards hold, as their trainings measured it."""

    metric: str
    data: str
    values: dict[str, float | None]
    """By detector."""


@dataclass
class Evaluation:
    """Everything that was found; written as JSON, Parquet and a page."""

    command: str
    made_at: str
    package_version: str
    n_draws: int
    detectors: list[Detector]
    tests: list[dict[str, Any]]
    pools: list[dict[str, str]] = field(default_factory=list)
    """Name and folder (`source`) of each pool of faces."""
    accounts: list[Account] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    plots: list[Plots] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    cards: list[CardFigure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, part: Part, estimates: Mapping[str, Estimate]) -> None:
        """Add the figures of a part."""
        for metric, found in estimates.items():
            self.rows.append(Row(**asdict(part), metric=metric, **asdict(found)))

    def find(self, **where: str) -> list[Row]:
        """Return the rows whose named fields have these values."""
        return [r for r in self.rows if all(getattr(r, k) == v for k, v in where.items())]


_TYPES = {"str": pa.string(), "int": pa.int64(), "float | None": pa.float64()}
SCHEMA = pa.schema([(f.name, _TYPES[str(f.type)]) for f in fields(Row)])


def write(
    found: Evaluation, page: str, pictures: Mapping[str, bytes], out: str, storage: Storage
) -> list[str]:
    """Write `evaluation.json`, `.parquet` and `.html` and pictures; return their URIs.

    Args:
        found: Of the evaluation.
        page: HTML.
        pictures: By file name.
        out: Folder of all files.
        storage: How object storage is reached.
    """
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([asdict(row) for row in found.rows], schema=SCHEMA)
    pq.write_table(table, sink, compression="zstd")
    document = json.dumps(asdict(found), indent=1, ensure_ascii=False, allow_nan=False)
    contents = {
        "evaluation.json": document.encode(),
        "evaluation.parquet": sink.getvalue().to_pybytes(),
        "evaluation.html": page.encode(),
        **pictures,
    }
    uris = {name: stores.join(out, name) for name in contents}
    for name, blob in contents.items():
        stores.write_bytes(uris[name], blob, storage)
    return list(uris.values())


def unlike(name: str, taken: Container[str]) -> str:
    """Return a name, numbered where it is taken: figures are told apart by it."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def part_of(
    detector: str,
    test: str,
    level: str,
    labels: Any,
    groups: Any,
    by: str = "all",
    name: str = "all",
) -> Part:
    """Return a part with its media counted."""
    n, n_fake = len(labels), int(np.sum(np.asarray(labels, bool)))
    n_groups = len(set(groups))
    return Part(detector, test, level, by, name, n - n_fake, n_fake, n_groups)
