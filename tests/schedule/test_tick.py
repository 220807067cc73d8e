"""A tick by its command, where there is nothing left to judge: so without Ray, in this process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import typer
from typer.testing import CliRunner, Result

from dfd_batch import pipeline
from dfd_batch import storage as stores
from dfd_batch.cli import app
from dfd_batch.console.tick import stoppable
from dfd_batch.reports import actions, read
from dfd_batch.reports.apply import KEEP_TAG
from dfd_batch.reports.compact import days
from dfd_batch.reports.files import MARKER
from dfd_batch.reports.write import day_uri, reports_uri
from dfd_batch.schedule.lease import Lease
from dfd_batch.schedule.rules import Exclusion
from dfd_batch.settings import Settings, Storage
from dfd_batch.storage.acting import place_of
from tests.schedule.test_notify import SECRET, Hook, hook
from tests.test_since import judge

__all__ = ["hook"]  # a fixture

SCORES = {"fake.mp4": ("manipulated", 0.97), "odd.mp4": ("suspicious", 0.8)}
POLICY = '[quarantine]\nto = "{aside}"\n'


class Archive:
    """Objects in a bucket with verdicts of yesterday and today, and the tick's file."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.source, self.out, self.file = f"{bucket}/in", f"{bucket}/out", folder / "tick.toml"
        self._bucket, self._folder = bucket, folder
        for name in ("fake.mp4", "odd.mp4", "fine.mp4"):
            self.put(name)
        now = datetime.now(UTC)
        for limit, began in ((1, now - timedelta(days=1)), (1, now - timedelta(days=1)), (9, now)):
            judge(self.source, self.out, Settings(), limit=limit, now=began, scores=SCORES)
        self.write("")

    def put(self, name: str) -> None:
        key = f"in/{name}"
        boto3.client("s3").put_object(Bucket=self._bucket[5:], Key=key, Body=name.encode())

    def names(self) -> set[str]:
        found = boto3.client("s3").list_objects_v2(Bucket=self._bucket[5:], Prefix="in/")
        return {entry["Key"].removeprefix("in/") for entry in found.get("Contents", ())}

    def write(self, more: str) -> None:
        self.file.write_text(f'source = "{self.source}"\nout = "{self.out}"\n{more}\n')

    def quarantine(self, more: str = "") -> None:
        policy = self._folder / "policy.toml"
        policy.write_text(POLICY.format(aside=f"{self._bucket}/aside"))
        self.write(f'[act]\npolicy = "policy.toml"\n{more}')

    def tick(self, *flags: str) -> tuple[Result, dict[str, Any]]:
        done = CliRunner().invoke(app, ["tick", str(self.file), *flags, "--json"])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done, json.loads(done.stdout or "{}")


