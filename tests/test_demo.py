import csv
import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from dfd_batch.demo import make_demo
from dfd_batch.demo.archive import FLICKER_S, OBJECTS
from dfd_batch.demo.forgeries import swap
from dfd_batch.demo.photographs import astronaut, hopper


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo"))


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def digests(archive: Path) -> dict[str, str]:
    return {
        str(p.relative_to(archive)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in archive.rglob("*")
        if p.is_file()
    }


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_holds_the_labelled_objects_and_nothing_else(archive: Path) -> None:
    with (archive.parent / "labels.csv").open(newline="") as file:
        labelled = {row["object"]: row["label"] for row in csv.DictReader(file)}
    assert labelled.keys() == digests(archive).keys()
    assert set(labelled.values()) == {"genuine", "manipulated", "no_face", "broken"}
    assert sum(p.stat().st_size for p in archive.rglob("*") if p.is_file()) < 15e6


def test_a_complete_archive_is_left_as_it_is(archive: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in archive.rglob("*")}
    assert make_demo(archive.parent) == archive
    assert {p: p.stat().st_mtime_ns for p in archive.rglob("*")} == before


@pytest.mark.parametrize("name", [o.name for o in OBJECTS if o.name.startswith("images/")])
def test_images_decode(archive: Path, name: str) -> None:
    with Image.open(archive / name) as image:
        assert np.asarray(image).std() > 10


@pytest.mark.parametrize("name", [o.name for o in OBJECTS if o.name.startswith("clips/")])
def test_clips_are_h264_with_aac_and_move(archive: Path, name: str) -> None:
    with av.open(str(archive / name)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        frames = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
    assert 100 <= len(frames) <= 150
    assert mean_difference(frames[0], frames[-1]) > 3


def test_phone_clip_stores_lying_frames_and_a_rotation(archive: Path) -> None:
    with av.open(str(archive / "clips/phone.mov")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (640, 480)
    assert frame.rotation == -90


def test_swapped_face_differs_from_the_photograph_only_at_the_face(archive: Path) -> None:
    portrait = hopper()
    with Image.open(archive / "images/swapped.jpg") as image:
        swapped = np.asarray(image.convert("RGB"))
    x, y = portrait.landmarks.mean(axis=0).astype(int)
    face = np.s_[y - 40 : y + 40, x - 40 : x + 40]
    assert mean_difference(swapped[face], portrait.picture[face]) > 15
    assert mean_difference(swapped[400:], portrait.picture[400:]) < 6  # JPEG alone


def test_swapped_clip_wanders_with_its_alignment(archive: Path) -> None:
    still = swap(hopper(), astronaut())
    moved = swap(hopper(), astronaut(), np.full((5, 2), 2.0))
    assert mean_difference(still, moved) > 0
    assert len(decode(archive / "clips/swapped.mp4")) == 125


def test_flicker_is_confined_to_its_labelled_span(archive: Path) -> None:
    def restlessness(frames: list[np.ndarray]) -> float:
        faces = [f[160:320, 240:400].astype(float).mean(axis=(0, 1)) for f in frames]
        warmth = [red - blue for red, _, blue in faces]
        return float(np.abs(np.diff(warmth, n=2)).mean())

    frames = decode(archive / "clips/flicker.mkv")
    start, end = (round(t * 25) for t in FLICKER_S)
    inside = restlessness(frames[start:end])
    assert inside > 3 * restlessness(frames[: start - 1])
    assert inside > 3 * restlessness(frames[end + 1 :])


@pytest.mark.parametrize("name", ["corrupt.mp4", "empty.mp4", "notes.mp4"])
def test_broken_objects_open_in_no_reader(archive: Path, name: str) -> None:
    path = archive / "broken" / name
    with pytest.raises((av.FFmpegError, UnidentifiedImageError)):
        decode(path)


@pytest.mark.slow
def test_archives_are_equal_byte_for_byte(archive: Path, tmp_path: Path) -> None:
    assert digests(make_demo(tmp_path)) == digests(archive)


def test_an_incomplete_archive_is_completed(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple(o for o in OBJECTS if not o.name.startswith("clips/") and "corrupt" not in o.name)
    monkeypatch.setattr("dfd_batch.demo.archive.OBJECTS", quick)
    made = make_demo(tmp_path)
    (made / "images/coffee.jpg").write_bytes(b"cut")
    make_demo(tmp_path)
    assert digests(made)["images/coffee.jpg"] == digests(archive)["images/coffee.jpg"]
