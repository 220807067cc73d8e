"""Celeb-DF v1 and v2 (Li et al., CVPR 2020)."""

from __future__ import annotations

import re

from dfd_batch.training.sources.sample import Contents, Found, Sample, examples
from dfd_batch.training.sources.tree import Tree

REAL = r"(Celeb-real)/(?:videos/)?(id\d+)_(\d+)\.mp4"
FAKE = r"(Celeb-synthesis)/(?:videos/)?(id\d+)_(id\d+)_(\d+)\.mp4"
YOUTUBE = r"(YouTube-real)/(?:videos/)?(\d+)\.mp4"
TEST_LIST = r"List_of_testing_videos\.txt"
_LABELS = {"Celeb-real": "1", "YouTube-real": "1", "Celeb-synthesis": "0"}


def read(tree: Tree) -> Contents:
    """Return Celeb-DF; a fake `idI_idJ_NNNN` shows the video `idI_NNNN` with the face of J.

    Note that its test list says 1 for real. What the list does not name is for training; both
    parts share people.
    """
    listed = _test_list(tree)
    in_test: set[str] = set()

    def split(folder: str, file: str) -> str:
        if listed is None:
            return ""
        key = f"{folder}/{file}"
        if key in listed:
            in_test.add(key)
            return "test"
        return "train"

    samples, genuine, counts = [], {}, {}
    for match, name, uri in tree.find(REAL):
        genuine[match[2], match[3]] = uri
        samples.append(Sample(uri, 0, match[2], split=split(match[1], _file(name))))
    counts["Celeb-real"] = len(samples)
    for match, name, uri in tree.find(YOUTUBE):
        group = f"youtube {match[2]}"
        samples.append(Sample(uri, 0, group, split=split(match[1], _file(name))))
    counts["YouTube-real"] = len(samples) - counts["Celeb-real"]
    for match, name, uri in tree.find(FAKE):
        fake = Sample(
            uri,
            1,
            match[2],
            "Celeb-synthesis",
            split(match[1], _file(name)),
            links=(match[3],),
            pair=genuine.get((match[2], match[4]), f"{match[2]}_{match[4]}"),
        )
        samples.append(fake)
    counts["Celeb-synthesis"] = len(samples) - sum(counts.values())
    expected = {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639}
    lines = [
        Found(folder, expected[folder], n, notes="of v2; v1 has 408 genuine, 795 fake in all")
        for folder, n in counts.items()
    ]
    if listed is None:
        note = "no test list: split by groups of people"
        lines.append(Found("test videos", 518, 0, notes=note))
    else:
        lost = sorted(listed - in_test)
        lines.append(Found("test videos", len(listed), len(in_test), len(lost), examples(lost)))
    return Contents(tuple(samples), tuple(lines))


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _test_list(tree: Tree) -> set[str] | None:
    """Return the `folder/file` of the test videos; None without a list."""
    name = next((name for _, name, _ in tree.find(TEST_LIST)), None)
    if name is None:
        return None
    listed = set()
    for number, line in enumerate(tree.text(name).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([01])\s+(\S+?)/(?:videos/)?(\S+\.mp4)", line.strip())
        if match is None or _LABELS.get(match[2]) != match[1]:
            raise tree.malformed(
                name,
                f"line {number} is {line.strip()!r}, not `1 Celeb-real/….mp4`, "
                "`1 YouTube-real/….mp4` or `0 Celeb-synthesis/….mp4` (1 = real)",
            )
        listed.add(f"{match[2]}/{match[3]}")
    return listed
