"""`--since-last`: the plan that leaves out what is old is the plan of everything."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from typer.testing import CliRunner

from dfd_batch import pipeline, since
from dfd_batch import settings as all_settings
from dfd_batch.catalog.objects import MediaObject, make
from dfd_batch.catalog.plan import Plan
from dfd_batch.checkpoint import load_card
from dfd_batch.cli import app
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.write import write_rows
from dfd_batch.runs import Run, close_run, open_run
from dfd_batch.schema import REPORT
from dfd_batch.settings import Settings

NO_MARGIN = {"select": {"since_margin_hours": 0.0}}
EMPTY: dict[str, Any] = {
    field.name: 0
    if pa.types.is_integer(field.type)
    else []
    if pa.types.is_list(field.type)
    else None
    for field in REPORT
}
TICK_S = 2.1  # S3 tells whole seconds, and a second more is the least margin


def judge(
    source: str,
    out: str,
    settings: Settings,
    *,
    outcome_of: Callable[[str], str] = lambda uri: "scored",
    since_last: bool = True,
    ends: bool = True,
    limit: int | None = None,
    now: datetime | None = None,
    scores: dict[str, tuple[str, float]] | None = None,
) -> Plan:
    """A run without its media: plan, a row for every object (for half where it is cut off)."""
    now = now or datetime.now(UTC)
    base = since.last_complete(source, out, settings) if since_last else None
    plan = pipeline.make_plan(source, out, settings, limit, base)
    run = Run(f"{now:%Y%m%dT%H%M%S%f}-{plan.digest[:8]}", out, now)
    record = since.listing_record(source, now, base)
    card = load_card(settings.checkpoint)
    open_run(run, plan.table, source, settings, card, plan.detector_id, record)
    todo = plan.table.to_pylist()
    rows = [
        dict(EMPTY)
        | {name: item[name] for name in ("media_id", "uri", "etag", "size_bytes", "attempt")}
        | {"outcome": outcome_of(item["uri"]), "detector_id": plan.detector_id}
        | {"run_id": run.run_id, "scanned_at": now, "threshold": 0.6, "integrity": 0.4}
        | dict(zip(("verdict", "probability"), score_of(item["uri"], scores or {}), strict=True))
        for item in (todo if ends else todo[: len(todo) // 2])
    ]
    if rows:
        table = pa.Table.from_pylist(rows, schema=REPORT)
        write_rows(table, out, run.scan_date, run.run_id, settings.storage)
    if ends:
        close_run(run, plan.table, plan.counts(), plan.detector_id, 1.0, settings.storage)
    return plan


def score_of(uri: str, scores: dict[str, tuple[str, float]]) -> tuple[str, float]:
    return scores.get(uri.rpartition("/")[2], ("authentic", 0.01))


def names(plan: Plan) -> set[str]:
    return {uri.rpartition("/")[2] for uri in plan.table["uri"].to_pylist()}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.chdir(tmp_path)
    return all_settings.load(NO_MARGIN)


def test_in_a_bucket_only_what_is_new_changed_or_failed_is_planned(
    bucket: str, settings: Settings
) -> None:
    s3, name = boto3.client("s3"), bucket.removeprefix("s3://")
    source, out = f"{bucket}/in", f"{bucket}/out"
    for key in ("a", "b", "c", "d"):
        s3.put_object(Bucket=name, Key=f"in/{key}", Body=key.encode())
    time.sleep(TICK_S)
    first = judge(
        source, out, settings, outcome_of=lambda u: "timeout" if u[-1] == "d" else "scored"
    )
    assert (names(first), first.n_older) == ({"a", "b", "c", "d"}, 0)
    time.sleep(TICK_S)
    s3.put_object(Bucket=name, Key="in/b", Body=b"changed")
    s3.put_object(Bucket=name, Key="in/c", Body=b"c")  # the same content once more
    s3.put_object(Bucket=name, Key="in/e", Body=b"e")
    time.sleep(TICK_S)
    second = judge(source, out, settings)
    assert names(second) == {"b", "d", "e"}
    assert (second.n_new, second.n_retry, second.n_done, second.n_older) == (2, 1, 1, 1)
    third = judge(source, out, settings)
    assert (names(third), third.n_older) == (set(), 4)
    assert third.n_done == 1, "what has ever failed is looked up"


def test_a_file_that_brings_its_old_time_along_is_found(tmp_path: Path, settings: Settings) -> None:
    source, out = tmp_path / "in", str(tmp_path / "out")
    source.mkdir()
    (source / "a.mp4").write_bytes(b"a")
    for name in ("copied", "moved", "linked"):
        (tmp_path / name).write_bytes(b"old")
    time.sleep(TICK_S)
    judge(str(source), out, settings)
    time.sleep(TICK_S)
    shutil.copy2(tmp_path / "copied", source / "copied")
    (tmp_path / "moved").rename(source / "moved")
    (source / "linked").symlink_to(tmp_path / "linked")
    plan = judge(str(source), out, settings)
    assert (names(plan), plan.n_older) == ({"copied", "moved", "linked"}, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"select": {"include": ["*.jpg"]}},
        {"sampling": {"coverage": "quick"}},
        {"limits": {"max_attempts": 5}},
    ],
)
def test_a_scan_of_another_kind_says_nothing_of_this_one(
    other: dict[str, Any], tmp_path: Path, settings: Settings
) -> None:
    source, out = tmp_path / "in", str(tmp_path / "out")
    source.mkdir()
    (source / "a.jpg").write_bytes(b"a")
    judge(str(source), out, settings)
    assert since.last_complete(str(source), out, settings)
    assert since.last_complete("in", out, settings), "the same folder by another name"
    assert since.last_complete(str(tmp_path), out, settings) is None
    assert since.last_complete(str(source), out, all_settings.load(other)) is None


def test_the_flag_of_the_command(tmp_path: Path, settings: Settings) -> None:
    source, out = tmp_path / "in", str(tmp_path / "out")
    source.mkdir()
    (source / "a.jpg").write_bytes(b"a")
    words = ["plan", str(source), "--out", out, "--since-last"]
    Path("dfd.toml").write_text("select.since_margin_hours = 0\n")
    assert "everything is compared" in CliRunner().invoke(app, words).stdout
    time.sleep(TICK_S)
    judge(str(source), out, settings)
    done = CliRunner().invoke(app, words)
    assert "0 objects listed, 0 done before, 0 to scan" in done.stdout, done.output
    assert "1 more are unchanged since the last scan" in done.stdout
    (source / "b.jpg").write_bytes(b"b")
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (told["n_planned"], told["n_older"]) == (1, 1)


def test_a_run_that_held_objects_back_does_not_count(tmp_path: Path, settings: Settings) -> None:
    source, out = tmp_path / "in", str(tmp_path / "out")
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(b"x")
    judge(str(source), out, settings, limit=2)
    assert since.last_complete(str(source), out, settings) is None
    judge(str(source), out, settings)
    assert since.last_complete(str(source), out, settings)


@pytest.mark.parametrize(
    ("source", "given", "said"),
    [
        ("list.csv", {}, "is a list"),
        ("s3://inventories/x/manifest.json", {}, "is a list"),
        ("in", {"select": {"older_than_days": 3}}, "--older-than"),
    ],
)
def test_where_times_say_nothing_it_is_refused(
    source: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        since.last_complete(source, str(tmp_path), all_settings.load(given))


# --- whatever happens, in whatever order, nothing is lost

MARGIN_H = 2.0
object_ids = st.integers(0, 5)
events = st.one_of(
    st.tuples(st.just("put"), object_ids, st.floats(0, MARGIN_H)),  # dated so many hours back
    st.tuples(st.just("run"), st.sampled_from(["complete", "cut", "limited"]), st.just(0.0)),
    st.tuples(st.just("fail"), object_ids, st.just(0.0)),  # from now on, until it is put again
)


@given(st.lists(events, min_size=4, max_size=14))
@trying(max_examples=30, deadline=None)
def test_what_is_left_out_is_what_has_its_verdict(told: list[tuple[str, Any, float]]) -> None:
    chosen = Settings(select=all_settings.Select(since_margin_hours=MARGIN_H))
    objects: dict[int, MediaObject] = {}
    failing: set[str] = set()
    now = datetime(2026, 5, 4, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as out, pytest.MonkeyPatch.context() as patch:
        for module in (pipeline, since):
            patch.setattr(module, "listing", lambda *_, **__: iter(objects.values()))
        for kind, what, hours in told:
            now += timedelta(hours=1)
            if kind == "put":
                uri, dated = f"s3://archive/{what}", now - timedelta(hours=hours)
                objects[what] = make(uri, f"e{now:%d%H}", None, 1, dated)
                failing.discard(uri)
            elif kind == "fail":
                failing.add(f"s3://archive/{what}")
            else:
                base = since.last_complete("s3://archive", out, chosen)
                full = pipeline.make_plan("s3://archive", out, chosen)
                plan = judge(
                    "s3://archive", out, chosen, now=now, ends=what != "cut",
                    limit=1 if what == "limited" else None,
                    outcome_of=lambda uri: "throttled" if uri in failing else "scored",
                )  # fmt: skip
                wanted = full.table.slice(0, 1) if what == "limited" else full.table
                assert plan.table.equals(wanted)
                assert plan.n_older + plan.n_listed == full.n_listed
                assert base is not None or plan.n_older == 0
