"""Reading parts: the bytes are those of the whole file, and few are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfd_batch.decode.cell import Cell
from dfd_batch.decode.media import decode
from dfd_batch.decode.partial import MOST_BYTES, Load, PartialFile
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Coverage, Limits, Sampling
from tests.media import moving_frames, write_video

CONTENT = os.urandom(1_500_000)


def holed(whole: Path, folder: Path) -> tuple[str, Load, list[tuple[int, int]]]:
    """Return a file of holes, what fills it from the whole one, and what it was asked for."""
    path, asked = folder / "holes", []
    content = whole.read_bytes()
    with path.open("wb") as file:
        file.truncate(len(content))

    def load(begin: int, end: int) -> None:
        asked.append((begin, end))
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(content[begin:end])

    return str(path), load, asked


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-10, len(CONTENT) + 10), st.integers(-1, 700_000)), max_size=12)
)
def test_what_is_read_is_the_files_content_and_comes_once(
    tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("partial")
    (folder / "whole").write_bytes(CONTENT)
    path, load, asked = holed(folder / "whole", folder)
    with PartialFile(path, load) as file:
        for at, n in reads:
            position = file.seek(at)
            assert position == max(at, 0)
            found = file.read(n)
            assert found == CONTENT[position:] if n < 0 else found == CONTENT[position:][:n]
    for i, (begin, end) in enumerate(asked):
        assert 0 <= begin < end <= len(CONTENT)
        assert not any(a <= begin < b for a, b in asked[:i])


def test_reading_on_takes_ever_larger_parts(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(bytes(40_000_000))
    path, load, asked = holed(tmp_path / "whole", tmp_path)
    with PartialFile(path, load) as file:
        while file.read(32_768):
            pass
    sizes = [end - begin for begin, end in asked]
    assert len(asked) < 12
    assert max(sizes) == MOST_BYTES
    assert sum(sizes) == 40_000_000


def items_of(found: object) -> tuple[list[Probe], list[Clip], list[Decoded]]:
    probes, clips, accounts = [], [], []
    for item in found:  # type: ignore[attr-defined]
        match item:
            case Probe():
                probes.append(item)
            case Clip():
                clips.append(Clip(item.index, item.frames.copy(), item.times_s, item.scale))
            case Decoded():
                accounts.append(item)
    return probes, clips, accounts


@pytest.mark.parametrize(
    "made",
    [
        {"name": "end.mp4"},
        {"name": "front.mp4", "container_options": {"movflags": "faststart"}},
        {"name": "pieces.mp4", "container_options": {"movflags": "frag_keyframe+empty_moov"}},
        {"name": "a.mkv"},
        {"name": "a.avi", "codec": "mpeg4"},
        {"name": "a.ts"},
    ],
    ids=lambda made: made["name"],
)
def test_parts_of_a_video_give_the_clips_of_the_whole(made: dict, tmp_path: Path) -> None:
    made = dict(made)
    whole = write_video(tmp_path / made.pop("name"), moving_frames(400), gop=20, **made)
    path, load, asked = holed(whole, tmp_path)
    sampling = Sampling(coverage=Coverage.QUICK, frames_per_clip=4)
    probes, clips, (account,) = items_of(decode(str(whole), sampling, Limits()))
    with Cell(Limits()) as cell:
        their_probes, theirs, (their_account,) = items_of(cell.decode(path, sampling, "a", load))
    assert their_probes == probes
    assert len(theirs) == len(clips) == 2
    for ours, other in zip(clips, theirs, strict=True):
        assert (ours.frames == other.frames).all()
        assert (ours.times_s == other.times_s).all()
    assert their_account.n_frames_decoded == account.n_frames_decoded
    n_asked = sum(end - begin for begin, end in asked)
    assert n_asked <= whole.stat().st_size
    if whole.name in {"end.mp4", "front.mp4", "a.mkv"}:  # they hold an index
        assert n_asked < 0.8 * whole.stat().st_size


def test_an_image_in_parts_is_read_whole(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    path, load, _ = holed(tmp_path / "a.png", tmp_path)
    with Cell(Limits()) as cell:
        _, (clip,), _ = items_of(cell.decode(path, Sampling(), "a", load))
    assert (clip.frames[0] == noise).all()


def test_a_part_that_cannot_be_read_is_told_and_the_cell_goes_on(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", moving_frames(60), gop=20)
    path, load, _ = holed(whole, tmp_path)

    def after(n: int) -> Callable[[int, int], None]:
        left = [n]

        def some(begin: int, end: int) -> None:
            if not left[0]:
                raise MediaFault(Outcome.CHANGED, "412", "s3://b/a: it has changed.")
            left[0] -= 1
            load(begin, end)

        return some

    with Cell(Limits()) as cell:
        for n in (0, 1):
            with pytest.raises(MediaFault) as caught:
                list(cell.decode(path, Sampling(), "s3://b/a", after(n)))
            assert (caught.value.outcome, caught.value.kind) == (Outcome.CHANGED, "412")
            assert caught.value.message == "s3://b/a: it has changed."
        assert items_of(cell.decode(str(whole), Sampling()))[2][0].n_clips


def test_a_text_file_in_parts_costs_its_first_block_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("Minutes of the meeting.\n" * 100_000)
    path, load, asked = holed(tmp_path / "a", tmp_path)
    with Cell(Limits()) as cell, pytest.raises(MediaFault) as caught:
        list(cell.decode(path, Sampling(), "a", load))
    assert caught.value.outcome is Outcome.UNSUPPORTED
    assert len(asked) == 1
