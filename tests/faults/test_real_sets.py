"""Clips made the way phones, editors and the public sets make theirs: faces found, times right."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.runner import Scanner
from tests.faults.scenes import dim, scene, smeared
from tests.media import write_video

ENCODER = {"preset": "veryfast", "crf": "23"}
HD = (1280, 720)


def x264(parameters: str) -> dict[str, Any]:
    return {"options": ENCODER | {"x264-params": parameters}}


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    yield scanner
    scanner.close()


def assert_found(row: dict[str, Any], n_people: int, fps: float, share: float = 1.0) -> None:
    """Assert that everybody is in nearly every frame, at times that are multiples of a frame's."""
    assert row["outcome"] is None, row["error_message"]
    assert row["n_faces"] == n_people
    assert row["n_frames_repeated"] == 0
    assert row["n_crops"] >= share * n_people * row["n_frames_used"]
    frames = np.array(row["crop_time_s"]) * fps
    assert np.abs(frames - frames.round()).max() < 0.01
    for track in set(row["crop_track"]):
        own = frames[np.array(row["crop_track"]) == track]
        steps = np.diff(own.round())
        assert (steps >= 1).all()
        assert (steps == 1).mean() > 0.9  # consecutive within the clips


MADE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ippp.mp4": ({}, {"gop": 250, "options": ENCODER | {"bf": "0"}, "audio": True}),
    "pyramid.mp4": ({}, {"gop": 30, **x264("bframes=5:b-pyramid=normal:ref=4:scenecut=0")}),
    "open-gop.mp4": ({}, {"gop": 20, **x264("open-gop=1:bframes=3:keyint=20:scenecut=0")}),
    "open-gop.mkv": ({}, {"gop": 20, **x264("open-gop=1:bframes=3:keyint=20:scenecut=0")}),
    "open-gop.ts": ({}, {"gop": 20, **x264("open-gop=1:bframes=3:keyint=20:scenecut=0")}),
    "refresh.ts": ({}, {"gop": 30, **x264("intra-refresh=1:bframes=0:keyint=30")}),
    "slices.mp4": ({}, {"gop": 250, **x264("slices=4:sliced-threads=1")}),
    "crf40.mp4": (
        {"people": {"astronaut": 90, "hopper": 80}}, {"options": ENCODER | {"crf": "40"}}
    ),
    "evening.mp4": ({"people": {"hopper": 80}, "spoil": dim}, {"options": ENCODER}),
    "shaken.mp4": ({"people": {"astronaut": 90}, "spoil": smeared}, {"options": ENCODER}),
    "far60.mp4": ({"size": (1920, 1080), "people": {"astronaut": 60}}, {"options": ENCODER}),
    "far80.mp4": ({"size": (1920, 1080), "people": {"hopper": 80}}, {"options": ENCODER}),
    "near150.mp4": ({"size": (1920, 1080), "people": {"hopper": 150}}, {"options": ENCODER}),
    "30.mp4": ({}, {"fps": 30, "options": ENCODER, "audio": True}),
    "ntsc.mp4": ({}, {"fps": Fraction(30000, 1001), "options": ENCODER, "audio": True}),
    "ntsc60.mov": ({}, {"fps": Fraction(60000, 1001), "options": ENCODER}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_people_are_found_in_every_frame_at_its_time(
    name: str, scanner: Scanner, tmp_path: Path
) -> None:
    shown, made = (dict(part) for part in MADE[name])
    width, height = shown.pop("size", HD)
    people = shown.setdefault("people", {"astronaut": 90})
    path = write_video(tmp_path / name, scene(66, width, height, **shown), **made)
    row = scanner.scan(path)
    assert_found(row, len(people), float(made.get("fps", 25)), 0.9)
    assert (row["width"], row["height"]) == (width, height)
    assert row["has_audio"] == bool(made.get("audio"))
    assert not row["truncated"]


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("is_told", [True, False])
def test_phone_clips_are_turned_with_and_without_a_display_matrix(
    degrees: int, is_told: bool, scanner: Scanner, tmp_path: Path
) -> None:
    frames = scene(33, 720, 1280, {"astronaut": 150})
    turned = [np.ascontiguousarray(np.rot90(frame, degrees // 90)) for frame in frames]
    path = tmp_path / "a.mp4"
    write_video(path, turned, options=ENCODER, rotation=degrees if is_told else 0)
    row = scanner.scan(path)
    assert_found(row, 1, 25, 0.6)
    assert row["rotation"] == (degrees if is_told else 0)
