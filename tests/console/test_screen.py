"""Tables in a pipe keep their lines; on a narrow screen long names are folded, short ones not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dfd_batch.console.query import _show

URI = f"s3://archive/{'long/' * 40}name.mp4"
TABLE = pa.table({"uri": [URI], "probability": [0.5], "verdict": ["inconclusive"]})


def test_a_piped_row_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    _show(TABLE)
    assert any(
        URI in line and "inconclusive" in line for line in capsys.readouterr().out.split("\n")
    )


def test_a_narrow_screen_folds_the_long_column_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _show(TABLE)
    told = capsys.readouterr().out
    assert max(map(len, told.split("\n"))) <= 80 and URI not in told
    assert "probability" in told and "inconclusive" in told
