"""Videos that play: codecs, containers, times, sizes, streams beside the picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from dfd_batch.demo.photographs import coffee
from tests.faults.scenes import Picture, portrait, scene
from tests.faults.zoo import NO_FACE, SCORED, TOO_LARGE, TOO_SMALL, UNREADABLE, UNSUPPORTED, kind
from tests.media import AV1, AV1_FAST, numbered_frames, write_sound, write_video

VPX = {"deadline": "realtime", "cpu-used": "8"}
HDR10 = {
    "preset": "ultrafast",
    "x265-params": "log-level=none:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    ":max-cll=1000,400"
    ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
}
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}


@cache
def face_frames(n: int = 20, width: int = 320, height: int = 240) -> list[Picture]:
    return scene(n, width, height, {"astronaut": 0.35 * height})


def film(
    codec: str = "libx264", n: int = 20, size: tuple[int, int] = (320, 240), **made: Any
) -> Callable[[Path], Path]:
    """Return what writes a video of the astronaut."""
    return lambda path: write_video(path, face_frames(n, *size), codec=codec, **made)


def face_mp4(path: Path) -> bytes:
    """Return a small fine video; the container is that of the path's suffix, MP4 for odd ones."""
    suffix = path.suffix if path.suffix in (".mp4", ".mov", ".mkv", ".ts", ".avi") else ".mp4"
    plain = path.parent / f"plain{suffix}"
    write_video(plain, face_frames())
    whole = plain.read_bytes()
    plain.unlink()
    return whole


def nobody(codec: str, n: int, size: tuple[int, int], **made: Any) -> Callable[[Path], Path]:
    frames = [np.asarray(cv2.resize(coffee(), size), np.uint8)] * n
    return lambda path: write_video(path, frames, codec=codec, **made)


