"""The benchmark runs and reports what it promises; no figure is judged here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dfd_batch import settings
from dfd_batch.benchmark import cpu, faces, objects
from dfd_batch.benchmark.lines import Bench, Goal, Line
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


def test_both_ways_are_compared_on_the_same_objects_without_the_users_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for i in range(10):
        (media / f"{i}.mp4").write_bytes(b"x" * (i + 1))  # so long, so dear
    (tmp_path / "dfd.toml").write_text('[sampling]\ncoverage = "full"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_SAMPLING__STRIDE", "3")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    def apart(function: Any, first: Any, *_: Any) -> Any:
        if isinstance(first, str):
            return 0.0  # starting costs nothing
        return [10.0 * path.stat().st_size for path in first]

    def command(words: list[str], log: Path, env: dict[str, str]) -> cpu.Cost:
        assert "RAY_ADDRESS" not in env and not [name for name in env if name.startswith("DFD_")]
        with monkeypatch.context() as patched:
            for name in set(os.environ) - set(env):
                patched.delenv(name)
            assert settings.load(config=Path(words[words.index("--config") + 1])).sampling == (
                settings.Sampling()
            )
        limit = int(words[words.index("--limit") + 1]) if "--limit" in words else None
        archive = sorted(Path(words[words.index("scan") + 1]).iterdir())[:limit]
        summary = Path(words[words.index("--out") + 1]) / "runs" / "r" / "summary.json"
        summary.parent.mkdir(parents=True)
        summary.write_text(json.dumps({"outcomes": {"scored": len(archive)}}))
        return cpu.Cost(float(sum(path.stat().st_size for path in archive)), 1.0, 0)

    monkeypatch.setattr(cpu, "apart", apart)
    monkeypatch.setattr(cpu, "command", command)
    bench = Bench(tmp_path / "work", repeats=2, n_objects=9, media=media)
    lines = {line.key: line for line in objects.measure(bench)}
    assert lines["objects_per_cpu_second_vs_plain"].values == pytest.approx([10, 10])
    assert lines["objects_per_cpu_second_vs_plain_without_start"].values == pytest.approx([10, 10])


def test_videos_without_a_face_or_a_frame_are_left_out_of_the_tracks(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    faceless = write_video(tmp_path / "a.mp4", numbered_frames(20))
    assert faces.tracked_overlaps([broken, faceless], "default")[0] == []


def test_what_was_measured_outlives_a_group_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Bench) -> list[Line]:
        raise UsageError("It failed.")

    monkeypatch.setattr(faces, "measure", fail)
    to = tmp_path / "figures.json"
    words = ["benchmark", "--quick", "--repeats", "1", "--work", tmp_path, "--json", to]
    words += ["--only", "help_seconds", "--only", "faces"]
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 2
    check(json.loads(to.read_text()), "start")


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
