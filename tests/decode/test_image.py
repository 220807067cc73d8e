from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from dfd_batch.decode.image import IMAGE_LONG_SIDE
from dfd_batch.decode.media import decode
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Limits, Sampling

PICTURE = astronaut()[:200, 100:400]  # (200, 300, 3)
ORIENTATIONS = {1: 0, 2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}


def read(path: Path, limits: Limits | None = None) -> tuple[Probe, Clip, Decoded]:
    _, probe, clip, account = decode(str(path), Sampling(), limits or Limits())
    assert isinstance(probe, Probe)
    assert isinstance(clip, Clip)
    assert isinstance(account, Decoded)
    return probe, clip, account


def difference(frame: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(frame.astype(int) - expected).mean())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "jpeg"),
        ("a.png", "png"),
        ("a.webp", "webp"),
        ("a.bmp", "bmp"),
        ("a.gif", "gif"),
        ("a.tiff", "tiff"),
        ("a.avif", "avif"),
        ("a.jp2", "jpeg2000"),
    ],
)
def test_formats_are_told_by_content_whatever_the_name(
    name: str, kind: str, tmp_path: Path
) -> None:
    Image.fromarray(PICTURE).save(tmp_path / name)
    path = (tmp_path / name).rename(tmp_path / "film.mp4")
    probe, clip, account = read(path)
    assert (probe.media, probe.container, probe.width, probe.height) == ("image", kind, 300, 200)
    assert (probe.duration_s, probe.fps) == (None, None)
    assert clip.times_s.tolist() == [0.0]
    assert difference(clip.frames[0], PICTURE) < 8
    assert (account.n_clips, account.n_frames_used, account.truncated) == (1, 1, False)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.avif"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied(orientation: int, name: str, tmp_path: Path) -> None:
    stored = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / name
    more = {} if name == "a.tiff" else {"quality": 95}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **more)
    probe, clip, _ = read(path)
    assert (probe.width, probe.height) == (300, 200)
    assert probe.rotation == ORIENTATIONS[orientation]
    assert difference(clip.frames[0], PICTURE) < 4


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(PICTURE).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff nonsense")
    assert difference(read(path)[1].frames[0], PICTURE) < 8


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA", "RGBA", "I;16", "I", "F"])
def test_every_mode_becomes_rgb_of_8_bits(mode: str, tmp_path: Path) -> None:
    grey = np.asarray(Image.fromarray(PICTURE).convert("L"))
    made = {
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(grey.astype(np.int32) * 257),
        "F": lambda: Image.fromarray(grey.astype(np.float32) / 255),
    }.get(mode, lambda: Image.fromarray(PICTURE).convert(mode))()
    path = tmp_path / "a.tiff"
    made.save(path)
    frame = read(path)[1].frames[0]
    assert (frame.shape, frame.dtype) == ((200, 300, 3), np.uint8)
    assert difference(frame.mean(axis=2), grey) < (90 if mode == "1" else 12)


def test_transparency_is_laid_on_grey(tmp_path: Path) -> None:
    layered = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    layered[:, :150, 3] = 255
    path = tmp_path / "a.png"
    Image.fromarray(layered).save(path)
    frame = read(path)[1].frames[0]
    assert difference(frame[:, :150], PICTURE[:, :150]) == 0
    assert (frame[:, 150:] == 128).all()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_gives_its_first_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    second = Image.fromarray(np.zeros_like(PICTURE))
    Image.fromarray(PICTURE).save(path, save_all=True, append_images=[second], duration=40)
    assert difference(read(path)[1].frames[0], PICTURE) < 10


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_huge_picture_is_reduced_and_says_so(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.jpg" if mode == "RGB" else "a.png")
    Image.fromarray(PICTURE).resize((6000, 400)).convert(mode).save(path)
    probe, clip, _ = read(path)
    assert (probe.width, probe.height) == (6000, 400)
    assert max(clip.frames.shape[1:3]) <= IMAGE_LONG_SIDE
    assert clip.frames.shape[2] == pytest.approx(6000 * clip.scale, abs=1)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10**6), 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows))
    with pytest.raises(MediaFault, match="60000 × 60000") as caught:
        read(path)
    assert caught.value.outcome is Outcome.TOO_LARGE


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tiff", "a.bmp"])
def test_a_truncated_picture_is_used_as_far_as_it_goes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 7 // 10])
    _, clip, account = read(path)
    assert account.truncated
    part = clip.frames[0, :80] if name != "a.bmp" else clip.frames[0, -80:]
    assert difference(part, PICTURE[:80] if name != "a.bmp" else PICTURE[-80:]) < 8


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif"])
def test_a_header_alone_is_unreadable(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(MediaFault) as caught:
        read(path)
    assert caught.value.outcome is Outcome.UNREADABLE
