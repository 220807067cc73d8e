"""A pool of prepared faces on disk: one uint8 memory map of square patches and its index.

Patches hold more than the canonical crop, so that training can move and scale the crop without
inventing pixels. A pool never belongs into the project: it is media.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dfd_batch.faces.crop import Square, cut
from dfd_batch.outcomes import UsageError
from dfd_batch.storage.tables import require_plain

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)

INDEX = pa.schema(
    [
        ("file", pa.string()),
        ("label", pa.int32()),  # 1 = manipulated
        ("group", pa.string()),  # media of one group never cross splits
        ("method", pa.string()),
        ("licence", pa.string()),
        ("frame", pa.int32()),
        ("canonical_px", pa.float32()),  # side of the canonical crop, centred in the patch
        ("split", pa.string()),  # train, val or test; empty: by the group's hash
        ("pair", pa.string()),  # file of the genuine medium that a fake was made from, if known
        ("swapped", pa.bool_()),  # a fake made from a genuine face, which may not be there
    ]
)


HELD_OUT = 8
"""One group (identity, speaker) in so many is never trained on."""


def is_held_out(group: str) -> bool:
    """Return whether a group is kept for measuring: decided by its name alone, for all runs."""
    return hashlib.sha256(group.encode()).digest()[0] % HELD_OUT == 0


@dataclass(frozen=True)
class Pool:
    """Faces of one source, in the order of the index."""

    patches: Image
    """(N, P, P, 3) RGB, memory-mapped."""
    landmarks: Points
    """(N, 68, 2) patch pixels."""
    canonical_px: NDArray[np.float32]
    """(N,) side of the canonical crop, centred in the patch, in patch pixels."""
    labels: NDArray[np.int32]
    """(N,) 0 genuine, 1 manipulated."""
    files: list[str]
    groups: list[str]
    methods: list[str]
    licences: list[str]
    frames: NDArray[np.int32]
    """(N,) frame of the medium, 0 for images."""
    splits: list[str]
    pairs: list[str]
    swapped: list[bool]
    margin: float | None = None
    """Side of the canonical crop in face sizes; None where an older pool does not say."""

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, label: int, held_out: bool) -> NDArray[np.int64]:
        """Return the rows of one label that are, or are not, kept out of training.

        By their data set's own split where they have one, else by their group.
        """
        told = zip(self.splits, self.groups, strict=True)
        kept_out = np.array([s != "train" if s else is_held_out(g) for s, g in told], bool)
        return np.flatnonzero((self.labels == label) & (kept_out == held_out))


@dataclass(frozen=True)
class Face:
    """One prepared face on its way into a pool."""

    patch: Image  # (P, P, 3)
    landmarks: Points  # (68, 2)
    canonical_px: float
    file: str
    label: int
    group: str
    method: str = ""
    licence: str = ""
    frame: int = 0
    split: str = ""
    pair: str = ""
    swapped: bool = False


def write(directory: Path, faces: Iterable[Face], margin: float | None = None) -> int:
    """Write a pool and return how many faces it holds.

    Pixels stream to the disk and the index comes last: a killed preparation leaves no half pool.

    Args:
        directory: Of the pool.
        faces: In their order.
        margin: Side of the canonical crop in face sizes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept: list[Face] = []
    side = 0
    with (directory / "patches.u8").open("wb") as pixels:
        for face in faces:
            pixels.write(np.ascontiguousarray(face.patch).tobytes())
            side = face.patch.shape[0]
            kept.append(replace(face, patch=_NO_PIXELS))
    points = np.stack([face.landmarks for face in kept]) if kept else np.empty((0, 68, 2))
    np.save(directory / "landmarks.npy", points.astype(np.float32))
    columns = {name: [getattr(face, name) for face in kept] for name in INDEX.names}
    told = {"side": str(side)} | ({} if margin is None else {"margin": repr(margin)})
    schema = INDEX.with_metadata(told)
    pq.write_table(pa.table(columns, schema=schema), directory / "index.parquet")
    return len(kept)


def read(directory: Path) -> Pool:
    """Return a pool without reading its pixels.

    Raises:
        UsageError: There is no finished pool in the directory.
    """
    path = directory / "index.parquet"
    if not path.is_file():
        raise UsageError(f"No prepared faces in {directory}; run the preparation first.")
    table = pq.read_table(path)
    require_plain(table.schema, str(path))
    index = table.to_pydict()
    side = int(table.schema.metadata[b"side"])
    margin = table.schema.metadata.get(b"margin")
    n = table.num_rows
    return Pool(
        patches=_pixels(directory / "patches.u8", (n, side, side, 3)),
        landmarks=np.load(directory / "landmarks.npy"),
        canonical_px=np.asarray(index["canonical_px"], np.float32),
        labels=np.asarray(index["label"], np.int32),
        files=index["file"],
        groups=index["group"],
        methods=index["method"],
        licences=index["licence"],
        frames=np.asarray(index["frame"], np.int32),
        splits=index.get("split", [""] * n),  # pools of earlier versions lack these
        pairs=index.get("pair", [""] * n),
        swapped=index.get("swapped", [False] * n),
        margin=float(margin) if margin else None,
    )


def _pixels(path: Path, shape: tuple[int, int, int, int]) -> Image:
    # An empty file cannot be mapped.
    return np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)


def work_pool(work: Path, name: str) -> Pool:
    """Return a prepared pool of a work directory."""
    return read(work / "pools" / name)


def canonical_crop(patch: Image, canonical_px: float, size: int) -> Image:
    """Return the crop (S, S, 3) that a scan would cut of a face from its patch (P, P, 3)."""
    middle = patch.shape[0] / 2
    return cut(patch, Square(middle, middle, canonical_px), size)


def evaluation_crops(pool: Pool, size: int, rows: NDArray[np.int64]) -> Image:
    """Return the crops (N, S, S, 3) that a scan would cut of some of a pool's faces."""
    return np.stack(
        [canonical_crop(np.array(pool.patches[i]), float(pool.canonical_px[i]), size) for i in rows]
    )


def misfit(landmarks: Points, others: Points) -> float:
    """Return how unlike two faces stand, by landmarks (68, 2) without their place and size."""
    return float(np.square(_shape(landmarks) - _shape(others)).sum())


def _shape(landmarks: Points) -> Points:
    centred = landmarks - landmarks.mean(0)
    return np.asarray(centred / np.linalg.norm(centred), np.float32)
