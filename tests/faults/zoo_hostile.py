"""Files that point at other files or addresses, and names that try to break out."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.faults.zoo import EMPTY, NO_FACE, SCORED, UNREADABLE, UNSUPPORTED, Kind, kind
from tests.faults.zoo_images import encoded
from tests.faults.zoo_videos import face_mp4

BAIT = "bait.mp4"
"""A fine video that lies beside those which point at it, and must not be what is judged."""
BAIT_OF_REFERENCE = "bait.mov"


def playlist(name: str, form: str) -> list[Kind]:
    """Return a playlist under its own name and disguised as a film."""
    content = form.format(bait=BAIT, url="http://127.0.0.1:9/" + BAIT)
    return [
        kind(name, lambda _: content.encode(), UNSUPPORTED),
        kind(name + ".mp4", lambda _: content.encode(), UNSUPPORTED),
    ]


def mov_with_reference(path: Path) -> bytes:
    """Return a MOV whose data lies, as it says, in a film beside it; it holds none itself."""
    whole = face_mp4(path)
    path.with_name(BAIT_OF_REFERENCE).write_bytes(whole)
    name = BAIT_OF_REFERENCE.encode()
    volume = b"\x01V".ljust(28, b"\0")
    file = bytes([len(name)]) + name.ljust(63, b"\0")
    told = struct.pack(">HH", 2, len(name) + 2) + b"/" * 2 + name
    levels = bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    alias = bytes(10) + volume + bytes(12) + file + levels + told + bytes(80) + b"\xff\xff\0\0"
    other = struct.pack(">I", 12 + len(alias)) + b"alis\0\0\0\0" + alias
    begin = whole.index(b"mdat") + 4
    (size,) = struct.unpack_from(">I", whole, begin - 8)
    emptied = whole[:begin] + bytes(size - 8) + whole[begin + size - 8 :]
    return grown(emptied, b"\0\0\0\x0curl \0\0\0\x01", other)


def grown(whole: bytes, old: bytes, new: bytes) -> bytes:
    """Return a MOV with one atom replaced and the sizes of all around it set right."""
    at = whole.index(old)
    out = bytearray(whole)
    begin, end = 0, len(whole)
    while begin < at:  # from the outermost atom inwards
        size, name = struct.unpack_from(">I4s", whole, begin)
        if begin + size <= at:
            begin += size
            continue
        struct.pack_into(">I", out, begin, size + len(new) - len(old))
        end = begin + size
        begin += 8 + (8 if name == b"dref" else 0)
    assert end <= len(whole)
    return bytes(out[:at]) + new + bytes(out[at + len(old) :])


def sdp(_: Path) -> bytes:
    return b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 5004 RTP/AVP 96\r\n"


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{bait}\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n"
MPD = '<?xml version="1.0"?>\n<MPD><Period><BaseURL>{bait}</BaseURL></Period></MPD>\n'

KINDS = [
    *playlist("p.m3u8", HLS),
    *playlist("p-bom.m3u8", "\ufeff" + HLS),
    *playlist("p.ffconcat", "ffconcat version 1.0\nfile '{bait}'\nfile '{url}'\n"),
    *playlist("p.concat.txt", "file '{bait}'\nfile '{url}'\n"),
    *playlist("p.mpd", MPD),
    *playlist("p.pls", "[playlist]\nFile1={url}\nNumberOfEntries=1\n"),
    *playlist("p.asx", '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>'),
    *playlist("p.smil", '<smil><body><video src="{bait}"/></body></smil>'),
    *playlist("p.avs", 'AVISource("{bait}")\n'),
    *playlist("p.imf.xml", '<?xml version="1.0"?><CompositionPlaylist>{bait}</>'),
    kind("p.sdp", sdp, UNSUPPORTED),
    kind("p.sdp.mp4", sdp, UNSUPPORTED),
    kind("p-nul.m3u8.mp4", lambda _: HLS.format(bait=BAIT, url="").encode() + bytes(9),
         UNSUPPORTED),
    kind("p-reference.mov", mov_with_reference, UNREADABLE),
    kind("n-new\nline.jpg", lambda _: encoded(), SCORED),
    kind("n-'quote\".jpg", lambda _: encoded(), SCORED),
    kind("n-<script>alert(1)<b>.jpg", lambda _: encoded(), SCORED),
    kind("n-..%2f..%2f..\\..jpg", lambda _: encoded(), SCORED),
    kind("n-$(touch x);`x`&.mp4", face_mp4, SCORED),
    kind("n-%05d.mp4", face_mp4, SCORED),
    kind("n-file:a.mp4", face_mp4, SCORED),
    kind("http:/a.mp4", face_mp4, SCORED),
    kind("concat:a|b.mp4", face_mp4, SCORED),
    kind("n-*?[x].jpg", lambda _: encoded(), SCORED),
    kind("n-" + "x" * 249 + ".jpg", lambda _: encoded(), SCORED),
    kind("n-" + "x" * 249 + ".mp4", lambda _: b"\0\0\0\x20ftypisom" + bytes(90), UNREADABLE),
    kind("n-" + "\U0001f600" * 62 + ".jpg", lambda _: b"", EMPTY),
    kind(b"n-\xff\xfe-bytes.mp4", face_mp4, SCORED),
    kind(b"n-\xff\xfe-bytes.jpg", lambda _: encoded()[:400], UNREADABLE, NO_FACE),
    kind(b"n-\xff\xfe-bytes.bin", lambda _: b"\x00\x02\x03" * 50, UNREADABLE),
    kind(" n-space .jpg", lambda _: encoded(), SCORED),
    kind("-n-dash.mp4", face_mp4, SCORED),
]  # fmt: skip
