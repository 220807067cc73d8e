"""Folders without lists: what a file is shows in the name of a folder above it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from dfd_batch.catalog.objects import media_hint
from dfd_batch.training.sources import names
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
_HOLDERS = frozenset(("images", "pictures", "photos", "frames", "faces", "crops"))
"""Folders that hold everything, not one video or person."""


def is_real_fake(tree: Tree) -> bool:
    """Return whether there are both genuine and fake folders."""
    found = set()
    for name in tree.uris:
        found |= {_LABELS.get(part) for part in name.lower().split("/")[:-1]}
        if {0, 1} <= found:
            return True
    return False


@dataclass(frozen=True, eq=False)  # by identity: a key
class _File:
    """A labelled file and how it is named."""

    sample: Sample
    above: str  # folders above the label, with a final slash; or empty
    name: str  # below the label


def read_real_fake(tree: Tree) -> Contents:
    """Return media below folders such as `real/` and `fake/`, `0_real/` and `1_fake/`.

    The last such folder above a file gives its label, the last one named for a split its split,
    the others the method of a fake. Pictures in a folder of their own below a genuine label belong
    together, and so do those of one name before a running number. A fake belongs to the genuine
    medium that it names, also where it lies in a folder of its method, and is linked to others
    that it names (`names.Genuine`).
    """
    files: list[_File] = []
    skipped = Counter[str]()
    for name, uri in tree.uris.items():
        *folders, last = name.split("/")
        lower = [folder.lower() for folder in folders]
        at = _label_place(lower)
        if at is None:
            skipped["outside of such folders"] += 1
        elif media_hint(name) is None:
            skipped["no media by name"] += 1
        else:
            label = _LABELS[lower[at]]
            split = next((_SPLITS[f] for f in reversed(lower) if f in _SPLITS), "")
            above = [f for f in folders[:at] if f.lower() not in _SPLITS]
            below = _telling(folders[at + 1 :])
            method = "/".join([*above, *below]) or "fake"
            sample = Sample(uri, label, "", method if label else "", split)
            top = "".join(f"{folder}/" for folder in above)
            files.append(_File(sample, top, "/".join([*below, last])))
    samples = _grouped(files)
    lines = [
        Found(what, None, sum(s.label == label for s in samples))
        for label, what in enumerate(("genuine media", "fake media"))
    ]
    notes = (*_guessed(samples), *_without_source(samples))
    return Contents(tuple(samples), (*lines, *_left_out(skipped)), notes)


def read_genuine(tree: Tree) -> Contents:
    """Return every medium as genuine; which pictures belong together is as below a label."""
    samples = []
    for name, uri in tree.uris.items():
        *folders, last = name.split("/")
        if media_hint(name) is not None:
            samples.append(Sample(uri, 0, _medium("/".join([*_telling(folders), last]))))
    skipped = Counter({"no media by name": len(tree.uris) - len(samples)})
    line = Found("genuine media", None, len(samples))
    return Contents(tuple(samples), (line, *_left_out(+skipped)), _guessed(samples))


def _telling(folders: Sequence[str]) -> list[str]:
    """Return the folders that say more than that media of a split lie there."""
    return [f for f in folders if f.lower() not in _SPLITS and f.lower() not in _HOLDERS]


def _label_place(folders: list[str]) -> int | None:
    """Return where the label stands among folders: `fake/deepfakes` is a method below a label."""
    places = [i for i, folder in enumerate(folders) if folder in _LABELS]
    of_last = list(
        takewhile(lambda i: _LABELS[folders[i]] == _LABELS[folders[places[-1]]], reversed(places))
    )
    return of_last[-1] if of_last else None


def _medium(name: str) -> str:
    """Return what a genuine file below its label was taken from."""
    return names.folder_of_picture(name) or names.numbered(name)


def _grouped(files: Sequence[_File]) -> list[Sample]:
    """Return the samples of files, in their order, with groups, links and pairs."""
    media = {f: f.above + _medium(f.name) for f in files if not f.sample.label}
    stems = {f: f.above + names.stem_of(f.name) for f in media}
    known = names.Genuine(media.values(), (m for f, m in media.items() if m == stems[f]))
    of_stem = {(f.sample.split, stem): f.sample.uri for f, stem in stems.items()}
    origins = {f: known.origin(f.above, f.name) for f in files if f.sample.label}
    people = {person for origin in origins.values() for person in origin.people}
    beside = _folders_of_media(origins)
    samples = []
    for file in files:
        origin = origins.get(file, names.Origin())
        medium = media.get(file) or origin.target or _own_medium(file, beside)
        group = names.person_of(medium, people)
        links = {*origin.people, *(names.person_of(source, people) for source in origin.sources)}
        pair = _pair(file.sample.split, origin, of_stem)
        linked = tuple(sorted(links - {group}))
        samples.append(replace(file.sample, group=group, links=linked, pair=pair))
    return samples


def _pair(split: str, origin: names.Origin, of_stem: Mapping[tuple[str, str], str]) -> str:
    """Return the genuine file that a fake's was made from, of the same frame where there is one.

    Only of its own split: equal numbers in two of them are as a rule different media.
    """
    if not origin.target:
        return ""
    near = of_stem.get((split, origin.target + origin.rest), "")
    return near or of_stem.get((split, origin.target), "")


def _folders_of_media(origins: Mapping[_File, names.Origin]) -> set[str]:
    """Return the folders whose folders are media, not methods: some of them name genuine ones."""
    return {_parent(f) for f, origin in origins.items() if origin.rest.startswith("/")}


def _parent(file: _File) -> str:
    """Return the folder that the folder of a picture lies in."""
    return file.above + names.folder_of_picture(file.name).rpartition("/")[0]


def _own_medium(file: _File, beside: set[str]) -> str:
    """Return what a fake was taken from that names no genuine medium.

    Its folder is as a rule that of its method.

    Args:
        file: The fake.
        beside: Folders whose folders are media.
    """
    folder = names.folder_of_picture(file.name)
    if folder and (_parent(file) in beside or names.is_bare(file.name)):
        return file.above + folder
    return file.above + names.numbered(file.name)


def _guessed(samples: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Return how the groups of pictures were chosen, where there are any."""
    pictures = [sample.group for sample in samples if media_hint(sample.uri) == "image"]
    if not pictures:
        return ()
    told = (
        "pictures of one folder, or of one name before a number, stay together: "
        f"{len(pictures):,} pictures, {len({*pictures}):,} groups; a folder of its own for each "
        "video or person makes sure"
    )
    return (("groups", told),)


def _without_source(samples: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Return how many fakes belong to no genuine medium, if any."""
    genuine = {sample.group for sample in samples if not sample.label}
    fakes = [sample.group for sample in samples if sample.label]
    n = sum(group not in genuine for group in fakes)
    if not n:
        return ()
    told = (
        f"{n:,} of {len(fakes):,} fakes have no genuine file of their name: they count as wholly "
        "generated"
    )
    return (("generated", told),)


def _left_out(skipped: Counter[str]) -> list[Found]:
    return [Found(f"files {why}", None, n, notes="left out") for why, n in skipped.items()]
