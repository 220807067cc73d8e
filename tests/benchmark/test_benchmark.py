"""The benchmark runs and reports what it promises; no figure is judged here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dfd_batch.benchmark.lines import Goal, Line
from dfd_batch.benchmark.run import GROUPS, chosen
from dfd_batch.cli import app
from dfd_batch.demo.film import Shot, View, film, write_clip
from dfd_batch.demo.photographs import astronaut
from dfd_batch.outcomes import UsageError
from tests.media import number_of, numbered_frames, write_video
from tests.release import RELEASE

LINE = {"key", "what", "unit", "value", "low", "high", "n", "goal", "reached", "note"}


def measured(tmp_path: Path, *arguments: str) -> dict:
    to = tmp_path / "figures.json"
    command = ["benchmark", "--quick", "--repeats", "1", "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(app, [*command, "--json", str(to), *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(to.read_text())


def check(document: dict, group: str) -> None:
    assert document["machine"]["cpu"] and document["machine"]["libraries"]["torch"]
    assert {line["key"] for line in document["lines"]} == set(GROUPS[group][1])
    for line in document["lines"]:
        assert set(line) == LINE
        assert line["value"] is None or line["low"] <= line["value"] <= line["high"]
    ratios = {line["key"]: line["value"] for line in document["lines"] if line["unit"] == "×"}
    assert document["ratios"] == ratios


def test_one_line_is_measured_and_written(tmp_path: Path) -> None:
    document = measured(tmp_path, "--only", "help_seconds")
    check(document, "start")
    assert document["lines"][1]["value"] == 0  # nothing heavy is imported for help


def test_a_line_says_whether_its_goal_is_reached_by_the_median() -> None:
    line = Line("a", "what", "×", [9.0, 30.0, 11.0], Goal("≥", 10))
    assert (line.value, line.reached) == (11.0, True)
    assert Line("a", "what", "×", [9.0], Goal("≥", 10)).reached is False
    assert Line("a", "what", "×", [], Goal("≥", 10), "no GPU").reached is None


def test_lines_and_groups_are_found_by_name() -> None:
    assert chosen(["faces", "plan_seconds"]) == ["faces", "planning"]
    assert chosen([]) == list(GROUPS)
    with pytest.raises(UsageError, match="speed"):
        chosen(["speed"])


@pytest.mark.slow
@pytest.mark.skipif(not RELEASE, reason="minutes of the plain way: TEST_LENGTH=release")
def test_a_tiny_archive_is_compared_with_the_plain_way(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    shot = Shot(View(225, 200, 1.1), View(235, 170, 1.4), 320, 240, duration_s=2.0)
    write_clip(media / "a.mp4", film([astronaut().picture] * 50, shot))
    document = measured(tmp_path, "--only", "objects", "--media", str(media), "--objects", "4")
    check(document, "objects")
    assert document["ratios"]["objects_per_cpu_second_vs_plain"] > 0
    assert document["sizing"][0]["price_per_1000_objects"] > 0


def test_the_plain_way_sees_frames_spread_over_the_whole_video(tmp_path: Path) -> None:
    from dfd_batch.benchmark.plain import N_FRAMES, read_frames

    path = write_video(tmp_path / "a.mp4", numbered_frames(70), gop=10)
    seen = [number_of(frame) for frame in read_frames(str(path))]
    assert len(seen) == N_FRAMES
    assert (seen[0], seen[-1]) == (0, 69)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("start_ms", [0, 3000])
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("live.mkv", {"container_options": {"live": "1"}}),
    ],
)
def test_without_decord_it_sees_the_same(
    name: str, made: dict, start_ms: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfd_batch.benchmark.plain import N_FRAMES, read_frames

    monkeypatch.setitem(sys.modules, "decord", None)
    times = [start_ms + 40 * i for i in range(70)]
    path = write_video(tmp_path / name, numbered_frames(70), gop=10, pts_ms=times, **made)
    seen = [number_of(frame) for frame in read_frames(str(path))]
    assert len(seen) == N_FRAMES
    assert (seen[0], seen[-1]) == (0, 69)
    assert seen == sorted(set(seen))


def test_longer_videos_repeat_the_packets_of_shorter_ones(tmp_path: Path, monkeypatch) -> None:
    import av

    from dfd_batch.benchmark import media

    monkeypatch.setitem(media.WIDTHS, 480, 160)
    path = media.make(media.Made(20, 480), tmp_path)
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([i / 25 for i in range(500)])