def remuxed(
    change: Callable[[list[Any]], list[Any]],
    into: dict[str, str] | None = None,
    still: bool = False,
    **made: Any,
) -> Callable[[Path], None]:
    """Return what writes a video whose packets were changed on the way into the container."""

    def write(path: Path) -> None:
        plain = path.parent / "plain.mkv"
        write_video(plain, face_frames(1) * 40 if still else face_frames(40), **made)
        with av.open(str(plain)) as source, av.open(str(path), "w", options=into or {}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            stream.metadata["timecode"] = "01:00:00:00"  # MOV: a track of data
            packets = [p for p in source.demux(source.streams.video[0]) if p.size]
            for packet in change(packets):
                packet.stream = stream
                target.mux(packet)
        plain.unlink()

    return write


def shifted(ticks: int) -> Callable[[list[Any]], list[Any]]:
    def change(packets: list[Any]) -> list[Any]:
        for packet in packets:
            packet.pts += ticks
            if packet.dts is not None:
                packet.dts += ticks
        return packets

    return change


def lying(mark: bytes, offset: int, value: int) -> Callable[[Path], bytes]:
    """Return what writes an MP4 with a 32-bit field behind an atom's name overwritten."""

    def write(path: Path) -> bytes:
        whole = bytearray(face_mp4(path))
        at = whole.index(mark) + len(mark)
        struct.pack_into(">I", whole, at + offset, value)
        return bytes(whole)

    return write


def with_cover(path: Path) -> None:
    """Write a song with a picture of its singer."""
    write_cover(path, moving=False)


def write_cover(path: Path, *, moving: bool) -> None:
    plain = write_video(path.parent / "plain.mkv", face_frames())
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        if moving:
            stream = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=48000)
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = np.asarray(cv2.resize(coffee(), (640, 480)), np.uint8)
        target.mux(cover.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(cover.encode())
        for packet in source.demux(source.streams.video[0]) if moving else ():
            if packet.size:
                packet.stream = stream
                target.mux(packet)
        silence = np.zeros((2, 1024), np.float32)
        for i in range(30):
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 48000, 1024 * i
            target.mux(sound.encode(frame))
        target.mux(sound.encode())
    plain.unlink()


def two_pictures(path: Path) -> None:
    """Write a video with a small second picture stream, as surveillance exports have."""
    with av.open(str(path), "w") as target:
        streams = []
        for width, height in ((96, 64), (320, 240)):
            stream = target.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append((stream, face_frames(20, 320, 240)))
        for i in range(20):
            for stream, frames in streams:
                picture = np.asarray(cv2.resize(frames[i], (stream.width, stream.height)), np.uint8)
                target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream, _ in streams:
            target.mux(stream.encode())


def other_size_later(path: Path) -> bytes:
    """Return a transport stream whose pictures change their size half way."""
    parts = []
    for i, size in enumerate(((320, 240), (640, 480))):
        part = path.parent / f"part{i}.ts"
        parts.append(write_video(part, face_frames(20, *size)).read_bytes())
        part.unlink()
    return b"".join(parts)


def for_hours(hours: int) -> Callable[[Path], None]:
    """Return what writes a still of 40 pictures, one a second, again and again for so long."""

    def change(packets: list[Any]) -> list[Any]:
        told = [(bytes(p), p.pts // 40, p.is_keyframe) for p in packets]
        found = []
        for begin in range(0, 3600 * hours, len(told)):
            for content, at, is_key in told:
                packet = av.Packet(content)
                packet.pts = packet.dts = 1000 * (begin + at)
                packet.time_base, packet.is_keyframe = packets[0].time_base, is_key
                found.append(packet)
        return found

    return remuxed(change, still=True, gop=40, options={"bf": "0"})


def crowd(path: Path) -> None:
    """Write a film of a hundred people."""
    one = portrait("astronaut").picture[20:220, 130:320]
    write_video(path, [np.tile(one, (10, 10, 1))] * 3)


def claiming_16000(*, container: bool) -> Callable[[Path], bytes]:
    """Return what writes a film whose pictures claim 16,000 pixels a side, as the header may, too.

    Motion JPEG: any other codec's claim is the same to a decoder, but no plain number in the file.
    """

    def write(path: Path) -> bytes:
        plain = path.parent / "plain.avi"
        film("mjpeg", n=4, pix_fmt="yuvj420p")(plain)
        whole = plain.read_bytes().replace(
            struct.pack(">HH", 240, 320), struct.pack(">HH", 16_000, 16_000)
        )
        plain.unlink()
        if container:
            whole = whole.replace(struct.pack("<II", 320, 240), struct.pack("<II", 16_000, 16_000))
        return whole

    return write


FASTSTART = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
DASH = {"movflags": "dash+empty_moov+frag_every_frame"}

KINDS = [
    kind("v.mp4", film(), SCORED),
    kind("v-fast.mp4", film(container_options=FASTSTART), SCORED),
    kind("v-frag.mp4", film(container_options=FRAGMENTED, audio=True), SCORED),
    kind("v-dash.mp4", film(container_options=DASH), SCORED),
    *[kind(f"v-h264.{s}", film(audio=s not in {"flv", "wmv", "m4v"}), SCORED)
      for s in ("mov", "mkv", "avi", "ts", "m2ts", "flv", "3gp", "m4v")],
    kind("v-hevc.mp4", film("libx265", options={"preset": "ultrafast"}), SCORED),
    kind("v-hevc.ts", film("libx265", options={"preset": "ultrafast"}), SCORED),
    kind("v-hevc10.mkv", film("libx265", pix_fmt="yuv420p10le", options={"preset": "ultrafast"}),
         SCORED),
    kind("v-hdr.mp4", film("libx265", pix_fmt="yuv420p10le", options=HDR10), SCORED),
    kind("v-h264-10.mp4", film(pix_fmt="yuv420p10le"), SCORED),
    kind("v-h264-444.mp4", film(pix_fmt="yuv444p"), SCORED),
    kind("v-vp8.webm", film("libvpx", options=VPX, audio=True), SCORED),
    kind("v-vp9.webm", film("libvpx-vp9", options=VPX), SCORED),
    kind("v-vp9.mp4", film("libvpx-vp9", options=VPX), SCORED),
    kind("v-vp8.ivf", film("libvpx", options=VPX), SCORED),
    kind("v-alpha.webm", film("libvpx-vp9", pix_fmt="yuva420p", options=VPX), SCORED),
    kind("v-av1.mp4", film(AV1, options=AV1_FAST), SCORED),
    kind("v-av1.mkv", film(AV1, options=AV1_FAST), SCORED),
    kind("v-mpeg4.mp4", film("mpeg4"), SCORED),
    kind("v-mpeg4.avi", film("mpeg4", options={"bf": "2"}), SCORED),
    kind("v-mpeg2.mpg", film("mpeg2video"), SCORED),
    kind("v-mpeg2.ts", film("mpeg2video", options={"bf": "2"}), SCORED),
    kind("v-mpeg1.mpeg", film("mpeg1video"), SCORED),
    kind("v-mjpeg.avi", film("mjpeg", pix_fmt="yuvj420p"), SCORED),
    kind("v-mjpeg.mov", film("mjpeg", pix_fmt="yuvj420p"), SCORED),
    kind("v-prores.mov", film("prores_ks", pix_fmt="yuv422p10le"), SCORED),
    kind("v-prores-alpha.mov", film("prores_ks", pix_fmt="yuva444p10le"), SCORED),
    kind("v-mpeg2.mxf", film("mpeg2video"), SCORED),
    kind("v-wmv2.wmv", film("wmv2"), SCORED),
    kind("v-msmpeg4.avi", film("msmpeg4"), SCORED),
    kind("v-h263.flv", film("flv"), SCORED),
    kind("v-ffv1.mkv", film("ffv1"), SCORED),
    kind("v-raw.avi", film("rawvideo", n=4), SCORED),
    kind("v-png.mov", film("png", pix_fmt="rgb24", n=4), SCORED),
    kind("v-qtrle.mov", film("qtrle", pix_fmt="argb", n=4), SCORED),
    kind("v-open-gop.mp4", film(n=40, gop=10, options=OPEN_GOP), SCORED),
    kind("v-open-gop.ts", film(n=40, gop=10, options=OPEN_GOP), SCORED),
    kind("v-bframes.mkv", film(n=40, options={"preset": "fast", "bf": "5"}), SCORED),
    kind("v-interlaced.mp4", film(options={"x264-params": "tff=1"}), SCORED),
    kind("v-intra-refresh.ts", film(n=40, options={"x264-params": "intra-refresh=1:bframes=0"}),
         SCORED),
    kind("v-vfr.mp4", film(pts_ms=[0, 40, 41, 300, *range(1000, 17000, 1000)]), SCORED),
    kind("v-1fps.mp4", film(fps=1), SCORED),
    kind("v-120fps.mp4", film(fps=120), SCORED),
    kind("v-ntsc.mp4", film(fps=Fraction(30000, 1001)), SCORED),
    kind("v-slowest.mkv", film(fps=Fraction(1, 30), n=4), SCORED),
    *[kind(f"v-turned{degrees}.mp4", lambda path, k=degrees // 90: write_video(
        path, [np.ascontiguousarray(np.rot90(f, k)) for f in face_frames()], rotation=90 * k),
        SCORED) for degrees in (90, 180, 270)],
    kind("v-anamorphic.mp4", film(sar=Fraction(4, 3)), SCORED),
    kind("v-odd-aspect.mp4", film(sar=Fraction(1, 250)), SCORED),
    kind("v-one-frame.mp4", film(n=1), SCORED),
    kind("v-two-frames.webm", film("libvpx", n=2, options=VPX), SCORED),
    kind("v-crowd.mp4", crowd, SCORED),
    kind("v-nobody.mp4", nobody("libx264", 20, (320, 240)), NO_FACE),
    kind("v-black.mp4", lambda p: write_video(p, [np.zeros((240, 320, 3), np.uint8)] * 20),
         NO_FACE),
    kind("v-32.mp4", lambda p: write_video(p, numbered_frames(9, 32, 32)), NO_FACE),
    kind("v-16x2.mkv", nobody("ffv1", 9, (16, 2), pix_fmt="yuv444p"), NO_FACE),
    kind("v-odd-size.mkv", film(size=(321, 241), pix_fmt="yuv444p"), SCORED),
    kind("v-4k.mp4", film(n=3, size=(3840, 2160)), SCORED, slow=True),
    kind("v-8k.mkv", film("mjpeg", n=1, size=(7680, 4320), pix_fmt="yuvj420p"), SCORED, slow=True),
    kind("v-16k.mkv", nobody("mjpeg", 1, (16000, 8000), pix_fmt="yuvj420p"), TOO_LARGE, slow=True),
    kind("v-16k-told.avi", claiming_16000(container=True), TOO_LARGE),
    kind("v-16k-hidden.avi", claiming_16000(container=False), TOO_LARGE, UNREADABLE),
    kind("v-16k-claimed.mp4", lying(b"avc1", 24, 0x40004000), TOO_LARGE, SCORED),
    kind("v-still-10h.mp4", for_hours(10), SCORED),
    kind("v-still-10h.ts", for_hours(10), SCORED),
    kind("v-hourly.mp4", nobody("libx264", 12, (320, 240), gop=1, pts_ms=[
        3_600_000 * i for i in range(12)]), NO_FACE),
    kind("v-still-long.mp4", film(n=20, gop=5, pts_ms=[
        *range(0, 400, 40), *range(36_000_000, 36_000_400, 40)]), SCORED),
    kind("v-lying-long.mp4", lying(b"mvhd", 16, 0x7FFFFFF0), SCORED),
    kind("v-lying-media-long.mp4", lying(b"mdhd", 16, 0x7FFFFFF0), SCORED),
    kind("v-lying-zero.mp4", lying(b"mdhd", 16, 0), SCORED),
    kind("v-lying-scale.mp4", lying(b"mdhd", 12, 1), SCORED),
    kind("v-lying-scale-zero.mp4", lying(b"mdhd", 12, 0), SCORED, UNREADABLE),
    kind("v-lying-samples.mp4", lying(b"stsz", 8, 0x00FFFFFF), SCORED, UNREADABLE, UNSUPPORTED),
    kind("v-lying-few.mp4", lying(b"stsz", 8, 0), UNREADABLE, UNSUPPORTED),
    kind("v-negative.ts", remuxed(shifted(-500)), SCORED),
    kind("v-edit-list.mp4", remuxed(shifted(-500), {"avoid_negative_ts": "disabled"}, gop=5),
         SCORED),
    kind("v-edit-list-open.mp4", remuxed(shifted(-500), {"avoid_negative_ts": "disabled"}, gop=5,
                                         options=OPEN_GOP), SCORED),
    kind("v-data-track.mov", remuxed(lambda packets: packets), SCORED),
    kind("v-late.mp4", remuxed(shifted(3_600_000)), SCORED),
    kind("v-wraps.ts", remuxed(shifted(95_443_717 - 800)), SCORED),
    kind("v-no-key.mp4", remuxed(lambda packets: packets[5:], gop=250), UNREADABLE, SCORED),
    kind("v-dropped.mp4", remuxed(lambda p: p[:6] + p[9:20] + p[24:], gop=8), SCORED),
    kind("v-late-key.ts", remuxed(lambda packets: packets[5:], gop=8), SCORED),
    kind("v-sound.m4a", write_sound, UNSUPPORTED),
    kind("v-sound.mkv", write_sound, UNSUPPORTED),
    kind("v-sound.mp4", write_sound, UNSUPPORTED),
    kind("v-sound-cover.mp4", with_cover, UNSUPPORTED, NO_FACE),
    kind("v-cover.mp4", lambda p: write_cover(p, moving=True), SCORED),
    kind("v-two-pictures.mp4", two_pictures, SCORED),
    kind("v-two-sizes.ts", other_size_later, SCORED),
    kind("v-small-face.mp4", lambda p: write_video(p, scene(8, 640, 360, {"astronaut": 30})),
         TOO_SMALL, NO_FACE, SCORED),
]  # fmt: skip
