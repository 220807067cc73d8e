"""Pools of face patches from the training data's folders; done once, then training only reads.

The crop's geometry is the scan's own (`faces.crop`), so that training sees what scanning sees.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from facenet_pytorch import MTCNN
from scipy.ndimage import gaussian_filter1d

from dfd_batch.faces.crop import Square, cut, face_square
from dfd_batch.outcomes import UsageError
from dfd_batch.training import pools
from dfd_batch.training.landmarks import Landmark68, five_points
from dfd_batch.training.pools import Face, Image, Points

PATCH_PX = 256
CANONICAL_PX = 200
CLIP_PATCH_PX = 192
CLIP_CANONICAL_PX = 150
FILM_FRAMES = 24
"""Taken of each bundled clip, from its beginning."""
WEIGHTS = "weights/landmark68.safetensors"
LOOK_FRAMES = 6
"""Frames of a development video that early looks score."""


@dataclass(frozen=True)
class Preparation:
    """The tools that turn pictures into face patches."""

    data: Path
    margin: float
    points: Landmark68
    finder: MTCNN

    def face_at(self, image: Image) -> Points | None:
        """Return the five points (5, 2) of the most certain face of a picture, or None."""
        boxes, _, points = self.finder.detect(image, landmarks=True)
        return None if boxes is None else np.asarray(points[0], np.float32)

    def patch(
        self, image: Image, square: Square, patch_px: int, most_px: int
    ) -> tuple[Image, Points, float]:
        """Return patch (P, P, 3), landmarks (68, 2) in it and the canonical side in it.

        A face smaller than `most_px` keeps its resolution: enlarging it here would teach that
        soft faces are genuine.
        """
        canonical = float(np.clip(square.side, 48, most_px))
        side = square.side * patch_px / canonical
        tight = cut(image, square, 112)
        found = self.points.find([tight])[0]
        points = (found - 56) * (canonical / 112) + patch_px / 2
        patch = cut(image, Square(square.x, square.y, side), patch_px)
        return patch, points.astype(np.float32), canonical


def prepare(data: Path, work: Path, margin: float, only: tuple[str, ...] = ()) -> dict[str, int]:
    """Prepare the pools that are missing and return how many faces each holds.

    Args:
        data: Folder laid out as the README of the training data says.
        work: Pools go to `work/pools/<name>`.
        margin: Side of the canonical crop in face sizes.
        only: Names of pools; all when empty.

    Raises:
        UsageError: A list or the weights are not there, or a listed medium cannot be read.
    """
    directories = {name: work / "pools" / name for name in SOURCES if not only or name in only}
    missing = [n for n, path in directories.items() if not (path / "index.parquet").is_file()]
    if missing:
        _check(data, missing)
        finder = MTCNN(keep_all=False, post_process=False, device="cpu")
        tools = Preparation(data, margin, Landmark68(data / WEIGHTS), finder)
        for name in missing:
            pools.write(directories[name], SOURCES[name](tools), margin)
    return {name: len(pools.read(path)) for name, path in directories.items()}


def _check(data: Path, names: list[str]) -> None:
    """Refuse a folder that lacks what pools are made of, before the first of them takes hours."""
    needed = dict.fromkeys([*(LISTS[name] for name in names), WEIGHTS])
    gone = [name for name in needed if not (data / name).is_file()]
    if gone:
        raise UsageError(
            f"{data} is no bundle of training data: it lacks {', '.join(gone)}; give --data a "
            "folder laid out as the README of the training data says, or prepare other media by "
            "`dfd prepare` and train without --data."
        )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _picture(path: Path) -> Image:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise _unreadable(path, "picture")
    return np.asarray(picture, np.uint8)


def _film(path: Path, most: int) -> list[Image]:
    try:
        return read_frames(path, most)
    except (av.FFmpegError, OSError):
        raise _unreadable(path, "video") from None


def _unreadable(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{path} is not a readable {what}, but a list of the training data names it: copy it anew, "
        "or take its line out of that list."
    )


def _dfdc(tools: Preparation, split: str) -> Iterator[Face]:
    """Yield the labelled crops of one split as they are: the whole crop is the canonical one."""
    for row in _rows(tools.data / "labelled" / "dfdc.csv"):
        if row["split"] == split:
            crop = _picture(tools.data / row["file"])
            yield Face(
                patch=crop,
                landmarks=tools.points.find([crop])[0],
                canonical_px=crop.shape[0],
                file=row["file"],
                label=int(row["label"]),
                group=row["group"],
                method="dfdc" if row["label"] == "1" else "real",
                licence="DFDC terms",
            )


def _portraits(tools: Preparation) -> Iterator[Face]:
    """Yield the genuine portraits, whose five points are given."""
    for row in _rows(tools.data / "faces.csv"):
        if row["label"] == "0" and row["landmarks5"]:
            five = np.array(row["landmarks5"].split(), np.float32).reshape(5, 2)
            image = _picture(tools.data / row["file"])
            square = face_square(five, tools.margin)
            patch = tools.patch(image, square, PATCH_PX, CANONICAL_PX)
            group = row["identity"] or row["file"]
            yield Face(*patch, row["file"], 0, group, row["source"], row["licence"])


def _generated(tools: Preparation) -> Iterator[Face]:
    """Yield the wholly generated faces; they fill their pictures, so no detector is needed."""
    for row in _rows(tools.data / "faces.csv"):
        if row["label"] == "1":
            image = _picture(tools.data / row["file"])
            side = min(image.shape[:2])
            five = five_points(tools.points.find([image[:side, :side]])[0])
            square = face_square(five, tools.margin)
            patch = tools.patch(image, square, PATCH_PX, CANONICAL_PX)
            yield Face(*patch, row["file"], 1, row["file"], row["source"], row["licence"])


def _clips(tools: Preparation) -> Iterator[Face]:
    """Yield consecutive frames of the genuine clips, cut along a smoothed track."""
    for row in _rows(tools.data / "clips.csv"):
        frames = _film(tools.data / row["file"], FILM_FRAMES)
        track = _track(tools, frames)
        for index, square in enumerate(track):
            patch = tools.patch(frames[index], square, CLIP_PATCH_PX, CLIP_CANONICAL_PX)
            speaker, licence = row["speaker"] or row["file"], row["licence"]
            yield Face(*patch, row["file"], 0, speaker, row["source"], licence, index)


def _track(tools: Preparation, frames: list[Image]) -> list[Square]:
    """Return a steady square per frame; empty when the first or middle frame shows no face."""
    if not frames:
        return []
    five = tools.face_at(frames[len(frames) // 2])
    if five is None:
        return []
    start = face_square(five, tools.margin)
    centres, sides = [], []
    for frame in frames:
        found = five_points(tools.points.find([cut(frame, start, 112)])[0])
        here = face_square(found * np.float32(start.side / 112), tools.margin)
        corner = (start.x - start.side / 2, start.y - start.side / 2)
        centres.append((here.x + corner[0], here.y + corner[1]))
        sides.append(here.side)
    smooth = gaussian_filter1d(np.array(centres), sigma=3, axis=0, mode="nearest")
    # The detector's own size at the middle frame, not the 68 points': the scan's scale counts.
    offset = np.array([start.x, start.y]) - smooth[len(frames) // 2]
    return [Square(float(x), float(y), start.side) for x, y in smooth + offset]


def _looks(tools: Preparation) -> Iterator[Face]:
    """Yield development pictures and a few frames of each development video."""
    root = tools.data / "dev"
    for row in _rows(root / "dev.csv"):
        path = root / row["file"]
        if row["kind"] == "image":
            frames = [_picture(path)]
        else:
            every = _film(path, 10_000)
            frames = [every[i] for i in np.linspace(0, len(every) - 1, LOOK_FRAMES).astype(int)]
        for index, frame in enumerate(frames):
            five = tools.face_at(frame)
            if five is not None:
                square = face_square(five, tools.margin)
                patch = tools.patch(frame, square, PATCH_PX, CANONICAL_PX)
                label, group = int(row["label"]), row["group"]
                yield Face(*patch, row["file"], label, group, row["method"], row["licence"], index)


def read_frames(path: Path, most: int) -> list[Image]:
    """Return the first `most` frames (H, W, 3) RGB of a video."""
    frames: list[Image] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            if len(frames) == most:
                break
    return frames


SOURCES: dict[str, Callable[[Preparation], Iterator[Face]]] = {
    "dfdc": lambda tools: _dfdc(tools, "train"),
    "dfdc_dev": lambda tools: _dfdc(tools, "dev"),
    "portraits": _portraits,
    "generated": _generated,
    "clips": _clips,
    "looks": _looks,
}
"""Training never opens `dfdc_dev` and `looks`; only the early looks do."""

LISTS = {
    **dict.fromkeys(("dfdc", "dfdc_dev"), "labelled/dfdc.csv"),
    **dict.fromkeys(("portraits", "generated"), "faces.csv"),
    "clips": "clips.csv",
    "looks": "dev/dev.csv",
}
"""What names the media of each pool."""
