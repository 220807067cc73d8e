"""Deepfake Detection Challenge (Dolhansky et al., 2020) and its preview (2019)."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

from dfd_batch.training.sources.sample import Contents, Found, Sample, examples
from dfd_batch.training.sources.tree import Tree, folder_of

METADATA = r"metadata\.json"
LABELS = r"labels\.csv"
DATASET = r"dataset\.json"
METHODS = ("method_A", "method_B", "original_videos")
HELD_OUT_PARTS = frozenset({0, 1, 2})
"""Parts of the training set that are kept for measuring, as the challenge's winner did; the set
itself names no validation part."""


def read_dfdc(tree: Tree) -> Contents:
    """Return DFDC: `metadata.json` beside the videos of each part, `labels.csv` of the test set.

    Some of its fakes have only their sound changed; the lists do not say which.
    """
    samples: list[Sample] = []
    lines: list[Found] = []
    labels = [name for _, name, _ in tree.find(LABELS)]
    tests = {folder_of(name) for name in labels}
    for _, name, _ in tree.find(METADATA):
        if folder_of(name) not in tests:  # the test set's describes augmentations
            _add_part(tree, name, samples, lines)
    for name in labels:
        _add_test(tree, name, samples, lines)
    if not any(sample.split == "train" for sample in samples):
        # the first parts alone: kept for measuring, they would leave nothing to learn from
        samples = [replace(s, split="") if s.split == "val" else s for s in samples]
    return Contents(tuple(samples), tuple(lines))


def _add_part(tree: Tree, name: str, samples: list[Sample], lines: list[Found]) -> None:
    folder, told = folder_of(name), tree.json(name)
    part = re.search(r"dfdc_train_part_(\d+)/", folder)
    split = "" if part is None else "val" if int(part[1]) in HELD_OUT_PARTS else "train"
    if not isinstance(told, dict):
        raise tree.malformed(name, "it is not an object of file names")
    missing = []
    for file, entry in told.items():
        label = entry.get("label") if isinstance(entry, dict) else None
        if label not in ("REAL", "FAKE"):
            raise tree.malformed(name, f"the label of {file} is {label!r}, not REAL or FAKE")
        uri = tree.uris.get(folder + file)
        if uri is None:
            missing.append(file)
        elif label == "REAL":
            samples.append(Sample(uri, 0, file, split=split))
        else:
            source = str(entry.get("original") or file)
            pair = tree.uris.get(folder + source, "")
            samples.append(Sample(uri, 1, source, "dfdc", split, pair=pair))
    what, n = folder.rstrip("/").rpartition("/")[2] or name, len(told)
    lines.append(Found(what, n, n - len(missing), len(missing), examples(missing)))


def _add_test(tree: Tree, name: str, samples: list[Sample], lines: list[Found]) -> None:
    rows = list(csv.DictReader(io.StringIO(tree.text(name))))
    by_file = {
        found.rpartition("/")[2]: uri
        for found, uri in tree.uris.items()
        if found.startswith(folder_of(name))
    }
    missing = []
    for row in rows:
        file, label = row.get("filename"), row.get("label")
        if file is None or label not in ("0", "1"):
            raise tree.malformed(name, "it lacks the columns filename and label (1 = fake)")
        uri = by_file.get(file)
        if uri is None:
            missing.append(file)
        else:
            samples.append(Sample(uri, int(label), file, "dfdc" * int(label), "test"))
    n = len(rows)
    lines.append(Found("test videos", n, n - len(missing), len(missing), examples(missing)))


def read_preview(tree: Tree) -> Contents:
    """Return the preview data set, all of whose videos `dataset.json` lists by their paths."""
    name = next(name for _, name, _ in tree.find(DATASET))
    told, folder = tree.json(name), folder_of(name)
    if not isinstance(told, dict):
        raise tree.malformed(name, "it is not an object of paths")
    samples, missing = [], []
    for path, entry in told.items():
        label = entry.get("label") if isinstance(entry, dict) else None
        if label not in ("real", "fake"):
            raise tree.malformed(name, f"the label of {path} is {label!r}, not real or fake")
        uri = tree.uris.get(folder + path)
        if uri is None:
            missing.append(path)
            continue
        method, _, rest = path.partition("/")
        person = str(entry.get("target_id") or rest.partition("/")[0])
        swapped = entry.get("swapped_id")
        split = str(entry.get("set") or "")
        samples.append(
            Sample(
                uri,
                int(label == "fake"),
                person,
                method if label == "fake" else "",
                split,
                links=(str(swapped),) if label == "fake" and swapped else (),
            )
        )
    n = len(told)
    line = Found("videos of dataset.json", n, n - len(missing), len(missing), examples(missing))
    return Contents(tuple(samples), (line,))
