"""One tick at a time, whatever becomes of its holder, its store and its clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dfd_batch import storage as stores
from dfd_batch.schedule import lease as leases
from dfd_batch.schedule.lease import Busy, Lease, Lost
from dfd_batch.schedule.rules import Exclusion
from dfd_batch.settings import Storage
from dfd_batch.storage.shared import age_s, remove, write_if
from tests.s3.conftest import store
from tests.s3.proxy import FaultyStore, Unconditional

__all__ = ["store"]  # a fixture

STORAGE = Storage()
LONG = Exclusion()
SHORT = Exclusion(beat_s=0.4, expires_s=6.0)
HOLDER = """
import sys, time
from types import SimpleNamespace
from dfd_batch.schedule.lease import Lease
from dfd_batch.settings import Storage
rules = SimpleNamespace(beat_s=0.4, expires_s=6.0, wait_s=0.0)
with Lease(sys.argv[1], "dead", rules, Storage()):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["folder", "bucket"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "out")
    return request.getfixturevalue("bucket") + "/out"


def lease_uri(out: str) -> str:
    return stores.join(out, "ticks", "lease.json")


def take(out: str, name: str, rules: Exclusion = LONG) -> Lease:
    return Lease(out, name, rules, STORAGE)


def test_it_is_anothers_until_it_is_given_back(out: str) -> None:
    with take(out, "one") as lease:
        assert lease.is_strict
        with pytest.raises(Busy, match="tick one, begun"), take(out, "two"):
            pass
        lease.check()
    assert stores.list_names(stores.join(out, "ticks"), STORAGE) in ([], [".lease.json.lock"])
    with take(out, "two"):
        pass


def test_of_many_that_begin_together_one_gets_it(out: str) -> None:
    together, ended = threading.Barrier(8), threading.Event()

    def begin(number: int) -> bool:
        together.wait()
        try:
            with take(out, f"t{number}"):
                ended.wait(60)
                return True
        except Busy:
            return False

    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(begin, n) for n in range(8)]
        while sum(done.done() for done in tries) < 7:
            time.sleep(0.05)
        ended.set()
        assert sorted(done.result() for done in tries) == [False] * 7 + [True]


@pytest.mark.slow
def test_a_living_tick_keeps_it_and_a_killed_ones_is_taken_over(out: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, out], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        time.sleep(SHORT.expires_s + 1.5)
        with pytest.raises(Busy, match="tick dead"), take(out, "two", SHORT):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    finally:
        holder.kill()
        holder.wait()
    with pytest.raises(Busy, match="tick dead"), take(out, "two"):
        pass
    with take(out, "two", SHORT.model_copy(update={"wait_s": 60.0})) as lease:
        assert json.loads(stores.read_bytes(lease_uri(out), STORAGE))["holder"] == "two"
        lease.check()


def test_a_tick_whose_lease_was_taken_over_stops_and_leaves_it_alone(out: str) -> None:
    with take(out, "slow", SHORT) as lease:
        stores.write_bytes(lease_uri(out), b'{"holder": "other", "expires_s": 60}\n', STORAGE)
        until = time.monotonic() + 30
        with pytest.raises(Lost, match="another tick"):
            while time.monotonic() < until:
                lease.check()
                time.sleep(0.05)
    assert b"other" in stores.read_bytes(lease_uri(out), STORAGE)


def test_a_lease_that_says_nothing_is_kept_until_it_is_old(out: str) -> None:
    stores.write_bytes(lease_uri(out), b"\xff", STORAGE)
    with pytest.raises(Busy), take(out, "two"):
        pass
    time.sleep(2.1)  # a store's clock tells whole seconds
    with take(out, "two", Exclusion(beat_s=0.3, expires_s=1.0)):
        pass


def test_a_write_whose_answer_was_lost_is_known_again(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client sees whose repetition of a write that arrived is refused."""

    def late(uri: str, data: bytes, token: str | None, storage: Storage) -> bool:
        return write_if(uri, data, token, storage) and "probe" in uri

    monkeypatch.setattr(leases, "write_if", late)
    with take(out, "one", SHORT) as lease:
        time.sleep(1.5)
        lease.check()


@pytest.mark.slow
def test_a_store_that_knows_no_conditions_is_noticed_and_the_last_writer_wins(
    store: FaultyStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.rule = lambda method, path, n: Unconditional() if method == "PUT" else None
    monkeypatch.setattr(leases, "SETTLE_S", 1.0)
    won = []

    def begin(number: int) -> None:
        try:
            with take(f"{bucket}/out", f"t{number}") as lease:
                assert not lease.is_strict
                won.append(number)
                time.sleep(3)
        except Busy:
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    assert len(won) == 1


def test_age_is_told_by_the_store(out: str) -> None:
    uri = stores.join(out, "x")
    assert age_s(uri, STORAGE) is None
    stores.write_bytes(uri, b"x", STORAGE)
    first = age_s(uri, STORAGE)
    time.sleep(1.1)
    second = age_s(uri, STORAGE)
    assert first is not None and second is not None and 0 <= first < second
    remove(uri, STORAGE)
