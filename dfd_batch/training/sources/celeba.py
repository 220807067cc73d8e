"""CelebA (Liu et al., ICCV 2015): genuine pictures with identities and attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dfd_batch.training.sources.sample import Contents, Found, Sample, examples
from dfd_batch.training.sources.tree import Tree

FOLDERS = ("img_celeba", "img_align_celeba_png", "img_align_celeba")
"""The first that is there is read: pictures as they were taken come before aligned ones."""
PICTURE = rf"({'|'.join(FOLDERS)})/(?:.*/)?(\d{{6}})\.(?:jpg|png)"
ATTRIBUTES = r"list_attr_celeba\.(?:txt|csv)"
IDENTITIES = r"identity_CelebA\.(?:txt|csv)"
PARTITION = r"list_eval_partition\.(?:txt|csv)"
SLICES = ("Male", "Young", "Pale_Skin", "Eyeglasses", "Wearing_Hat", "Smiling", "Heavy_Makeup")
"""Attributes that are kept, as `1` or `-1`."""
_SPLITS = {"0": "train", "1": "val", "2": "test"}


def read(tree: Tree) -> Contents:
    """Return CelebA, all of it genuine, from the text files or their CSV twins."""
    identities = {row[0][:6]: row[1] for row in _rows(tree, IDENTITIES, 2)}
    parts = {row[0][:6]: row[1] for row in _rows(tree, PARTITION, 2)}
    attributes = _attributes(tree)
    pictures: dict[str, dict[str, str]] = {}
    for match, _, uri in tree.find(PICTURE):
        pictures.setdefault(match[1], {})[match[2]] = uri
    folder = next(name for name in FOLDERS if name in pictures)
    samples = []
    for number, uri in pictures[folder].items():
        person = identities.get(number)
        group = f"person {person}" if person else number
        part = _SPLITS.get(parts.get(number, ""), "")
        samples.append(Sample(uri, 0, group, split=part, attributes=attributes.get(number, {})))
    listed = attributes.keys() | identities.keys() | parts.keys()
    missing = sorted(listed - pictures[folder].keys())
    lines = [
        Found(folder, len(listed) or 202_599, len(samples), len(missing), examples(missing)),
        Found("identities", 202_599, len(identities)),
        Found("attributes", 202_599, len(attributes)),
        Found("partition", 202_599, len(parts)),
    ]
    return Contents(tuple(samples), tuple(lines))


def _rows(tree: Tree, pattern: str, n: int) -> Iterator[list[str]]:
    """Yield the rows of a list whose first field is a picture; none without the list."""
    name = next((name for _, name, _ in tree.find(pattern)), None)
    if name is None:
        return
    n_rows = 0
    for number, line in enumerate(tree.text(name).splitlines(), start=1):
        row = re.split(r"[,\s]+", line.strip())
        if re.fullmatch(r"\d{6}\.\w+", row[0]):
            if len(row) != n:
                raise tree.malformed(name, f"line {number} has {len(row)} fields, not {n}")
            n_rows += 1
            yield row
        elif line.strip() and n_rows:
            raise tree.malformed(name, f"line {number} names no picture")
    if not n_rows:
        raise tree.malformed(name, "no line of it names a picture")


def _attributes(tree: Tree) -> dict[str, dict[str, str]]:
    name = next((name for _, name, _ in tree.find(ATTRIBUTES)), None)
    if name is None:
        return {}
    heads = (re.split(r"[,\s]+", line.strip()) for line in tree.text(name).splitlines()[:2])
    names = next((head for head in heads if "Male" in head), None)
    if names is None:
        raise tree.malformed(name, "neither of its first two lines names the attributes")
    names = [word for word in names if word != "image_id"]
    places = [(slice_, names.index(slice_) + 1) for slice_ in SLICES if slice_ in names]
    return {
        row[0][:6]: {slice_: row[place] for slice_, place in places}
        for row in _rows(tree, ATTRIBUTES, len(names) + 1)
    }
