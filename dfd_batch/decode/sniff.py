"""What a file is by its content, whatever its name says.

The first bytes choose the one demuxer or image plug-in that may open the file. Playlists and
references (m3u8, ffconcat, sdp, mpd, svg) are recognised and refused here, so that FFmpeg never
follows them to another file or address.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfd_batch.outcomes import MediaFault, Outcome

HEAD_BYTES = 4096
TS_PACKET_BYTES = (188, 192, 204)  # plain, with time codes (m2ts), with error correction


@dataclass(frozen=True)
class Sniffed:
    """One known kind of image or video."""

    media: Literal["image", "video"]
    container: str  # what the report says, e.g. "mp4", "jpeg"
    opener: str  # FFmpeg demuxer, or Pillow plug-in


_IMAGES = (
    (rb"\xff\xd8\xff", "jpeg", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "png", "PNG"),
    (rb"RIFF....WEBP", "webp", "WEBP"),
    (rb"GIF8[79]a", "gif", "GIF"),
    (rb"BM....\0\0\0\0", "bmp", "BMP"),
    (rb"(II[*+]\0|MM\0[*+])", "tiff", "TIFF"),
    (rb"....ftypavi[fs]", "avif", "AVIF"),
    (rb"(\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51)", "jpeg2000", "JPEG2000"),
)

_VIDEOS = (
    (rb"....ftypqt  ", "mov", "mov"),
    (rb"....ftyp3g", "3gp", "mov"),
    (rb"....ftyp", "mp4", "mov"),
    (rb"....(moov|mdat|free|skip|wide|pnot|uuid|moof|sidx|styp)", "mov", "mov"),
    (rb"\x1a\x45\xdf\xa3.{0,64}webm", "webm", "matroska"),
    (rb"\x1a\x45\xdf\xa3", "mkv", "matroska"),
    (rb"RIFF....AVI[ \x19X]", "avi", "avi"),
    (rb"FLV\x01", "flv", "flv"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "asf"),
    (rb"\0\0\x01\xba", "mpeg", "mpeg"),
    (rb"\0\0\x01\xb3", "mpegvideo", "mpegvideo"),
    (rb"OggS", "ogg", "ogg"),
    (rb"DKIF\0\0", "ivf", "ivf"),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01", "mxf", "mxf"),
    (rb"\.RMF\0\0", "rm", "rm"),
)

_REFUSED = (
    (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif[12]|msf1)", "format_not_supported", "a HEIF image"),
    (rb"(\xff\x0a|\0\0\0\x0cJXL )", "format_not_supported", "a JPEG XL image"),
    (rb"8BPS", "format_not_supported", "a Photoshop document"),
    (rb"....ftyp(M4A |M4B |aax |aaxc)", "no_video_stream", "an audio file"),
    (rb"(ID3[\x02-\x04]|fLaC|\xff[\xf1\xf9\xfb\xf3\xf2\xfa]|RIFF....WAVE|FORM....AIF|\.snd|#!AMR)",
     "no_video_stream", "an audio file"),
    (rb"\s*(#EXTM3U|ffconcat |\[playlist\]|v=0\r?\n|.{0,400}<(MPD|smil|asx|SmoothStreaming\w+)\b)",
     "playlist", "a playlist, which refers to other files"),
    (rb"\s*(<\?xml.{0,1000})?(<!--.{0,1000}-->\s*)?(<!DOCTYPE svg.{0,500})?<svg\b",
     "not_media", "an SVG drawing"),
    (rb"%PDF-", "not_media", "a PDF document"),
    (rb"(PK\x03\x04|PK\x05\x06|\x1f\x8b|BZh|7z\xbc\xaf|Rar!|\xfd7zXZ|\x28\xb5\x2f\xfd)",
     "not_media", "an archive or office document"),
    (rb"PAR1", "not_media", "a Parquet file"),
    (rb"(SQLite format 3|\x89HDF|ARROW1|\x7fELF|MZ|\xd0\xcf\x11\xe0|\x93NUMPY)",
     "not_media", "a program, database or document"),
    (rb"\s*(<!DOCTYPE html|<html|<\?xml)", "not_media", "a web page or XML document"),
    (rb"\s*[\[{]\s*[\"\[{\]}\d]", "not_media", "JSON"),
)  # fmt: skip


def _find(table: tuple[tuple[bytes, str, str], ...], head: bytes) -> tuple[str, str] | None:
    for pattern, *found in table:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE * (pattern[:3] == rb"\s*")):
            return found[0], found[1]
    return None


def _is_transport_stream(head: bytes) -> bool:
    for size in TS_PACKET_BYTES:
        for first in range(size):  # recordings may begin within a packet
            usual = first in (0, 4)
            marks = head[first : first + (5 if usual else 8) * size : size]
            if len(marks) >= (3 if usual else 8) and set(marks) == {0x47}:
                return True
    return False


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return head[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        # the last character may be cut in two
        head[:-4].decode() if len(head) == HEAD_BYTES else head.decode()
    except UnicodeDecodeError:
        return False
    return True


def sniff(path: str) -> Sniffed:
    """Return what the content of a local file is.

    Args:
        path: A local file.

    Raises:
        MediaFault: `empty`; `unsupported` where it is known to be something else (the message
            says what); `unreadable` where nothing is recognised.
    """
    with Path(path).open("rb") as file:
        head = file.read(HEAD_BYTES)
        size_bytes = os.fstat(file.fileno()).st_size
    if not head:
        raise MediaFault(Outcome.EMPTY, "zero_bytes", "the file has no content.")
    if refused := _find(_REFUSED, head):
        raise MediaFault(
            Outcome.UNSUPPORTED, refused[0], f"the file is {refused[1]}; it cannot be judged."
        )
    if image := _find(_IMAGES, head):
        return Sniffed("image", *image)
    if video := _find(_VIDEOS, head):
        return Sniffed("video", *video)
    if _is_transport_stream(head):
        return Sniffed("video", "ts", "mpegts")
    if _is_text(head):
        raise MediaFault(Outcome.UNSUPPORTED, "not_media", "the file is text, not media.")
    raise MediaFault(
        Outcome.UNREADABLE,
        "unknown_content",
        f"its {size_bytes} bytes start like no image or video that is known here; "
        "it may be damaged.",
    )
