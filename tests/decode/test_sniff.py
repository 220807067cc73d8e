from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfd_batch.decode.media import decode
from dfd_batch.decode.sniff import sniff
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Limits, Sampling
from tests.media import numbered_frames, write_video


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    return buffer.getvalue()


OTHERS = {
    "text": (b"Dear reader,\nthis is no video.\n", "not_media"),
    "utf16": ("Grüße".encode("utf-16"), "not_media"),
    "json": (json.dumps({"a": 1}).encode(), "not_media"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "not_media"),
    "zip": (_zip(), "not_media"),
    "parquet": (_parquet(), "not_media"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>', "not_media"),
    "html": (b"<!doctype html><title>a</title>", "not_media"),
    "m3u8": (b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n/etc/passwd\n", "playlist"),
    "concat": (b"ffconcat version 1.0\nfile 'a.mp4'\n", "playlist"),
    "sdp": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "playlist"),
    "mpd": (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', "playlist"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt ", "no_video_stream"),
    "mp3": (b"ID3\x04\0\0\0\0\0\x23TSSE", "no_video_stream"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "format_not_supported"),
    "jxl": (b"\xff\x0a\xfa\x7f", "format_not_supported"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_media_is_unsupported_and_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    content, kind = OTHERS[name]
    path.write_bytes(content)
    with pytest.raises(MediaFault) as caught:
        sniff(str(path))
    assert (caught.value.outcome, caught.value.kind) == (Outcome.UNSUPPORTED, kind)


def test_nothing_is_empty_and_noise_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for content, outcome in ((b"", Outcome.EMPTY), (bytes(9999), Outcome.UNREADABLE)):
        path.write_bytes(content)
        with pytest.raises(MediaFault) as caught:
            sniff(str(path))
        assert caught.value.outcome is outcome


def test_a_playlist_behind_a_video_header_is_not_followed(tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.ts", numbered_frames(20))
    path = tmp_path / "trap.ts"
    packets = b"".join(b"\x47" + bytes(187) for _ in range(5))
    path.write_bytes(packets + f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode())
    with pytest.raises(MediaFault):
        list(decode(str(path), Sampling(), Limits()))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from(
        [
            *(c for c, _ in OTHERS.values()),
            b"\0\0\0\x20ftypisom",
            b"\xff\xd8\xff",
            b"\x1a\x45\xdf\xa3",
            b"RIFF....AVI ",
            b"RIFF....WEBPVP8 ",
            b"GIF89a",
            b"BM",
            b"FLV\x01",
            b"OggS",
            b"\x89PNG\r\n\x1a\n",
            b"II*\0",
            b"\0\0\x01\xba",
            b"",
        ]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_end_as_a_fault_or_a_picture(start: bytes, rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_bytes(start + rest)
    try:
        assert list(decode(str(path), Sampling(), Limits()))
    except MediaFault as fault:
        assert fault.outcome in set(Outcome) - {Outcome.SCORED}
