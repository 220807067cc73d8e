"""The chain's memory: a stalled stage holds back those before it; a driver does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from dfd_batch import pipeline, settings
from tests.e2e.detector import write_detector
from tests.memory.stages import CROPS_BYTES, GATE, FastCrop, StalledEmbed
from tests.release import length

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 2**20
STORE_BYTES = 200 * MIB
N_STALLED = 120  # 580 MB of crops, three times the store
STEADY_S = 6.0
PART = 200
FEW, MANY = length((300, 2000), (300, 900))
FLAT_MIB = 40.0
FLAT_PIECES = 20.0  # in one part Ray's account of its blocks keeps 40 and more an object


def store_use() -> tuple[int, int]:
    """Bytes in the object store, and bytes ever spilled to disk."""
    address = ray.get_runtime_context().gcs_address
    told = get_memory_info_reply(get_state_from_address(address)).store_stats
    return told.object_store_bytes_used, told.spilled_bytes_total


def steady_use() -> int:
    """The most that the store held until it had stopped growing for a while."""
    most, since = 0, time.monotonic()
    while time.monotonic() < since + STEADY_S:
        used, _ = store_use()
        if used > most:
            most, since = used, time.monotonic()
        time.sleep(0.2)
    return most


def test_a_stalled_stage_holds_back_the_stages_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for i in range(N_STALLED):
        (source / f"{i:03}.jpg").write_bytes(b"x")
    monkeypatch.setattr(pipeline, "Crop", FastCrop)
    monkeypatch.setattr(pipeline, "Embed", StalledEmbed)
    chosen = settings.load({"checkpoint": write_detector(tmp_path / "d")})
    results: list[object] = []
    ray.init(
        address="local", num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1",
        object_store_memory=STORE_BYTES,
    )  # fmt: skip
    try:
        run = threading.Thread(
            target=lambda: results.append(pipeline.scan(str(source), str(out), chosen))
        )
        run.start()
        while store_use()[0] < CROPS_BYTES:
            assert run.is_alive()
            time.sleep(0.2)
        held = steady_use()
        stalled_rows = list(out.glob("reports/*/*.parquet"))
        (out / GATE).touch()
        run.join(200)
        _, spilled = store_use()
    finally:
        ray.shutdown()
    print(
        f"\nobject store, Embed stalled: {held / MIB:.0f} MiB of {STORE_BYTES / MIB:.0f} held, "
        f"{N_STALLED * CROPS_BYTES / MIB:.0f} MiB of crops in all, {spilled / MIB:.0f} MiB spilled"
    )
    assert not stalled_rows
    assert CROPS_BYTES < held < 0.75 * STORE_BYTES
    assert spilled == 0
    (result,) = results
    assert result.reconciled and result.outcomes == {"no_face": N_STALLED}  # type: ignore[attr-defined]


def test_the_drivers_memory_does_not_follow_the_number_of_objects(tmp_path: Path) -> None:
    """Empty files: each is a row, a block and an outcome like any other, and costs no decoding."""
    detector = write_detector(tmp_path / "d")
    grown = {}
    for n in (FEW, MANY):
        source = tmp_path / f"in{n}"
        source.mkdir()
        for i in range(n):
            (source / f"{i:05}.mp4").touch()
        done = subprocess.run(
            [sys.executable, "-m", "tests.memory.scan_and_tell", source, tmp_path / f"out{n}",
             detector, str(PART)],
            check=False, capture_output=True, text=True, timeout=600, env=os.environ,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        n_reported, before, most, pieces = json.loads(done.stdout.splitlines()[-1])
        assert n_reported == n
        grown[n] = most - before
        print(f"\ndriver, {n} objects: {before:.0f} MiB before the scan, {most:.0f} MiB at most")
    each = 1024 * (grown[MANY] - grown[FEW]) / (MANY - FEW)
    print(f"{each:.1f} KiB more per object")
    assert grown[MANY] - grown[FEW] < FLAT_MIB
    print(f"{pieces:.1f} pieces of memory more per object")
    assert pieces < FLAT_PIECES
