from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfd_batch.decode.media import decode
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Coverage, Limits, Sampling
from tests.media import (
    AV1,
    AV1_FAST,
    moving_frames,
    number_of,
    numbered_frames,
    write_sound,
    write_video,
)

QUIET_X265 = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
FAST_VPX = {"deadline": "realtime", "cpu-used": "8", "b": "2M"}
FULL = Sampling(coverage=Coverage.FULL)


def read(
    path: Path, sampling: Sampling = FULL, limits: Limits | None = None
) -> tuple[Probe, list[Clip], Decoded]:
    items = list(decode(str(path), sampling, limits or Limits()))
    (probe,) = [item for item in items if isinstance(item, Probe)]
    clips = [item for item in items if isinstance(item, Clip)]
    assert isinstance(items[-1], Decoded)
    return probe, clips, items[-1]


def times_of(clips: list[Clip]) -> list[float]:
    return [round(float(time_s), 3) for clip in clips for time_s in clip.times_s]


PAIRS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {},
    "h264.avi": {"options": {"bf": "0"}},
    "h264.ts": {},
    "h264.flv": {},
    "h264.3gp": {},
    "hevc.mp4": {"codec": "libx265", "options": QUIET_X265},
    "hevc.mkv": {"codec": "libx265", "options": QUIET_X265},
    "hevc.ts": {"codec": "libx265", "options": QUIET_X265},
    "vp8.webm": {"codec": "libvpx", "options": FAST_VPX},
    "vp9.webm": {"codec": "libvpx-vp9", "options": FAST_VPX},
    "vp9.mp4": {"codec": "libvpx-vp9", "options": FAST_VPX},
    "av1.mp4": {"codec": AV1, "options": AV1_FAST},
    "av1.webm": {"codec": AV1, "options": AV1_FAST},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"q": "2", "b": "4M"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"q": "2", "b": "4M"}},
    "mpeg2video.mpg": {"codec": "mpeg2video", "options": {"b": "4M"}},
    "wmv2.wmv": {"codec": "wmv2", "options": {"b": "4M"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le"},
}


@pytest.mark.parametrize("name", PAIRS)
def test_every_frame_of_every_container_and_codec_is_read_once(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, numbered_frames(40), **PAIRS[name])
    probe, clips, account = read(path)
    frames = [frame for clip in clips for frame in clip.frames]
    numbers = [number_of(frame) for frame in frames]
    assert probe.codec == Path(name).stem
    assert (probe.width, probe.height, probe.media) == (96, 64, "video")
    assert np.abs(np.array(numbers) - np.arange(40)).max() <= 1
    assert np.diff(times_of(clips)) == pytest.approx(0.04, abs=0.045)
    assert times_of(clips)[0] == 0
    assert np.abs(frames[0][5, -5].astype(int) - (200, 30, 30)).max() < 8
    assert account.n_frames_used == account.n_frames_decoded == 40
    assert (account.truncated, account.n_frames_repeated) == (False, 0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_clips_begin_at_key_frames_and_little_else_is_decoded(suffix: str, tmp_path: Path) -> None:
    frames = numbered_frames(300)
    path = write_video(tmp_path / f"a{suffix}", frames, gop=20, options={"bf": "0"})
    _, clips, account = read(path, Sampling(standard_clips=3, frames_per_clip=16))
    firsts = [round(clip.times_s[0] / 0.04) for clip in clips]
    assert firsts == [40, 140, 240] or firsts == [60, 160, 260]
    for clip, first in zip(clips, firsts, strict=True):
        numbers = [number_of(frame) for frame in clip.frames]
        assert numbers == [(first + i) % 78 for i in range(16)]
    assert account.n_frames_used == 48
    assert account.n_frames_decoded <= 60


def test_standard_reads_the_same_share_of_a_longer_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(1500, 32, 32), gop=25)
    _, clips, account = read(path, Sampling())
    assert len(clips) == 3
    assert account.n_frames_decoded <= 80


def test_stride_takes_every_nth_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(48))
    _, clips, account = read(path, Sampling(coverage=Coverage.FULL, frames_per_clip=8, stride=3))
    numbers = [number_of(frame) for clip in clips for frame in clip.frames]
    assert numbers == list(range(0, 48, 3))
    assert (account.n_frames_decoded, account.n_frames_used) == (48, 16)


