"""Folders without lists: what a file is shows in the name of a folder above it."""

from __future__ import annotations

import re
from collections import Counter

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
    the others the method of a fake. Files of the same path below the label belong together.
    """
    samples, skipped = [], Counter[str]()
    for name, uri in tree.uris.items():
        *folders, _ = name.split("/")
        lower = [folder.lower() for folder in folders]
        places = [i for i, folder in enumerate(lower) if folder in _LABELS]
        if not places:
            skipped["outside of such folders"] += 1
        elif media_hint(name) is None:
            skipped["no media by name"] += 1
        else:
            label = _LABELS[lower[places[-1]]]
            split = next((_SPLITS[f] for f in reversed(lower) if f in _SPLITS), "")
            other = [f for f in folders[: places[-1]] if f.lower() not in _SPLITS]
            below = "/".join([*other, *name.split("/")[places[-1] + 1 :]])
            method = "/".join([*other, *folders[places[-1] + 1 :]]) or "fake"
            samples.append(Sample(uri, label, _medium(below), method if label else "", split))
    lines = [
        Found(what, None, sum(s.label == label for s in samples))
        for label, what in enumerate(("genuine media", "fake media"))
    ]
    return Contents(tuple(samples), (*lines, *_left_out(skipped)))


def read_genuine(tree: Tree) -> Contents:
    """Return every medium as genuine."""
    samples, skipped = [], Counter[str]()
    for name, uri in tree.uris.items():
        if media_hint(name) is None:
            skipped["no media by name"] += 1
        else:
            samples.append(Sample(uri, 0, _medium(name)))
    line = Found("genuine media", None, len(samples))
    return Contents(tuple(samples), (line, *_left_out(skipped)))


def _medium(name: str) -> str:
    """Return what a file was taken from: frames of one video share their name but the number."""
    stem = name.rpartition(".")[0]
    return re.sub(r"[_-]?frame[_-]?\d+$", "", stem, flags=re.IGNORECASE) or stem


def _left_out(skipped: Counter[str]) -> list[Found]:
    return [Found(f"files {why}", None, n, notes="left out") for why, n in skipped.items()]
