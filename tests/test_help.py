"""Every command shows how it is used, and what it shows is what it takes."""

import re
import shlex

import pytest
import typer
from typer.testing import CliRunner

from dfd_batch.cli import app

COMMANDS = typer.main.get_command(app).commands
EXAMPLE = re.compile(r"`(dfd [^`]+)`")


def examples(text: str) -> list[list[str]]:
    """Return the command lines that a help text quotes, those with something left out excepted."""
    flat = " ".join(text.split())
    return [shlex.split(line)[1:] for line in EXAMPLE.findall(flat) if "…" not in line]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_a_command_has_an_example_of_it(name):
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"dfd {name}" in shown.output.replace(f"Usage: dfd {name}", "")
    assert name in {words[0] for words in examples(COMMANDS[name].help) if len(words) > 1}


@pytest.mark.parametrize("name", ["", *sorted(COMMANDS)])
def test_examples_are_command_lines_that_are_understood(name):
    text = COMMANDS[name].help if name else app.info.help
    shown = examples(text)
    assert shown
    for words in shown:
        command = COMMANDS[words[0]]
        if words[1:]:  # raises where it does not understand
            with command.make_context(f"dfd {words[0]}", words[1:]) as context:
                assert not context.args
