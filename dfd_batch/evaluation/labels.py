"""Labelled test media: a data set by its layout, or a CSV, JSONL or Parquet list of labels."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.storage.tables import require_plain
from dfd_batch.training import sources, splits
from dfd_batch.training.sources import Sample

SUFFIXES = (".csv", ".jsonl", ".parquet")
NAMES = {"uri": ("uri", "file", "path"), "label": ("label",)}
OPTIONAL = ("group", "method", "split", "licence", "segments")
SPLITS = ("train", "val", "test")
LABELS = {"0": 0, "1": 1, "real": 0, "genuine": 0, "fake": 1, "manipulated": 1}
PARENTS = 2
"""Relative paths of a list are looked for beside it, then in so many folders above …"""
LOOKED_FOR = 100
"""… by so many of them: the first ones may be missing."""

Record = dict[str, Any]


@dataclass(frozen=True)
class TestSet:
    """Labelled media under one name."""

    __test__ = False  # no test case of pytest's

    name: str
    source: str
    samples: tuple[Sample, ...]

    @property
    def splits(self) -> dict[str, int]:
        """Return how many media are of each split; those of none are not counted."""
        counted = Counter(s.split for s in self.samples if s.split)
        known = [name for name in SPLITS if name in counted]
        return {name: counted[name] for name in [*known, *sorted(counted.keys() - known)]}

    @property
    def flattered(self) -> str | None:
        """Return in a sentence why figures may flatter: media of training among these; or None."""
        if len(self.splits) < 2 and "train" not in self.splits:
            return None
        told = ", ".join(f"{name} ({n:,})" for name, n in self.splits.items())
        apart = next((name for name in reversed(SPLITS[1:]) if name in self.splits), None)
        advice = f"; --split {apart} judges only what is kept apart" if apart else ""
        return (
            f"{self.name} holds media of the splits {told}, its own or as `dfd prepare` makes "
            f"them: media that a detector was trained on flatter it{advice}."
        )


def read(
    source: str,
    storage: Storage,
    layout: str | None = None,
    split: str | None = None,
    by: Iterable[str] = (),
) -> TestSet:
    """Return the labelled media of a source, URIs as a scan writes them.

    Media of a data set have the splits that `dfd prepare` gives them, or none where it leaves them
    out.

    Args:
        source: Root of a data set, or a list with the columns `uri` (or `file`) and `label`, and
            maybe `group`, `method`, `split`, `licence`, `segments` (JSON, [[start, end], …] in s).
        storage: How object storage is reached.
        layout: Of `training.sources.LAYOUTS`; guessed when None.
        split: Only these media.
        by: Further columns of a list to slice by; a data set is sliced by all that it tells.

    Raises:
        UsageError: The source cannot be read or scanned, lacks a column, names an object twice
            with different labels, or nothing is left.
    """
    place = source if stores.is_s3(source) else stores.local_uri(stores.local_path(source))
    name = place.rstrip("/").rpartition("/")[2]  # "." has none
    if source.lower().endswith(SUFFIXES):
        samples = _listed(source, storage, tuple(by))
        name = name.rpartition(".")[0]
    else:
        samples = list(sources.read(source, layout, storage).samples)
        if any(sample.cropped for sample in samples):
            raise UsageError(
                f"{source} holds face crops, which cannot be scanned: `dfd prepare` them and give "
                "the pool of their test split (WORK/pools/NAME_test) to --faces."
            )
        prepared = {sample.uri: sample.split for sample in splits.assign(samples)[0]}
        samples = [replace(s, split=prepared.get(s.uri, "")) for s in samples]
        _require(by, sorted({name for s in samples for name in s.attributes}), source)
    if split is not None:
        known = sorted({s.split for s in samples} - {""})
        samples = [s for s in samples if s.split == split]
        if not samples:
            told = ", ".join(known) or "none"
            raise UsageError(f"{source} holds nothing of split {split!r}; its splits: {told}.")
    if not samples:
        raise UsageError(f"{source} names no labelled media.")
    return TestSet(_valid(name), _valid(source), _distinct(source, samples))


def _distinct(source: str, samples: list[Sample]) -> tuple[Sample, ...]:
    kept: dict[str, Sample] = {}
    for sample in samples:
        uri = sample.uri
        if not stores.is_s3(uri):
            uri = stores.local_uri(stores.local_path(uri))
        told = replace(
            sample,
            uri=uri,
            method=_valid(sample.method),
            attributes={_valid(k): _valid(v) for k, v in sample.attributes.items()},
        )
        if kept.setdefault(uri, told).label != sample.label:
            raise UsageError(f"{source} labels {uri} both genuine and manipulated.")
    return tuple(kept.values())


def _listed(source: str, storage: Storage, by: tuple[str, ...]) -> list[Sample]:
    records = _records(source, stores.read_bytes(source, storage))
    if not records:
        return []
    # None: fields beyond a CSV's head
    told = [name for name in dict.fromkeys(itertools.chain(*records)) if name is not None]
    _require(by, told, source)
    columns = {}
    for what, names in NAMES.items():
        found = next((name for name in names if name in told), None)
        if found is None:
            raise UsageError(
                f"{source} has no column `{' or '.join(names)}`; it has {', '.join(told)}."
            )
        columns[what] = found
    folder = _folder(source, [_told(r, columns["uri"]) for r in records])
    samples = []
    for number, record in enumerate(records, start=1):
        try:
            samples.append(_sample(record, columns, folder, by))
        except (ValueError, TypeError) as error:
            raise UsageError(f"{source}, record {number}: {error}.") from None
    return samples


def _require(by: Iterable[str], told: list[str], source: str) -> None:
    """Refuse to slice by what a source says nothing of."""
    for column in by:
        if column not in told:
            has = ", ".join(told) or "none"
            raise UsageError(f"{source} has no column {column!r}; it has {has}.")


def _records(source: str, blob: bytes) -> list[Record]:
    try:
        if source.lower().endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(blob))
            require_plain(table.schema, source)
            return list(table.to_pylist())
        text = blob.decode("utf-8-sig")
        if source.lower().endswith(".jsonl"):
            return [dict(json.loads(line)) for line in text.split("\n") if line.strip()]
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except (pa.ArrowException, OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"{source} cannot be read as a list of labels: {error}.") from None


def _sample(record: Record, columns: dict[str, str], folder: str, by: tuple[str, ...]) -> Sample:
    uri = _told(record, columns["uri"])
    if not uri:
        raise ValueError("it names no file")
    if not _is_absolute(uri):
        uri = stores.join(folder, uri)
    word = _told(record, columns["label"]).strip().lower()
    if word not in LABELS:
        raise ValueError(f"label {word!r} is none of {', '.join(LABELS)}")
    label = LABELS[word]
    told = {name: _told(record, name) for name in OPTIONAL}
    segments = _segments(record.get("segments"))
    if segments and not label:
        raise ValueError("`segments` are manipulated stretches, but its label is genuine")
    return Sample(
        uri,
        label,
        told["group"] or uri,
        method=told["method"] if label else "",
        split=told["split"],
        segments=segments,
        attributes={name: _told(record, name) for name in by},
        licence=told["licence"],
    )


def _told(record: Record, name: str) -> str:
    """Return what a record says under a name; 0 and False are something, no value is nothing."""
    value = record.get(name)
    return "" if value is None else str(value)


def _valid(text: str) -> str:
    """Return a text as it can be written: names of files need not be UTF-8."""
    return text.encode(errors="replace").decode()


def _segments(told: Any) -> tuple[tuple[float, float], ...]:
    try:
        pairs = json.loads(told) if isinstance(told, str) and told.strip() else told or ()
        found = tuple((float(start), float(end)) for start, end in pairs)
    except (ValueError, TypeError):
        found = ((math.nan, math.nan),)
    if not all(math.isfinite(end) and 0 <= start < end for start, end in found):
        raise ValueError(f"`segments` are not [[start, end], …] in seconds: {told}")
    return found


def _is_absolute(uri: str) -> bool:
    return "://" in uri or uri.startswith("/")


def _folder(source: str, uris: list[str]) -> str:
    """Return the folder that relative paths of a list are below."""
    if stores.is_s3(source):
        return source.rpartition("/")[0]
    beside = os.path.abspath(stores.local_path(source).parent)  # noqa: PTH100
    relative = [uri for uri in uris if not _is_absolute(uri)][:LOOKED_FOR]
    folder = beside
    for _ in range(PARENTS + 1):
        if any(os.path.exists(os.path.join(folder, uri)) for uri in relative):  # noqa: PTH110, PTH118
            return folder
        folder = os.path.dirname(folder)  # noqa: PTH120
    return beside
