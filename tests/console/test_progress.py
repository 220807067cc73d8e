"""What a log shows of a scan: short when read later, alive when followed."""

import io
import itertools

from rich.console import Console

from dfd_batch.console.progress import SELDOM_S, PlainLines, watching
from dfd_batch.pipeline import Progress


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def plain():
    log, clock = io.StringIO(), Clock()
    return log, clock, PlainLines(Console(file=log, width=120), clock)


def test_a_day_of_progress_is_some_lines_a_minute_at_first_and_one_a_minute_later():
    log, clock, lines = plain()
    n = 24 * 3600
    at = []
    for second in range(n + 1):
        clock.now_s = float(second)
        before = log.tell()
        lines(Progress(n, second, {"scored": second}, {}, float(second)))
        if log.tell() > before:
            at.append(second)
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert min(gaps) >= 1 and set(gaps[:12]) == {5} and set(gaps[-100:-1]) == {60}
    assert at[-1] == n and len(at) < 1600
    assert log.getvalue().splitlines()[-1] == "24 h 00 min: 86,400 of 86,400, 1/s; 86,400 scored"


def test_work_without_news_is_told_of_every_minute_with_the_time_as_it_is():
    log, clock, lines = plain()
    lines.beat()  # nothing is known yet
    lines(Progress(100, 0, elapsed_s=4.0))
    for second in range(1, 200):
        clock.now_s = float(second)
        lines.beat()
    told = log.getvalue().splitlines()
    assert told == [
        "4.0 s: 0 of 100",
        "1 min 04 s: 0 of 100",
        "2 min 04 s: 0 of 100",
        "3 min 04 s: 0 of 100",
    ]
    assert clock.now_s > 3 * SELDOM_S
    lines(Progress(100, 50, {"scored": 49, "empty": 1}, {}, 204.0))
    clock.now_s += SELDOM_S
    lines.beat()
    assert log.getvalue().splitlines()[-1] == (
        "4 min 24 s: 50 of 100, 0.19/s, 4 min 24 s to go; 49 scored, 1 empty"
    )


def test_a_log_gets_plain_lines_and_nothing_of_a_terminal():
    log = io.StringIO()
    with watching(Console(file=log, width=120)) as told:
        told(Progress(2, 0, elapsed_s=1.0))
        told(Progress(2, 2, {"scored": 2}, {}, 2.0))
    assert log.getvalue().splitlines() == ["1.0 s: 0 of 2", "2.0 s: 2 of 2, 1/s; 2 scored"]
