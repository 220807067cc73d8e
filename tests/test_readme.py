"""What the README shows is what the program takes."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from dfd_batch import settings
from dfd_batch.cli import app
from dfd_batch.outcomes import Outcome, Verdict

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_settings_file_is_valid(tmp_path):
    (text,) = blocks("toml")
    config = tmp_path / "dfd.toml"
    config.write_text(text)
    assert settings.load(config=config).pools.crop_actors is not None


def test_its_commands_and_flags_exist():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    used = [shlex.split(line, comments=True) for line in lines if line.startswith("dfd ")]
    assert {words[1] for words in used} >= {"scan", "plan", "show", "summary", "info"}
    for words in used:
        told = CliRunner().invoke(app, [words[1], "--help"])
        assert told.exit_code == 0
        for flag in (word for word in words if word.startswith("--")):
            assert flag in told.output


def test_the_tests_that_hold_its_promises_are_there():
    root = Path(__file__).parent.parent
    table = README.partition("## What we promise")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    for promise, held_by in rows[1:]:
        named = re.findall(r"`(tests/[\w/.]+)`", held_by)
        assert named, promise
        for name in named:
            path = root / name
            found = [path] if path.is_file() else list(path.glob("test_*.py"))
            assert any("def test_" in file.read_text() for file in found), name


def test_it_names_every_outcome_and_verdict():
    for word in (*Outcome, *Verdict):
        assert f"`{word}`" in README


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