def test_frames_out_of_order_in_an_avi_are_all_read(tmp_path: Path) -> None:
    made = {"gop": 250, "options": {"preset": "medium", "sc_threshold": "40"}}  # as PyAV has it
    path = write_video(tmp_path / "a.avi", numbered_frames(600), **made)
    _, clips, account = read(path)
    numbers = [number_of(frame) for clip in clips for frame in clip.frames]
    wrong = np.abs(np.array(numbers) - np.arange(600) % 78)
    assert wrong.max() <= 1
    assert (np.diff(times_of(clips)) > 0).all()
    assert account.n_frames_used == account.n_frames_decoded == 600


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_keeps_exact_times(suffix: str, tmp_path: Path) -> None:
    pts_ms = [40 * i + 11 * (i % 3) for i in range(40)]
    path = write_video(tmp_path / f"a{suffix}", numbered_frames(40), pts_ms=pts_ms)
    _, clips, _ = read(path)
    assert times_of(clips) == [ms / 1000 for ms in pts_ms]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_time_counts_from_the_first_frame(suffix: str, tmp_path: Path) -> None:
    pts_ms = [5000 + 40 * i for i in range(20)]
    path = write_video(tmp_path / f"a{suffix}", numbered_frames(20), pts_ms=pts_ms)
    probe, clips, account = read(path)
    assert times_of(clips) == [round(0.04 * i, 3) for i in range(20)]
    assert (probe.duration_s, account.truncated) == (pytest.approx(0.8, abs=0.05), False)


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_rotated_frames_come_upright(rotation: int, suffix: str, tmp_path: Path) -> None:
    shown = numbered_frames(20)[5]
    stored = np.ascontiguousarray(np.rot90(shown, rotation // 90))  # counter-clockwise
    path = write_video(tmp_path / f"a{suffix}", [stored] * 10, rotation=rotation)
    probe, clips, _ = read(path)
    assert (probe.width, probe.height, probe.rotation) == (96, 64, rotation)
    assert np.abs(clips[0].frames[0].astype(int) - shown).mean() < 6


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(10), sar=Fraction(4, 3))
    probe, clips, _ = read(path)
    assert (probe.width, probe.height) == (128, 64)
    assert clips[0].frames.shape == (10, 64, 128, 3)


def test_large_frames_are_reduced_as_they_leave_the_decoder(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(4, 256, 128))
    probe, clips, _ = read(path, limits=Limits(decode_long_side=64))
    assert (probe.width, probe.height) == (256, 128)
    assert clips[0].frames.shape == (4, 32, 64, 3)
    assert clips[0].scale == 0.25


@pytest.mark.parametrize(
    "made",
    [
        {"pix_fmt": "yuv444p"},
        {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": QUIET_X265},
        {"codec": "ffv1", "pix_fmt": "yuv420p"},
    ],
)
def test_odd_sizes_and_deep_colours_are_read(made: dict[str, Any], tmp_path: Path) -> None:
    width = 98 if "10le" in made["pix_fmt"] else 97
    path = write_video(tmp_path / "a.mkv", numbered_frames(10, width, 66), **made)
    _, clips, _ = read(path)
    numbers = [number_of(frame) for frame in clips[0].frames]
    assert np.abs(np.array(numbers) - np.arange(10)).max() <= 1
    assert clips[0].frames.shape[1:3] == (66, width)


def test_a_size_that_changes_in_the_middle_is_brought_to_the_first(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.ts", numbered_frames(20))
    second = write_video(tmp_path / "b.ts", numbered_frames(40, 128, 96)[20:])
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    probe, clips, _ = read(joined)
    assert (probe.width, probe.height) == (96, 64)
    assert {clip.frames.shape[1:] for clip in clips} == {(64, 96, 3)}


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("fragmented.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("live.webm", {"codec": "libvpx", "container_options": {"live": "1"}, "options": FAST_VPX}),
        ("sound.mp4", {"audio": True}),
    ],
)
def test_files_of_recorders_are_read_whole(name: str, made: dict[str, Any], tmp_path: Path) -> None:
    probe, clips, _ = read(write_video(tmp_path / name, numbered_frames(40), **made))
    numbers = [number_of(frame) for clip in clips for frame in clip.frames]
    assert np.abs(np.array(numbers) - np.arange(40)).max() <= 1
    assert probe.has_audio == bool(made.get("audio"))


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_truncated_file_gives_what_it_has(suffix: str, share: float, tmp_path: Path) -> None:
    made: dict[str, Any] = {"container_options": {"movflags": "faststart"}}
    if suffix == ".webm":
        made = {"codec": "libvpx", "options": FAST_VPX}
    path = write_video(tmp_path / f"a{suffix}", moving_frames(100), gop=10, **made)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    _, clips, account = read(path, Sampling())
    assert account.truncated
    assert account.n_frames_used >= 32
    assert max(times_of(clips)) < 4.0 * (share + 0.15)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_frames_that_the_decoder_invented_are_left_out_and_counted(
    suffix: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"a{suffix}", moving_frames(60), gop=20, options={"bf": "0"})
    good = np.concatenate([clip.frames for clip in read(path)[1]])
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 400] = bytes(range(200)) * 2
    path.write_bytes(damaged)
    _, clips, account = read(path)
    assert account.n_frames_repeated > 0
    shown = np.concatenate([clip.frames for clip in clips]).astype(int)
    for time_s, frame in zip(times_of(clips), shown, strict=True):
        assert np.abs(good[round(time_s / 0.04)] - frame).max() <= 2


def test_a_still_picture_encoded_many_times_is_no_invention(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [numbered_frames(1)[0]] * 30)
    _, _, account = read(path)
    assert (account.n_frames_used, account.n_frames_repeated) == (30, 0)


def fault_of(path: Path, limits: Limits | None = None) -> MediaFault:
    with pytest.raises(MediaFault) as caught:
        list(decode(str(path), Sampling(), limits or Limits()))
    return caught.value


def test_a_file_without_its_index_is_unreadable(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(40))
    path.write_bytes(path.read_bytes()[:-200])
    assert fault_of(path).outcome is Outcome.UNREADABLE


@pytest.mark.parametrize(
    ("name", "codec", "mark"),
    [("a.mp4", "libx264", b"avc1"), ("a.mkv", "libvpx", b"V_VP8"), ("a.avi", "mpeg4", b"FMP4")],
)
def test_an_unknown_codec_is_unsupported_and_named(
    name: str, codec: str, mark: bytes, tmp_path: Path
) -> None:
    path = write_video(tmp_path / name, numbered_frames(10), codec=codec)
    odd = mark[:-2] + b"Q7"
    path.write_bytes(path.read_bytes().replace(mark, odd))
    fault = fault_of(path)
    assert (fault.outcome, fault.kind) == (Outcome.UNSUPPORTED, "codec_not_supported")
    assert odd.decode() in fault.message


def test_sound_alone_is_unsupported(tmp_path: Path) -> None:
    for name in ("a.m4a", "a.mp4", "a.mkv", "a.aac"):
        fault = fault_of(write_sound(tmp_path / name))
        assert (fault.outcome, fault.kind) == (Outcome.UNSUPPORTED, "no_video_stream"), name


def test_frames_with_too_many_pixels_are_too_large(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(4))
    assert fault_of(path, Limits(max_pixels=96 * 64 - 1)).outcome is Outcome.TOO_LARGE


def test_writing_av1_leaves_the_usual_priority(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_frames(4), codec=AV1, options=AV1_FAST)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
