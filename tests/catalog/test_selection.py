from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.catalog.objects import make
from dfd_batch.catalog.selection import Selection
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Select

NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("glob", "name", "taken"),
    [
        ("*.mp4", "a.mp4", True),
        ("*.mp4", "deep/er/IMG.MP4", True),
        ("*.mp4", "a.mp4.txt", False),
        ("a/*.mp4", "a/x.mp4", True),
        ("a/*.mp4", "a/b/x.mp4", False),
        ("a/*.mp4", "b/a/x.mp4", False),
        ("a/**/*.mp4", "a/x.mp4", True),
        ("a/**/*.mp4", "a/b/c/x.mp4", True),
        ("**/b/**", "a/b/c", True),
        ("b/", "b/c/d", True),
        ("b/", "c/b/d", False),
        ("./a/*", "a/x", True),
        ("x[0-9]?.jpg", "x1b.jpg", True),
        ("x[!0-9].jpg", "x1.jpg", False),
        ("a+(b).mp4", "a+(b).mp4", True),
        ("*", "line\nbreak", True),
    ],
)
def test_globs(glob: str, name: str, taken: bool) -> None:
    assert Selection(Select(include=(glob,))).takes_name(name) is taken
    assert Selection(Select(exclude=(glob,))).takes_name(name) is not taken


plain_names = st.text(alphabet="ab.-/", min_size=1, max_size=8).map(lambda s: "x" + s.strip("/"))


@given(plain_names.filter(lambda name: "//" not in name))
def test_a_name_without_wildcards_matches_itself_and_double_star_matches_all(name: str) -> None:
    assert Selection(Select(include=(name,))).takes_name(name)
    assert Selection(Select(include=("**",))).takes_name(name)
    assert Selection(Select(include=("**/*",))).takes_name(name)


def test_exclude_wins_over_include() -> None:
    both = Selection(Select(include=("*.mp4",), exclude=("raw/**",)))
    assert both.takes_name("cut/a.mp4")
    assert not both.takes_name("raw/a.mp4")
    assert both.prunes("raw")
    assert not both.prunes("cut")


def test_a_mixed_double_star_is_refused_with_the_glob() -> None:
    with pytest.raises(UsageError, match=r"a\*\*b"):
        Selection(Select(include=("a**b",)))


def test_limits_include_their_bounds_and_unknown_values_pass() -> None:
    sized = Selection(Select(min_size_bytes=10, max_size_bytes=20))
    taken = [size for size in (9, 10, 20, 21) if sized.takes(make("u", size_bytes=size))]
    assert taken == [10, 20]
    assert sized.takes(make("u"))


def test_ages_count_from_now() -> None:
    ages = Selection(Select(newer_than_days=7, older_than_days=1), now=NOW)

    def taken(days: float) -> bool:
        return ages.takes(make("u", last_modified=NOW - timedelta(days=days)))

    assert [taken(days) for days in (0.5, 1, 7, 7.5)] == [False, True, True, False]
    assert ages.takes(make("u"))
