"""Images: every format, odd modes and sizes, bombs."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dfd_batch.demo.photographs import rocket
from tests.faults.scenes import portrait, scene
from tests.faults.zoo import NO_FACE, SCORED, TOO_LARGE, TOO_SMALL, UNREADABLE, UNSUPPORTED, kind


@cache
def picture() -> Image.Image:
    return Image.fromarray(portrait("astronaut").picture[:320, 60:380])


def encoded(image: Image.Image | None = None, kind: str = "JPEG", **options: Any) -> bytes:
    """Return an image file's bytes; the astronaut unless given."""
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, body: bytes, mode: int = 2) -> bytes:
    """Return a PNG that claims a size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def gif(n: int, size: int = 64, claimed: int = 0, frame_claims: int = 0) -> bytes:
    """Return an animation of many tiny frames, which may claim another size on the whole or each.

    Put together by hand: an encoder would take minutes for a hundred thousand frames.
    """
    one = bytearray(encoded(Image.new("P", (size, size)), "GIF"))
    if claimed:
        struct.pack_into("<HH", one, 6, claimed, claimed)
    begin = 13 + (3 << (one[10] & 7) + 1 if one[10] & 0x80 else 0)  # behind the palette
    frame = one[begin:-1]
    if frame_claims:
        struct.pack_into("<HH", frame, frame.index(b",") + 5, frame_claims, frame_claims)
    return bytes(one[:begin] + frame * n + b";")


def crowd(_: Path) -> bytes:
    """Return a picture of a hundred people."""
    one = portrait("astronaut").picture[20:220, 130:320]
    return encoded(Image.fromarray(np.tile(one, (10, 10, 1))))


def claiming(kind: str, mark: bytes, offset: int, form: str, size: int) -> Callable[[Path], bytes]:
    """Return what gives an image whose header claims other sides, `offset` behind a mark."""

    def write(_: Path) -> bytes:
        whole = bytearray(encoded(kind=kind))
        struct.pack_into(form, whole, whole.index(mark) + offset, size, size)
        return bytes(whole)

    return write


def text_bomb(_: Path) -> bytes:
    """Return a fine PNG with a compressed remark of 200 MB."""
    remark = b"Comment\0\0" + zlib.compress(bytes(200 * 10**6), 9)
    chunk = struct.pack(">I4s", len(remark), b"zTXt") + remark
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + remark))
    whole = encoded(kind="PNG")
    return whole[:33] + chunk + whole[33:]  # behind the header's chunk


def see_through(_: Path) -> bytes:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: 80 + v // 2))
    return encoded(image, "PNG")


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def of(**options: Any) -> Callable[[Path], bytes]:
    return lambda _: encoded(**options)


def mode(name: str, kind: str = "PNG") -> Callable[[Path], bytes]:
    return lambda _: encoded(picture().convert(name), kind)


def deep(_: Path) -> bytes:
    grey = np.asarray(picture().convert("L")).astype(np.uint16) * 257
    return encoded(Image.fromarray(grey), "PNG")


def alpha(_: Path) -> bytes:
    image = picture().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 255))
    return encoded(image, "PNG")


def spoilt_exif(_: Path) -> bytes:
    return encoded(exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(64)))


KINDS = [
    kind("i.jpg", of(), SCORED),
    kind("i-progressive.jpg", of(progressive=True), SCORED),
    kind("i-grey.jpg", lambda _: encoded(picture().convert("L")), SCORED),
    kind("i-cmyk.jpg", mode("CMYK", "JPEG"), SCORED),
    kind("i-q5.jpg", of(quality=12), SCORED),
    kind("i.png", of(kind="PNG"), SCORED),
    kind("i-palette.png", lambda _: encoded(picture().quantize(128), "PNG"), SCORED),
    kind("i-16bit.png", deep, SCORED),
    kind("i-alpha.png", alpha, SCORED),
    kind("i-see-through.png", see_through, SCORED),
    kind("i-grey-alpha.png", mode("LA"), SCORED),
    kind("i-cmyk.tiff", mode("CMYK", "TIFF"), SCORED),
    kind("i.webp", of(kind="WEBP"), SCORED),
    kind("i.avif", of(kind="AVIF"), SCORED),
    kind("i.tiff", of(kind="TIFF", compression="tiff_lzw"), SCORED),
    kind("i.bmp", of(kind="BMP"), SCORED),
    kind("i.gif", of(kind="GIF"), SCORED),
    kind("i.jp2", of(kind="JPEG2000"), SCORED),
    kind("i.apng.png", lambda _: encoded(kind="PNG", save_all=True, append_images=[picture()]),
         SCORED),
    kind("i-moving.webp", lambda _: encoded(kind="WEBP", save_all=True, append_images=[picture()]),
         SCORED),
    kind("i-turned.jpg", lambda _: encoded(picture().rotate(90, expand=True), exif=exif(6)),
         SCORED),
    kind("i-upside.jpg", lambda _: encoded(picture().rotate(180)), SCORED),
    kind("i-odd-exif.jpg", spoilt_exif, SCORED),
    kind("i-bad-orientation.jpg", of(exif=exif(77)), SCORED),
    kind("i-cut.jpg", lambda _: encoded(quality=95)[:-3000], SCORED),
    kind("i-cut-deep.jpg", lambda _: encoded(quality=95)[:900], UNREADABLE, NO_FACE),
    kind("i-cut.png", lambda _: encoded(kind="PNG")[:-9000], SCORED, UNREADABLE),
    kind("i-cut.webp", lambda _: encoded(kind="WEBP")[:-2000], SCORED, UNREADABLE),
    kind("i-junk-behind.jpg", lambda _: encoded() + bytes(5000), SCORED),
    kind("i-named.mp4", of(), SCORED),
    kind("i-nobody.jpg", lambda _: encoded(Image.fromarray(rocket())), NO_FACE),
    kind("i-black.png", lambda _: encoded(Image.new("RGB", (640, 480)), "PNG"), NO_FACE),
    kind("i-1px.png", lambda _: encoded(Image.new("RGB", (1, 1)), "PNG"), NO_FACE),
    kind("i-1x5000.png", lambda _: encoded(Image.new("RGB", (1, 5000)), "PNG"), NO_FACE),
    kind("i-5000x2.png", lambda _: encoded(Image.new("RGB", (5000, 2)), "PNG"), NO_FACE),
    kind("i-tiny.jpg", lambda _: encoded(picture().resize((48, 48))), NO_FACE, TOO_SMALL),
    kind("i-crowd.jpg", crowd, SCORED),
    kind("i-20000.png", lambda _: png(20_000, 20_000, bytes(10**6)), TOO_LARGE),
    kind("i-9900-thin.png", lambda _: png(9_900, 10_000, bytes(10**6)), UNREADABLE, NO_FACE,
         TOO_LARGE),
    kind("i-bomb.png", lambda _: png(9_900, 10_000, bytes(9_901 * 10_000), 0), NO_FACE, TOO_LARGE,
         slow=True),
    kind("i-20000-wide.png", lambda _: encoded(Image.new("RGB", (20_000, 300)), "PNG"), NO_FACE),
    kind("i-text-bomb.png", text_bomb, SCORED),
    kind("i-16384.bmp", claiming("BMP", b"BM", 18, "<ii", 16_384), TOO_LARGE),
    kind("i-16383.webp", claiming("WEBP", b"\x9d\x01\x2a", 3, "<HH", 16_383), TOO_LARGE,
         UNREADABLE),
    kind("i-bomb.gif", lambda _: gif(1, 9_900), NO_FACE, slow=True),
    kind("i-65535.gif", lambda _: gif(1, claimed=65_535), TOO_LARGE),
    kind("i-frame-65535.gif", lambda _: gif(1, frame_claims=65_535), TOO_LARGE, UNREADABLE),
    kind("i-claims.jpg", lambda _: encoded()[:200].replace(
        b"\x01\x40\x01\x40", b"\xff\xdc\xff\xdc"), TOO_LARGE, UNREADABLE),
    kind("i-frames.gif", lambda _: gif(100_000, 8), NO_FACE),
    kind("i-20mp.jpg", lambda _: encoded(picture().resize((5000, 4000))), SCORED, slow=True),
    kind("i.heic", lambda _: b"\0\0\0\x18ftypheic" + bytes(500), UNSUPPORTED),
    kind("i.svg", lambda _: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="i.jpg"/></svg>',
         UNSUPPORTED),
    kind("i-scene.jpg", lambda _: encoded(Image.fromarray(scene(1)[0])), SCORED),
]  # fmt: skip
