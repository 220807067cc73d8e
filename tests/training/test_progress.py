"""Long work tells how far it is."""

from __future__ import annotations

import pytest

from dfd_batch.training import progress
from dfd_batch.training.progress import told


def test_lines_tell_what_is_done_with_what_was_done_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    assert list(told(range(2, 4), "pairs", 4, done=2)) == [2, 3]
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["pairs: 3 of 4", "pairs: 4 of 4"]
    assert lines[-1].endswith("0:00:00 to go")


def test_quick_work_tells_its_end_alone(capsys: pytest.CaptureFixture[str]) -> None:
    list(told(range(2000), "pairs", 2000))
    assert capsys.readouterr().out.splitlines() == ["pairs: 2,000 of 2,000, 0:00:00 to go"]
    list(told([], "pairs", 0))
    assert not capsys.readouterr().out


def test_terminals_see_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(told(range(3), "pairs", 3)) == [0, 1, 2]
    assert "pairs" in capsys.readouterr().out
