"""Public data sets and plain folders as labelled samples, one adapter per layout.

Every adapter counts what is there against what should be; missing files never stop it, an
unreadable list does. None of these data sets comes with this package, and each has its own terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.training.sources import (
    celeba,
    celebdf,
    dfdc,
    faceforensics,
    folders,
    intervals,
    openforensics,
    wilddeepfake,
)
from dfd_batch.training.sources.sample import Contents, Found, LabelledBox, Sample
from dfd_batch.training.sources.tree import Tree

__all__ = ["LAYOUTS", "Contents", "Found", "LabelledBox", "Layout", "Sample", "detect", "read"]


@dataclass(frozen=True)
class Layout:
    """How one data set lies on a disk."""

    marks: str
    """What tells it from others, in words."""
    is_here: Callable[[Tree], bool]
    read: Callable[[Tree], Contents]
    licence: str = ""
    swaps: bool = True
    """Whether each of its fakes was made from a genuine face."""


def _has(*patterns: str) -> Callable[[Tree], bool]:
    return lambda tree: all(tree.has(pattern) for pattern in patterns)


def _any(*patterns: str) -> Callable[[Tree], bool]:
    return lambda tree: any(tree.has(pattern) for pattern in patterns)


LAYOUTS: dict[str, Layout] = {
    "faceforensics": Layout(
        "original_sequences/youtube/{raw,c23,c40}/videos/NNN.mp4",
        _any(faceforensics.GENUINE, faceforensics.FAKES),
        faceforensics.read_faceforensics,
        "FaceForensics++ terms",
    ),
    "deepfakedetection": Layout(
        "original_sequences/actors/{raw,c23,c40}/videos/AA__scene.mp4",
        _any(faceforensics.ACTORS, faceforensics.SWAPS),
        faceforensics.read_deepfakedetection,
        "FaceForensics++ terms",
    ),
    "celeb-df": Layout(
        "Celeb-real/idI_NNNN.mp4 or Celeb-synthesis/idI_idJ_NNNN.mp4",
        _any(celebdf.REAL, celebdf.FAKE),
        celebdf.read,
        "Celeb-DF terms",
    ),
    "dfdc-preview": Layout(
        "dataset.json beside method_A or original_videos",
        lambda tree: tree.has(dfdc.DATASET) and any(tree.has(f"{m}/.*") for m in dfdc.METHODS),
        dfdc.read_preview,
        "DFDC terms",
    ),
    "lav-df": Layout(
        "metadata.json or metadata.min.json beside train, dev or test",
        _has(intervals.METADATA, r"(?:train|dev|test)/\d{6}\.mp4"),
        intervals.read_lavdf,
        "LAV-DF terms",
    ),
    "dfdc": Layout(
        "metadata.json beside the videos of a dfdc_train_part, or labels.csv of the test set",
        lambda tree: tree.has(r".*\.mp4") and (tree.has(dfdc.METADATA) or tree.has(dfdc.LABELS)),
        dfdc.read_dfdc,
        "DFDC terms",
    ),
    "wilddeepfake": Layout(
        "{real,fake}_{train,test}/N.tar.gz",
        _has(wilddeepfake.ARCHIVE),
        wilddeepfake.read,
        "WildDeepfake terms",
    ),
    "openforensics": Layout(
        "{Train,Val,Test-Dev,Test-Challenge}_poly.json",
        _has(openforensics.ANNOTATIONS),
        openforensics.read,
        "OpenForensics terms",
    ),
    "celeba": Layout(
        "img_align_celeba/NNNNNN.jpg (or img_celeba, img_align_celeba_png)",
        _has(celeba.PICTURE),
        celeba.read,
        "CelebA terms",
    ),
    "forgerynet": Layout(
        "video lists (*list*.txt) beside videos",
        _has(intervals.LIST, r".*\.mp4"),
        intervals.read_forgerynet,
        "ForgeryNet terms",
    ),
    "real-fake": Layout(
        "folders named real and fake (or genuine, original, 0_real; manipulated, 1_fake …)",
        folders.is_real_fake,
        folders.read_real_fake,
        swaps=False,
    ),
    "genuine": Layout(
        "any folder; never guessed", lambda _: False, folders.read_genuine, swaps=False
    ),
}
"""The more particular come first: the first whose marks are there is taken."""


def detect(path: str, storage: Storage | None = None) -> str:
    """Return the name of the layout in which a folder or S3 prefix lies.

    Raises:
        UsageError: It is none of those known; says what was looked for.
    """
    return _detect(Tree(path, storage or Storage()))


def read(path: str, layout: str | None = None, storage: Storage | None = None) -> Contents:
    """Return the samples of a data set with their licence, and what was found.

    Args:
        path: Folder or S3 prefix.
        layout: A name of `LAYOUTS`; guessed when None.
        storage: How object storage is reached.

    Raises:
        UsageError: The layout is not known or not there, or a metadata file is unusable.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"There is no layout {layout!r}; known are {', '.join(LAYOUTS)}.")
    tree = Tree(path, storage or Storage())
    chosen = LAYOUTS[layout or _detect(tree)]
    if layout not in (None, "genuine") and not chosen.is_here(tree):
        raise UsageError(f"{path} holds no {layout}: there is no {chosen.marks}.")
    contents = chosen.read(tree)
    samples = tuple(
        replace(s, licence=s.licence or chosen.licence, swapped=chosen.swaps and s.label == 1)
        for s in contents.samples
    )
    return replace(contents, samples=samples)


def _detect(tree: Tree) -> str:
    for name, layout in LAYOUTS.items():
        if layout.is_here(tree):
            return name
    looked = "; ".join(f"{n}: {layout.marks}" for n, layout in LAYOUTS.items() if n != "genuine")
    raise UsageError(
        f"{tree.root} lies in no known layout. Looked for {looked}. "
        "Give --as genuine if all of it is genuine."
    )
