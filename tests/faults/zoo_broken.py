"""Files that are cut, holed, swapped or no media at all."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from tests.faults.zoo import EMPTY, NO_FACE, SCORED, TOO_LARGE, UNREADABLE, UNSUPPORTED, kind
from tests.faults.zoo_images import encoded
from tests.faults.zoo_videos import face_frames, face_mp4
from tests.media import write_video

CONTAINERS = {
    "mp4": {"container_options": {"movflags": "faststart"}},
    "moov-last.mp4": {},
    "mkv": {},
    "ts": {},
    "avi": {},
    "webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "frag.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
}


def film(path: Path, name: str, **made: Any) -> bytes:
    """Return a video of 60 frames in six groups of pictures."""
    plain = path.parent / f"plain.{name}"
    write_video(plain, face_frames(60), gop=10, **CONTAINERS[name], **made)
    whole = plain.read_bytes()
    plain.unlink()
    return whole


def cut(name: str, share: float) -> Callable[[Path], bytes]:
    def write(path: Path) -> bytes:
        whole = film(path, name)
        return whole[: int(share * len(whole))]

    return write


def holed(name: str, begin: float, share: float) -> Callable[[Path], bytes]:
    """Return what writes a video with zeros in place of a part, as a broken download leaves."""

    def write(path: Path) -> bytes:
        whole = bytearray(film(path, name))
        at, n = int(begin * len(whole)), int(share * len(whole))
        whole[at : at + n] = bytes(n)
        return bytes(whole)

    return write


def one_group_with_scar(*damaged: int) -> Callable[[Path], bytes]:
    """Return what writes a video of one key frame with damage to some of its pictures."""

    def write(path: Path) -> bytes:
        plain = path.parent / "plain.mp4"
        write_video(plain, face_frames(60), gop=250, options={"bf": "0"})
        whole = bytearray(plain.read_bytes())
        with av.open(str(plain)) as container:
            packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
        for number in damaged:
            pos, size = packets[number]
            middle = pos + max(8, size // 2)  # leave the slice's header alone
            whole[middle : middle + 20] = bytes(range(100, 120))
        plain.unlink()
        return bytes(whole)

    return write


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.mp4", bytes(1000))


def noise(n: int) -> Callable[[Path], bytes]:
    return lambda _: random.Random(n).randbytes(n)


START = {
    "b-ftyp.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "b-ebml.mkv": b"\x1a\x45\xdf\xa3\xff\xff\xff\xff",
    "b-riff.avi": b"RIFF\xff\xff\xff\xffAVI LIST",
    "b-png.png": b"\x89PNG\r\n\x1a\n",
    "b-jpeg.jpg": b"\xff\xd8\xff\xe0",
    "b-gif.gif": b"GIF89a",
    "b-webp.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "b-ts.ts": (b"\x47" + bytes(187)) * 40,
    "b-ogg.ogv": b"OggS" + bytes(60),
    "b-flv.flv": b"FLV\x01\x05\0\0\0\x09\0\0\0\0",
    "b-asf.wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c" + bytes(40),
    "b-mxf.mxf": b"\x06\x0e\x2b\x34\x02\x05\x01\x01" + bytes(60),
    "b-mpeg.mpg": b"\0\0\x01\xba" + bytes(60),
    "b-avif.avif": b"\0\0\0\x20ftypavif" + bytes(60),
    "b-tiff.tif": b"II*\0\x08\0\0\0\xff\xff",
    "b-bmp.bmp": b"BM" + bytes(60),
    "b-box-zero.mp4": b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\0moov" + bytes(50),
    "b-box-huge.mp4": b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\1moov" + b"\x7f" * 50,
}  # fmt: skip
TEXTS = {
    "b-words.mp4": b"This is not a film.\n" * 40,
    "b-page.mp4": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "b-denied.jpg": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "b-json.mp4": b'{"error": "rate limit"}',
    "b-pdf.jpg": b"%PDF-1.7\n" + bytes(300),
    "b-program.mp4": b"\x7fELF" + bytes(300),
    "b-pointer.mp4": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}

KINDS = [
    kind("b-empty.mp4", lambda _: b"", EMPTY),
    kind("b-byte.jpg", lambda _: b"\xff", UNREADABLE),
    kind("b-nul.mp4", lambda _: b"\0", UNREADABLE),
    kind("b-zeros.mp4", lambda _: bytes(100_000), UNREADABLE),
    kind("b-ones.mp4", lambda _: b"\xff" * 100_000, UNREADABLE, UNSUPPORTED),
    *[kind(f"b-noise-{n}.mp4", noise(n), UNREADABLE) for n in (7, 1000, 200_000)],
    *[kind(name, lambda _, head=head: head, UNREADABLE, UNSUPPORTED)
      for name, head in START.items()],
    *[kind(f"b2-{name}", lambda _, head=head: head + random.Random(1).randbytes(30_000),
           UNREADABLE, UNSUPPORTED, TOO_LARGE) for name, head in START.items()],
    *[kind(name, lambda _, text=text: text, UNSUPPORTED) for name, text in TEXTS.items()],
    kind("b-zip.mp4", zipped, UNSUPPORTED),
    kind("b-film.jpg", face_mp4, SCORED),
    kind("b-film.mkv", lambda p: face_mp4(p.with_suffix(".mp4")), SCORED),
    kind("b-film", face_mp4, SCORED),
    kind("b-photo.mp4", lambda _: encoded(), SCORED),
    *[kind(f"b-cut{round(100 * share)}.{name}", cut(name, share), *right)
      for name in CONTAINERS
      for share, right in (
          (0.02, (UNREADABLE, UNSUPPORTED)),
          (0.1, (UNREADABLE, UNSUPPORTED, SCORED)),
          (0.5, (UNREADABLE,) if name == "moov-last.mp4" else (SCORED,)),
          (0.97, (UNREADABLE,) if name == "moov-last.mp4" else (SCORED,)),
      )],
    *[kind(f"b-hole.{name}", holed(name, 0.4, 0.2), SCORED) for name in CONTAINERS],
    *[kind(f"b-hole-front.{name}", holed(name, 0.0, 0.1), UNREADABLE, UNSUPPORTED, SCORED)
      for name in CONTAINERS],
    *[kind(f"b-scar{n}.mp4", one_group_with_scar(n), SCORED) for n in (0, 1, 9)],
    kind("b-scar-all.mp4", one_group_with_scar(*range(60)), UNREADABLE),
    kind("b-twice.mp4", lambda p: face_mp4(p) * 2, SCORED),
    kind("b-led-by-zeros.ts", lambda p: bytes(1000) + film(p, "ts"), SCORED, UNREADABLE),
    kind("b-cut-in.ts", lambda p: film(p, "ts")[1234:], SCORED),
    kind("b-cut-in.mp4", lambda p: film(p, "mp4")[1234:], UNREADABLE),
    kind("b-upper.MP4", face_mp4, SCORED),
    kind("b-nothing.png", lambda _: encoded(kind="PNG")[:60], UNREADABLE),
    kind("b-all-hole.jpg", lambda _: encoded()[:300] + bytes(9000), NO_FACE, UNREADABLE),
]  # fmt: skip
