from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch.catalog import objects

triples = st.tuples(
    st.text(alphabet='a"\\,[]1n', max_size=6),
    st.none() | st.text(alphabet='a"\\,[]1n', max_size=6),
    st.none() | st.integers(0, 20),
)


@given(triples, triples)
def test_ids_are_equal_exactly_when_uri_token_and_size_are(
    one: tuple[str, str | None, int | None], other: tuple[str, str | None, int | None]
) -> None:
    assert (objects.media_id(*one) == objects.media_id(*other)) == (one == other)


def test_id_is_stable_across_releases() -> None:
    told = objects.media_id("s3://b/k.mp4", "abc", 5)
    assert told == "3a07b2130a33fdc6c7f3ac9c864ecf45"


def test_etag_loses_its_quotes_and_comes_before_the_version_in_the_identity() -> None:
    listed = objects.make("s3://b/k", '"abc"', None, 5)
    inventory = objects.make("s3://b/k", "abc", "v1", 5)
    assert listed.etag == "abc"
    assert listed.media_id == inventory.media_id
    assert objects.make("s3://b/k", None, "v1", 5).media_id != objects.make("s3://b/k").media_id


def test_times_become_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert objects.make("u", last_modified=datetime(2024, 1, 1, 2, tzinfo=east)).last_modified == (
        datetime(2024, 1, 1, tzinfo=UTC)
    )
    naive = datetime(2024, 1, 1)
    assert objects.make("u", last_modified=naive).last_modified == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("a/b.MP4", "video"), ("s3://b/x.JPeg", "image"), ("a.mp4/readme", None), ("mp4", None)],
)
def test_hint_follows_the_extension(name: str, hint: str | None) -> None:
    assert objects.media_hint(name) == hint


def test_a_changed_file_gets_another_identity_and_an_unchanged_one_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1234")
    first = objects.of_file(path)
    assert objects.of_file(path) == first
    assert (first.size_bytes, first.media) == (4, "video")
    os.utime(path, ns=(1, first_mtime_ns := 1_700_000_000_123_456_789))
    second = objects.of_file(path)
    assert second.media_id != first.media_id
    assert second.last_modified == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert first_mtime_ns == path.stat().st_mtime_ns


@pytest.mark.parametrize("name", [".DS_Store", "a/.git/x.mp4", "._a.mov", "x/_temporary/0/a"])
def test_names_of_tools_are_hidden(name: str) -> None:
    assert objects.hidden(name)
    assert not objects.hidden("a/_b/c..mp4")
    assert not objects.hidden("../a.mp4")
