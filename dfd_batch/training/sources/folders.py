"""Folders without lists: what a file is shows in the name of a folder above it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from dfd_batch.catalog.objects import media_hint
from dfd_batch.training.sources.sample import Contents, Found, Sample
from dfd_batch.training.sources.tree import Tree

_NAMES = {
    0: ("real", "reals", "genuine", "original", "originals", "authentic", "pristine"),
    1: ("fake", "fakes", "manipulated", "deepfake", "deepfakes", "synthetic", "generated"),
}
_LABELS = {
    f"{prefix}{n}": label
    for label in (0, 1)
    for n in _NAMES[label]
    for prefix in ("", f"{label}_", "training_")
}
_FRAME = re.compile(
    r"(?P<folder>(?:.*/)?)(?P<name>[^/]*?)(?P<said>[_-]?frame)?[_-]?\d+", re.IGNORECASE
)
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def is_real_fake(tree: Tree) -> bool:
    """Return whether there are both genuine and fake folders."""
    found = set()
    for name in tree.uris:
        found |= {_LABELS.get(part) for part in name.lower().split("/")[:-1]}
        if {0, 1} <= found:
            return True
    return False


def read_real_fake(tree: Tree) -> Contents:
    """Return media below folders such as `real/` and `fake/`, `0_real/` and `1_fake/`.

    The last such folder above a file gives its label, the last one named for a split its split,
    the others the method of a fake. Files of the same path below the label belong together, also
    where a fake lies in a folder of its method.
    """
    given: list[tuple[Sample, list[str], str]] = []
    skipped = Counter[str]()
    for name, uri in tree.uris.items():
        *folders, _ = name.split("/")
        lower = [folder.lower() for folder in folders]
        at = _label_place(lower)
        if at is None:
            skipped["outside of such folders"] += 1
        elif media_hint(name) is None:
            skipped["no media by name"] += 1
        else:
            label = _LABELS[lower[at]]
            split = next((_SPLITS[f] for f in reversed(lower) if f in _SPLITS), "")
            other = [f for f in folders[:at] if f.lower() not in _SPLITS]
            method = "/".join([*other, *folders[at + 1 :]]) or "fake"
            sample = Sample(uri, label, "", method if label else "", split)
            given.append((sample, other, "/".join(name.split("/")[at + 1 :])))
    media = _media([("/".join([str(sample.label), *other]), b) for sample, other, b in given])
    genuine = {
        "/".join([*other, medium])
        for (sample, other, _), medium in zip(given, media, strict=True)
        if not sample.label
    }
    samples = [
        replace(sample, group=_group(other, medium, genuine))
        for (sample, other, _), medium in zip(given, media, strict=True)
    ]
    lines = [
        Found(what, None, sum(s.label == label for s in samples))
        for label, what in enumerate(("genuine media", "fake media"))
    ]
    return Contents(tuple(samples), (*lines, *_of_frames(samples), *_left_out(skipped)))


def read_genuine(tree: Tree) -> Contents:
    """Return every medium as genuine."""
    named = {name: uri for name, uri in tree.uris.items() if media_hint(name) is not None}
    media = _media([("", name) for name in named])
    samples = [Sample(uri, 0, m) for uri, m in zip(named.values(), media, strict=True)]
    skipped = Counter({"no media by name": len(tree.uris) - len(named)})
    line = Found("genuine media", None, len(samples))
    return Contents(tuple(samples), (line, *_of_frames(samples), *_left_out(+skipped)))


def _label_place(folders: list[str]) -> int | None:
    """Return where the label stands among folders: `fake/deepfakes` is a method below a label."""
    places = [i for i, folder in enumerate(folders) if folder in _LABELS]
    of_last = list(
        takewhile(lambda i: _LABELS[folders[i]] == _LABELS[folders[places[-1]]], reversed(places))
    )
    return of_last[-1] if of_last else None


def _group(other: list[str], medium: str, genuine: set[str]) -> str:
    """Return a group's name: that of a genuine medium, if folders of methods are all between."""
    parts = medium.split("/")
    names = ["/".join([*other, *parts[k:]]) for k in range(len(parts))]
    return next((name for name in names if name in genuine), names[0])


def _media(names: Sequence[tuple[str, str]]) -> list[str]:
    """Return what files were taken from: frames of one video differ in their number alone.

    Frames are pictures that say so (`a_frame12`), whose names are but numbers in a folder of their
    own (`a/0012.png`), or lie in one folder under several names (`a_0012.png`, `b_0012.png`).

    Args:
        names: Of the folder that they are below of, and their paths below it.
    """
    split = [_FRAME.fullmatch(name.rpartition(".")[0]) for _, name in names]
    kept = [
        m if m and media_hint(name) == "image" else None
        for m, (_, name) in zip(split, names, strict=True)
    ]
    alike = Counter(
        (top, m["folder"], m["name"]) for m, (top, _) in zip(kept, names, strict=True) if m
    )
    several = Counter((top, folder) for (top, folder, name), n in alike.items() if name and n > 1)
    media = []
    for m, (top, name) in zip(kept, names, strict=True):
        stem = name.rpartition(".")[0]
        if m and not m["name"] and m["folder"]:
            stem = m["folder"].rstrip("/")
        elif m and m["name"] and (m["said"] or several[top, m["folder"]] > 1):
            stem = m["folder"] + m["name"]
        media.append(stem)
    return media


def _of_frames(samples: Sequence[Sample]) -> list[Found]:
    """Return a line for pictures that count as frames of videos."""
    of_one = Counter(s.group for s in samples if media_hint(s.uri) == "image" and not s.label)
    several = [n for n in of_one.values() if n > 1]
    note = f"of {len(several):,} groups that no split parts"
    return [Found("pictures named as frames", None, sum(several), notes=note)] if several else []


def _left_out(skipped: Counter[str]) -> list[Found]:
    return [Found(f"files {why}", None, n, notes="left out") for why, n in skipped.items()]
