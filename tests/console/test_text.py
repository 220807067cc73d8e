import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dfd_batch.console.progress import PlainLines, line
from dfd_batch.console.text import parse_age_days, parse_size, printable, size
from dfd_batch.outcomes import UsageError
from dfd_batch.pipeline import Progress


@pytest.mark.parametrize(
    ("value", "n_bytes"),
    [("0", 0), ("500", 500), ("10MB", 10_000_000), ("1.5 GiB", 1_610_612_736), ("2k", 2000)],
)
def test_sizes_read_as_people_write_them(value: str, n_bytes: int) -> None:
    assert parse_size(value, "--min-size") == n_bytes


@pytest.mark.parametrize(
    ("value", "days"), [("7", 7), ("7d", 7), ("12h", 0.5), ("2w", 14), ("30m", 30 / 1440)]
)
def test_ages_read_as_people_write_them(value: str, days: float) -> None:
    assert parse_age_days(value, "--newer-than") == pytest.approx(days)


@pytest.mark.parametrize("value", ["", "-1", "ten", "10 parsecs", "1e3", "MB"])
def test_what_is_no_size_names_flag_and_value(value: str) -> None:
    with pytest.raises(UsageError, match=f"--min-size '{value}'"):
        parse_size(value, "--min-size")


@given(st.integers(0, 10**15))
def test_a_told_size_reads_back_within_its_digits(n_bytes: int) -> None:
    assert parse_size(size(n_bytes), "") == pytest.approx(n_bytes, rel=0.06, abs=1)


@given(st.text())
def test_printed_names_hold_no_control_characters(name: str) -> None:
    assert printable(name).isprintable()


def test_a_progress_line_has_rate_time_to_go_and_outcomes() -> None:
    told = line(Progress(14, 7, {"scored": 6, "no_face": 1}, {}, 10.0))
    assert told == "10.0 s: 7 of 14, 0.7/s, 10.0 s to go; 6 scored, 1 no_face"


def test_plain_lines_are_few_but_the_last_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    listener = PlainLines(Console(width=200))
    for n_done in range(101):
        listener(Progress(100, n_done, {"scored": n_done}, {}, 1.0 + n_done))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1.0 s: 0 of 100")
    assert lines[-1].startswith("1 min 41 s: 100 of 100")
    assert len(lines) < 5