@pytest.fixture
def archive(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.delenv("TICK_WEBHOOK_URL", raising=False)
    return Archive(bucket, tmp_path)


def step(summary: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [step for step in summary["steps"] if step["name"] == name]
    return dict(found)


def test_a_tick_compacts_reports_and_leaves_its_summary(archive: Archive) -> None:
    done, told = archive.tick()
    assert done.exit_code == told["exit_code"] == 0, done.output
    assert [s["name"] for s in told["steps"]] == ["scan", "compact", "act", "report"]
    assert {s["status"] for s in told["steps"]} == {"done"}
    assert step(told, "scan")["told"]["plan"]["n_done"] == 3
    storage = Storage()
    (yesterday,) = days(archive.out, storage)
    assert stores.exists(stores.join(day_uri(archive.out, yesterday), MARKER), storage)
    page = step(told, "report")["told"]["index_uri"]
    assert page == f"{archive.out}/ticks/page/index.html"
    assert b"fake.mp4" in stores.read_bytes(page, storage)
    assert step(told, "act")["told"] | {"policy": ""} == {
        "applied": False, "policy": "", "planned": {"tag": 3}, "n_done_before": 0,
        "false_alarms": [],
    }  # fmt: skip
    assert not actions.read(archive.out, storage)
    kept = json.loads(stores.read_bytes(f"{archive.out}/ticks/latest.json", storage))
    assert (
        kept
        == told
        == json.loads(stores.read_bytes(f"{archive.out}/ticks/{told['tick_id']}.json", storage))
    )
    assert not stores.exists(f"{archive.out}/ticks/lease.json", storage)

    again, second = archive.tick()
    assert (again.exit_code, second["news"]) == (0, False)
    assert second["previous"]["tick_id"] == told["tick_id"]
    assert step(second, "report")["said"] == "as before"
    # what a tick leaves behind is no object of a source that holds it
    listed = pipeline.make_plan(archive.out.removesuffix("/out"), archive.out, Settings())
    assert {uri for uri in listed.table["uri"].to_pylist() if "/out/" in uri} == set()


def test_only_with_apply_is_anything_done_to_objects(archive: Archive) -> None:
    archive.quarantine()
    done, told = archive.tick()
    assert done.exit_code == 0 and step(told, "act")["told"]["planned"] == {
        "tag": 3, "quarantine": 1,
    }  # fmt: skip
    assert archive.names() == {"fake.mp4", "odd.mp4", "fine.mp4"}
    done, told = archive.tick("--apply")
    assert done.exit_code == 0 and archive.names() == {"odd.mp4", "fine.mp4"}
    assert step(told, "act")["told"]["results"]["quarantine"] == {"done": 1}
    done, told = archive.tick("--apply")
    assert done.exit_code == 0 and step(told, "act")["told"]["planned"] == {}


def test_a_policy_that_wants_too_much_is_not_followed(archive: Archive) -> None:
    archive.quarantine("max_removals = 0")
    done, told = archive.tick("--apply")
    assert done.exit_code == 1 and told["failed"] == ["act"]
    assert "act.max_removals = 0" in step(told, "act")["said"]
    assert archive.names() == {"fake.mp4", "odd.mp4", "fine.mp4"}
    assert not actions.read(archive.out, Storage())


def test_what_can_never_be_done_is_neither_news_nor_too_much(archive: Archive) -> None:
    place, uri = place_of(f"{archive.source}/fake.mp4", Storage()), f"{archive.source}/fake.mp4"
    head = place.head(uri)
    assert head is not None
    place.change_tags(uri, head, {KEEP_TAG: "yes"})
    archive.quarantine()
    done, told = archive.tick("--apply")
    assert done.exit_code == 0 and told["news"]
    assert step(told, "act")["told"]["results"]["quarantine"] == {"kept": 1}
    rows = actions.read(archive.out, Storage())
    archive.quarantine("max_removals = 0")
    done, told = archive.tick("--apply")
    assert (done.exit_code, told["news"]) == (0, False)
    assert actions.read(archive.out, Storage()) == rows


def test_a_tick_beside_another_does_nothing(archive: Archive) -> None:
    runs = read.run_ids(archive.out, Storage())
    with Lease(archive.out, "other", Exclusion(), Storage()):
        done, told = archive.tick("--apply")
        assert (done.exit_code, told) == (75, {}) and "tick other" in done.stderr
        assert archive.tick("--overlap-ok")[0].exit_code == 0
    assert read.run_ids(archive.out, Storage()) == runs
    assert stores.list_names(f"{archive.out}/ticks", Storage()) == []
    assert archive.tick()[0].exit_code == 0


def test_a_failed_scan_leaves_the_rest_undone_and_is_told(
    archive: Archive, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICK_WEBHOOK_URL", hook.url)
    archive.source += "/nothing"
    archive.write('[notify]\nwhen = "trouble"')
    done, told = archive.tick("--apply")
    assert done.exit_code == 1 and told["failed"] == ["scan"]
    assert [s["status"] for s in told["steps"]] == ["failed", *["skipped"] * 3, "done"]
    ((path, sent),) = hook.got
    assert SECRET in path and sent["exit_code"] == 1 and "scan failed" in sent["text"]
    assert not actions.read(archive.out, Storage())


def test_a_bug_in_a_step_gives_the_lease_back(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("by the test")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "scan", broken)
        done, told = archive.tick()
    assert done.exit_code == 1 and step(told, "scan")["said"] == "RuntimeError: by the test"
    assert archive.tick()[0].exit_code == 0


def test_the_webhook_hears_names_only_where_they_are_wanted(
    archive: Archive, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICK_WEBHOOK_URL", hook.url)
    archive.write('[notify]\nwhen = "news"')
    assert archive.tick()[0].exit_code == 0 and hook.got == []
    archive.write('[notify]\nwhen = "always"')
    done, told = archive.tick()
    assert done.exit_code == 0 and step(told, "notify")["status"] == "done"
    ((_, sent),) = hook.got
    assert sent["tick_id"] == told["tick_id"] and sent["steps"][0]["told"]["flagged"] == []

    hook.statuses = [404]
    done, told = archive.tick()
    assert done.exit_code == 3 and told["failed"] == ["notify"]
    kept = stores.read_bytes(f"{archive.out}/ticks/latest.json", Storage()).decode()
    assert json.loads(kept)["exit_code"] == 3 and SECRET not in kept + done.output


def test_what_a_killed_tick_judged_gets_on_the_page_and_to_the_webhook(
    archive: Archive, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICK_WEBHOOK_URL", hook.url)
    assert archive.tick()[1]["missed_runs"] == [] and hook.got == []
    archive.put("late.mp4")
    late = {"late.mp4": ("manipulated", 0.99)}
    judge(archive.source, archive.out, Settings(), limit=9, now=datetime.now(UTC), scores=late)
    killed = read.run_ids(archive.out, Storage())[-1]

    hook.statuses = [404]
    assert archive.tick()[0].exit_code == 3
    page = stores.read_bytes(f"{archive.out}/ticks/page/index.html", Storage())
    assert b"late.mp4" in page
    hook.statuses = [200]
    done, told = archive.tick()
    assert (done.exit_code, told["missed_runs"]) == (0, [killed])
    assert hook.got[-1][1]["missed_runs"] == [killed]
    assert "earlier runs that were not told of: 1" in hook.got[-1][1]["text"]
    assert step(told, "report")["said"] == "as before"
    n_told = len(hook.got)
    assert archive.tick()[1]["missed_runs"] == [] and len(hook.got) == n_told


def test_what_is_wrong_with_the_file_is_no_failure_of_the_store(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write("[scan]\nlimit = 0")
    assert archive.tick()[0].exit_code == 2
    archive.write("")
    monkeypatch.setenv("TICK_WEBHOOK_URL", SECRET)
    done, _ = archive.tick()
    assert done.exit_code == 2 and SECRET not in done.output
    monkeypatch.delenv("TICK_WEBHOOK_URL")
    archive.out = "s3://no-such-bucket-anywhere"
    archive.write("")
    done, _ = archive.tick()
    assert done.exit_code == 1 and "the bucket does not exist" in done.stderr
    assert reports_uri(archive.out) not in done.stderr


def test_ticks_go_by_time_between_full_ones(archive: Archive) -> None:
    archive.write("[scan]\nfull_every_hours = 24")
    full = read.run_ids(archive.out, Storage())[-1]
    first, second = archive.tick()[1], archive.tick()[1]
    for told in (first, second):
        assert step(told, "scan")["told"]["compared"].startswith("since ")
    runs = [
        read.run_summary(archive.out, Storage(), run_id)["listing"]
        for run_id in (full, *(step(told, "scan")["told"]["run_id"] for told in (first, second)))
    ]
    assert [run["since_run"] for run in runs[:2]] == [None, full]
    assert {run["full_at"] for run in runs} == {runs[0]["listed_at"]}
    archive.write("[scan]\nfull_every_hours = 1e-6")
    assert step(archive.tick()[1], "scan")["told"]["compared"] == "all"


def test_without_json_what_failed_is_said_on_stderr(archive: Archive) -> None:
    archive.source += "/nothing"
    archive.write("")
    done = CliRunner().invoke(app, ["tick", str(archive.file)])
    assert done.exit_code == 1 and "scan      failed: There are no objects at" in done.stdout
    assert done.stderr.startswith("dfd: scan      failed: There are no objects at")


def catches_sigterm(pid: int) -> bool:
    told = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(told, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
def test_sigterm_ends_a_tick_that_waits_and_leaves_anothers_lease(archive: Archive) -> None:
    archive.write("[lease]\nwait_s = 600")
    with Lease(archive.out, "other", Exclusion(), Storage()) as other:
        command = [sys.executable, "-m", "dfd_batch.cli", "tick", str(archive.file)]
        tick = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not catches_sigterm(tick.pid):
            assert tick.poll() is None
            time.sleep(0.1)
        tick.send_signal(signal.SIGTERM)
        _, said = tick.communicate(timeout=120)
        assert (tick.returncode, said) == (143, "dfd: Stopped; the next tick goes on.\n")
        other.check()


def test_a_stop_in_the_middle_of_an_import_is_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, stoppable():
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:  # as modules do that are written in C
            raise AttributeError("partially initialized module has no attribute 'utils'") from None
    assert ended.value.exit_code == 143
    assert capsys.readouterr().err == "dfd: Stopped; the next tick goes on.\n"
    with pytest.raises(ValueError, match="a bug"), stoppable():
        raise ValueError("a bug")
