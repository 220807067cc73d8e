"""Every kind of the zoo through the real Crop stage: one row each, with the right outcome."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from PIL import Image

from dfd_batch.demo.photographs import coffee
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Decoded
from dfd_batch.settings import Faces, Sampling
from dfd_batch.stages import MAX_MESSAGE, MAX_URI
from tests.faults.runner import Scanner
from tests.faults.zoo import Kind, kinds
from tests.faults.zoo_hostile import mov_with_reference
from tests.faults.zoo_images import crowd, encoded
from tests.faults.zoo_videos import face_frames, film, for_hours, remuxed, shifted
from tests.media import write_video

FINAL = {
    outcome.value
    for outcome in Outcome
    if not outcome.retryable and outcome not in (Outcome.SCORED, Outcome.EMPTY)
}
FUZZED_COPIES = int(os.environ.get("FUZZED_COPIES", "2000"))
FACES_EVERY = 5
"""Looking for faces takes most of a copy's time and sees no byte of what was mutated."""


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    """One Crop for all objects: what one does to it would show in the next."""
    own = psutil.Process()
    others = set(own.children(recursive=True))
    scanner = Scanner()
    before = own.num_fds()
    yield scanner
    # the decoders' server and one worker
    assert len(set(own.children(recursive=True)) - others) <= 2
    scanner.close()
    assert not set(own.children(recursive=True)) - others
    assert own.num_fds() <= before
    assert not list(Path("/dev/shm").glob("dfd*"))


def outcome_of(row: dict[str, Any]) -> str:
    """Return a row's outcome after holding it against what all rows must be."""
    outcome = row["outcome"] or Outcome.SCORED.value
    if outcome == Outcome.SCORED:
        assert row["error_kind"] is row["error_message"] is None
        assert row["n_crops"] == len(row["crop_time_s"]) == len(row["crop_box"]) > 0
        assert len(row["crops"]) == row["n_crops"] * 96 * 96 * 3
        assert row["n_frames_used"] <= row["n_frames_decoded"]
        assert row["n_faces"] >= 1
        by_track: dict[int, list[float]] = {}
        for track, time_s in zip(row["crop_track"], row["crop_time_s"], strict=True):
            by_track.setdefault(track, []).append(time_s)
        for times_s in by_track.values():
            assert times_s == sorted(set(times_s))
            assert times_s[0] >= 0
        assert all(math.isfinite(side) for box in row["crop_box"] for side in box)
    else:
        assert row["error_kind"]
        message, uri = row["error_message"], row["uri"]
        assert len(message) <= MAX_MESSAGE
        assert message.startswith(uri if len(uri) <= MAX_URI else uri[:40])
        reason = message.removeprefix(uri)
        assert len(reason) > 20
        assert message.endswith(".") or len(message) == MAX_MESSAGE
        assert (row["n_crops"], row["crops"]) == (0, b"")
    return str(outcome)


def named(kind: Kind) -> str:
    return ascii(kind.name)[:60]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, id=named(k), marks=[pytest.mark.slow] if k.slow else []) for k in kinds()],
)
def test_every_kind_ends_as_one_row_with_the_right_outcome(
    kind: Kind, scanner: Scanner, tmp_path: Path
) -> None:
    row = scanner.scan(kind.make(tmp_path))
    assert outcome_of(row) in kind.right, (row["error_kind"], row["error_message"])


def test_the_zoo_is_large_and_its_names_differ() -> None:
    names = [kind.name for kind in kinds()]
    assert len(names) == len(set(names)) >= 60


def test_the_film_that_a_reference_points_at_would_play_if_it_were_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(mov_with_reference(path))
    followed = {"enable_drefs": "1", "use_absolute_path": "1"}
    for options, n_frames in (({}, 0), (followed, 20)):
        with av.open(str(path), options=options) as container:
            assert len(list(container.decode(video=0))) == n_frames


