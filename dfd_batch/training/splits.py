"""Splits that no group crosses, for samples whose data set has none of its own, or no `val`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from scipy.cluster.hierarchy import DisjointSet

from dfd_batch.training.pools import is_held_out
from dfd_batch.training.sources.sample import Sample

TOO_LARGE = 0.5
"""Share of the samples in one component above which its links are cut instead: where everybody
was swapped with everybody, all groups are one component, and one split would get nothing."""


def assign(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Return samples that all have a split, and how many had to be left out.

    A data set's own splits stay as they are, but a `train` without a `val` beside it gives some of
    its groups to one. For the other samples, groups that a fake links (target and source) are kept
    together by union-find; a component goes where its data set's own samples are, else to `val` or
    `train` by the hash of its name (`pools.is_held_out`). Left out are fakes between groups of two
    splits, and what has its source video in common with a sample of `test`.
    """
    n_given, samples = len(samples), _with_val(samples)
    official: dict[str, set[str]] = {}
    for sample in samples:
        if sample.split:
            for group in _groups(sample):
                official.setdefault(group, set()).add(sample.split)
    roots = _roots([sample for sample in samples if not sample.split])
    members: dict[str, set[str]] = {}
    for group, root in roots.items():
        members.setdefault(root, set()).update(official.get(group, ()))
    placed = []
    for sample in samples:
        if sample.split:
            placed.append(sample)
            continue
        sides = {_side(roots[group], members[roots[group]]) for group in _groups(sample)}
        if len(sides) == 1 and "" not in sides:
            placed.append(replace(sample, split=sides.pop()))
    placed = _apart_from_test(placed)
    return placed, n_given - len(placed)


def some(samples: Sequence[Sample], n: int | None) -> list[Sample]:
    """Return n samples of groups drawn by hash, fakes beside their genuine sources; None: all."""

    def place(sample: Sample) -> bytes:
        return hashlib.sha256(f"some {sample.group}".encode()).digest()  # not the splits' hash

    return list(samples) if n is None else sorted(samples, key=place)[:n]


def _with_val(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return samples of which some groups of an own `train` are `val`, unless there is one.

    Without it nothing is there to stop a training by, or to calibrate on, but the test split.
    """
    own = {sample.split for sample in samples}
    if "train" not in own or "val" in own:
        return samples
    roots = _roots([sample for sample in samples if sample.split == "train"])
    made = []
    for sample in samples:
        if sample.split != "train":
            made.append(sample)
            continue
        sides = {_side(roots[group], set()) for group in _groups(sample)}
        if len(sides) == 1:
            made.append(replace(sample, split=sides.pop()))
    return made


def _apart_from_test(samples: list[Sample]) -> list[Sample]:
    """Return samples without those of `train` and `val` whose source video is in `test` too.

    People may be on both sides of published splits; the very video must not be.
    """
    tested = {_source(sample) for sample in samples if sample.split == "test"}
    return [s for s in samples if s.split == "test" or _source(s) not in tested]


def _source(sample: Sample) -> str:
    """Return the genuine medium that a sample was made from, or is.

    Sequences of crops that are one group come from one video, wherever they lie.
    """
    return sample.group if sample.cropped else sample.pair or sample.uri


def _groups(sample: Sample) -> tuple[str, ...]:
    return (sample.group, *sample.links)


def _side(root: str, official: set[str]) -> str:
    """Return the split of a component; empty where it touches more than one."""
    if official:
        return next(iter(official)) if len(official) == 1 else ""
    return "val" if is_held_out(root) else "train"


def _roots(samples: list[Sample]) -> dict[str, str]:
    """Return the name of the component of each group: the least of its groups' names."""
    linked = DisjointSet([group for sample in samples for group in _groups(sample)])
    for sample in samples:
        for other in sample.links:
            linked.merge(sample.group, other)
    sizes = Counter(linked[sample.group] for sample in samples)
    roots: dict[str, str] = {}
    for subset in linked.subsets():
        size = sizes[linked[next(iter(subset))]]
        if len(subset) > 2 and size > TOO_LARGE * len(samples):
            roots |= {group: group for group in subset}
        else:
            roots |= dict.fromkeys(subset, min(subset))
    return roots
