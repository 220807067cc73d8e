"""The fourteen objects of the demo archive, what each is, and the labels beside it."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dfd_batch.demo import forgeries, photographs
from dfd_batch.demo.film import FPS, Shot, View, film, smooth_noise, write_clip
from dfd_batch.demo.photographs import Picture, Portrait

RECIPE = "1"
"""Raised when an object changes, so that an archive made by an older recipe is made anew."""

FLICKER_S = (2.0, 3.6)
"""From and to, seconds: the manipulated part of `flicker.mkv`."""


@dataclass(frozen=True)
class DemoObject:
    """One object of the archive.

    Args:
        name: Path below the archive.
        label: genuine, manipulated, no_face or broken.
        what: One line for a person.
        make: Writes it to a path.
        span_s: Manipulated from and to; None means all of it, or nothing.
    """

    name: str
    label: str
    what: str
    make: Callable[[Path], None]
    span_s: tuple[float, float] | None = None


def make_demo(directory: Path) -> Path:
    """Return the folder to scan, made below `directory` unless a complete one is there.

    The truth lies beside it in `labels.csv`, outside the folder so that it is no object itself.

    Args:
        directory: Receives `archive/` and `labels.csv`; created when missing.
    """
    archive, labels = directory / "archive", directory / "labels.csv"
    if _is_complete(archive, labels):
        return archive
    labels.unlink(missing_ok=True)
    for demo_object in OBJECTS:
        path = archive / demo_object.name
        path.parent.mkdir(parents=True, exist_ok=True)
        demo_object.make(path)
    _write_labels(archive, labels)  # last: its presence says that the archive is whole
    return archive


def _write_labels(archive: Path, labels: Path) -> None:
    unfinished = labels.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["object", "label", "from_s", "to_s", "what", "size_bytes", "recipe"])
        for o in OBJECTS:
            size_bytes = (archive / o.name).stat().st_size
            writer.writerow([o.name, o.label, *(o.span_s or ("", "")), o.what, size_bytes, RECIPE])
    os.replace(unfinished, labels)  # noqa: PTH105 - atomic on every system


def _is_complete(archive: Path, labels: Path) -> bool:
    try:
        with labels.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        sizes = {row["object"]: (archive / row["object"]).stat().st_size for row in rows}
        return {o.name for o in OBJECTS} == sizes.keys() and all(
            row["recipe"] == RECIPE and sizes[row["object"]] == int(row["size_bytes"])
            for row in rows
        )
    except (OSError, KeyError, ValueError):
        return False


def _astronaut_image(path: Path) -> None:
    _save(path, photographs.astronaut().picture)


def _hopper_image(path: Path) -> None:
    _save(path, photographs.hopper().picture)


def _cameraman_image(path: Path) -> None:
    _save(path, photographs.cameraman())


def _coffee_image(path: Path) -> None:
    _save(path, photographs.coffee())


def _swapped_image(path: Path) -> None:
    _save(path, forgeries.swap(photographs.astronaut(), photographs.hopper()))


def _astronaut_clip(path: Path) -> None:
    shot = Shot(View(232, 170, 1.6), View(220, 140, 2.0), seed=1)
    write_clip(path, film(repeat(photographs.astronaut().picture), shot))


def _two_people_clip(path: Path) -> None:
    left, right = photographs.astronaut().picture, photographs.hopper().picture
    # Both faces about equally large: the astronaut's half is enlarged, Hopper's is not.
    enlarged = cv2.resize(left[0:360, 40:440], (667, 600), interpolation=cv2.INTER_CUBIC)
    scene = np.hstack([np.asarray(enlarged, np.uint8), right])
    shot = Shot(View(580, 300, 1.15), View(600, 290, 1.22), 1280, 720, duration_s=4.0, seed=2)
    write_clip(path, film(repeat(scene), shot))


def _phone_clip(path: Path) -> None:
    shot = Shot(View(262, 250, 1.3), View(266, 235, 1.45), 480, 640, duration_s=4.0, seed=3)
    upright = film(repeat(photographs.hopper().picture), shot)
    # A phone held upright stores what its sensor sees, lying, and notes that it has to be turned.
    lying = (np.rot90(frame, 1) for frame in upright)
    write_clip(path, lying, rotation=-90)


def _swapped_clip(path: Path) -> None:
    shot = Shot(View(240, 190, 1.7), View(226, 150, 2.0), seed=4)
    write_clip(path, film(_swapped(photographs.hopper(), photographs.astronaut(), shot), shot))


def _swapped(source: Portrait, target: Portrait, shot: Shot) -> Iterator[Picture]:
    """Yield swaps whose alignment wanders from frame to frame, as that of video swaps does."""
    rng = np.random.default_rng(shot.seed)
    wander = smooth_noise(rng, shot.n_frames, 10, scale=0.5, window=2).reshape(-1, 5, 2)
    for jitter in wander:
        yield forgeries.swap(source, target, jitter)


def _flicker_clip(path: Path) -> None:
    portrait = photographs.hopper()
    shot = Shot(View(266, 260, 1.05), View(270, 240, 1.25), duration_s=5.6, seed=5)
    write_clip(path, film(_flickering(portrait, shot), shot))


def _flickering(portrait: Portrait, shot: Shot) -> Iterator[Picture]:
    """Yield the portrait; from and to `FLICKER_S` its face is blended at a strength that jumps."""
    changed = forgeries.altered(portrait)
    strengths = np.random.default_rng(shot.seed).uniform(0.15, 1.0, shot.n_frames)
    for index, strength in enumerate(strengths):
        if FLICKER_S[0] <= index / FPS < FLICKER_S[1]:
            yield forgeries.self_blend(portrait, changed, float(strength))
        else:
            yield portrait.picture


def _rocket_clip(path: Path) -> None:
    shot = Shot(View(320, 240, 1.2), View(330, 200, 1.5), duration_s=4.0, seed=6)
    write_clip(path, film(repeat(photographs.rocket()), shot))


def _corrupt_clip(path: Path) -> None:
    """Write a clip whose index is overwritten: it begins as an MP4 does, and no reader opens it."""
    _rocket_clip(path)
    blob = bytearray(path.read_bytes())
    start = blob.rindex(b"moov")
    blob[start:] = np.random.default_rng(8).bytes(len(blob) - start)
    path.write_bytes(blob)


def _empty_file(path: Path) -> None:
    path.write_bytes(b"")


def _text_file(path: Path) -> None:
    path.write_text("Minutes of the meeting.\n" * 40, encoding="utf-8")


def _save(path: Path, picture: Picture) -> None:
    Image.fromarray(picture).save(path, quality=92)


OBJECTS = (
    DemoObject("images/astronaut.jpg", "genuine", "a portrait", _astronaut_image),
    DemoObject("images/hopper.png", "genuine", "a portrait", _hopper_image),
    DemoObject("images/cameraman.webp", "genuine", "a face in profile", _cameraman_image),
    DemoObject("images/swapped.jpg", "manipulated", "a swapped face", _swapped_image),
    DemoObject("images/coffee.jpg", "no_face", "a cup of coffee", _coffee_image),
    DemoObject("clips/astronaut.mp4", "genuine", "one person", _astronaut_clip),
    DemoObject("clips/two_people.mp4", "genuine", "two people side by side", _two_people_clip),
    DemoObject("clips/phone.mov", "genuine", "an upright phone's rotated clip", _phone_clip),
    DemoObject("clips/swapped.mp4", "manipulated", "a swapped face", _swapped_clip),
    DemoObject(
        "clips/flicker.mkv", "manipulated", "a flickering blend, in part", _flicker_clip, FLICKER_S
    ),
    DemoObject("clips/rocket.mp4", "no_face", "a rocket on its pad", _rocket_clip),
    DemoObject("broken/corrupt.mp4", "broken", "a clip whose index is lost", _corrupt_clip),
    DemoObject("broken/empty.mp4", "broken", "no bytes at all", _empty_file),
    DemoObject("broken/notes.mp4", "broken", "a text file posing as a video", _text_file),
)