def test_a_film_whose_only_key_frame_is_damaged_is_scored_where_it_has_healed(
    scanner: Scanner, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.avi", face_frames(12) * 60, gop=9999, options={"bf": "0"})
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
    whole = bytearray(path.read_bytes())
    middle = (first.pos or 0) + first.size // 2
    whole[middle : middle + 20] = bytes(range(100, 120))
    path.write_bytes(whole)
    row = scanner.scan(path)
    assert outcome_of(row) == Outcome.SCORED
    assert row["truncated"]
    assert min(row["crop_time_s"]) >= 1.0
    assert row["n_frames_decoded"] < 200


def test_a_search_for_undamaged_frames_has_an_end(scanner: Scanner, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", face_frames(12) * 100, gop=9999, options={"bf": "0"})
    whole = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for pos, size in packets[::4]:
        middle = pos + max(8, size // 2)
        whole[middle : middle + 20] = bytes(range(100, 120))
    path.write_bytes(whole)
    row = scanner.scan(path)
    assert (outcome_of(row), row["error_kind"]) == (Outcome.UNREADABLE, "damaged_frames")
    assert "all 1200 frames" not in row["error_message"]


def test_an_edit_list_hides_no_frame_that_players_show(scanner: Scanner, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    # as `ffmpeg -ss 0.5 -c copy` leaves it: the first key frame lies before the beginning
    remuxed(shifted(-500), {"avoid_negative_ts": "disabled"}, gop=5)(path)
    with av.open(str(path)) as container:
        n_shown = sum(1 for _ in container.decode(video=0))
    row = scanner.scan(path)
    assert row["n_frames_used"] == n_shown == 27
    assert row["crop_time_s"][:2] == pytest.approx([0.0, 0.04])


def test_ten_hours_of_a_still_cost_what_a_minute_does(scanner: Scanner, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for_hours(10)(path)
    row = scanner.scan(path)
    assert outcome_of(row) == Outcome.SCORED
    assert row["duration_s"] == pytest.approx(36_000, abs=1)
    assert row["n_frames_used"] == row["n_frames_decoded"] == 72
    assert row["crop_time_s"][-1] > 30_000  # spread over all of it


def test_of_a_hundred_faces_as_many_are_judged_as_the_settings_say(
    scanner: Scanner, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(crowd(path))
    row = scanner.scan(path)
    assert outcome_of(row) == Outcome.SCORED
    assert row["n_faces"] == row["n_crops"] == Faces().max_faces_per_frame


def test_a_cup_lying_on_its_side_is_nobody(scanner: Scanner, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(Image.fromarray(coffee())))
    assert outcome_of(scanner.scan(path)) == Outcome.NO_FACE


def test_of_a_long_name_the_message_keeps_the_reason(scanner: Scanner, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".mp4")
    path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(90))
    message = scanner.scan(path)["error_message"]
    assert message.startswith(str(path)[:40])
    assert "container cannot be opened" in message


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 8, 64, 512))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _splice(rng: random.Random, data: bytearray) -> None:
    begin, n = rng.randrange(len(data)), rng.randrange(1, 4000)
    part = data[begin : begin + n]
    where = rng.randrange(len(data))
    data[where : where + rng.choice((0, n))] = part


def _fill(rng: random.Random, data: bytearray) -> None:
    begin, n = rng.randrange(len(data)), rng.choice((4, 8, 100, 3000))
    data[begin : begin + n] = bytes([rng.choice((0, 0x7F, 0xFF))]) * n


def _head(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randrange(1, 9)):
        data[rng.randrange(min(len(data), 1500))] = rng.randrange(256)


MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _cut, _splice, _fill, _head,
)  # fmt: skip
SMALL: dict[str, Callable[[Path], object]] = {
    "a.mp4": film(n=8, size=(160, 120), audio=True, container_options={"movflags": "faststart"}),
    "a.mkv": film("mpeg4", n=8, size=(160, 120)),
    "a.ts": film("mpeg2video", n=8, size=(160, 120), audio=True),
    "a.webm": film("libvpx", n=8, size=(160, 120), options={"deadline": "realtime"}),
    "a.avi": film("mjpeg", n=4, size=(160, 120), pix_fmt="yuvj420p"),
    "a.png": lambda path: path.write_bytes(encoded(kind="PNG")),
    "a.jpg": lambda path: path.write_bytes(encoded()),
    "a.tiff": lambda path: path.write_bytes(encoded(kind="TIFF", compression="jpeg")),
}


def decoded(scanner: Scanner, path: Path) -> str:
    """Return the outcome of decoding alone."""
    try:
        *_, account = scanner.crop._cell.decode(str(path), Sampling())
    except MediaFault as fault:
        assert str(path) in fault.message
        return fault.outcome.value
    assert isinstance(account, Decoded)
    assert 0 < account.n_frames_used <= account.n_frames_decoded
    return Outcome.SCORED.value


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SMALL)
def test_mutated_copies_end_as_one_final_row_each(
    name: str, scanner: Scanner, tmp_path: Path
) -> None:
    path = tmp_path / name
    SMALL[name](path)
    whole = path.read_bytes()
    assert outcome_of(scanner.scan(path)) == Outcome.SCORED
    for seed in range(math.ceil(FUZZED_COPIES / len(SMALL))):
        rng = random.Random(f"{name} {seed}")
        data = bytearray(whole)
        for mutate in rng.sample(MUTATIONS, rng.choice((1, 1, 2))):
            mutate(rng, data)
            data = data or bytearray(1)
        path.write_bytes(data)
        whole_row = seed % FACES_EVERY == 0
        outcome = outcome_of(scanner.scan(path)) if whole_row else decoded(scanner, path)
        assert outcome in FINAL | {Outcome.SCORED.value}, seed
