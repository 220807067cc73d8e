from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from dfd_batch.decode.cell import Cell
from dfd_batch.decode.media import decode
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Coverage, Limits, Sampling
from tests.media import numbered_frames, write_video

FULL = Sampling(coverage=Coverage.FULL)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cell")
    return str(write_video(folder / "a.mp4", numbered_frames(100)))


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    """One cell for all: what one test does to it must not show in the next."""
    with Cell(Limits(timeout_s=20)) as cell:
        yield cell


def read(cell: Cell, path: str, sampling: Sampling = FULL) -> int:
    return sum(len(item.frames) for item in cell.decode(path, sampling) if isinstance(item, Clip))


def fault_of(cell: Cell, path: str) -> MediaFault:
    with pytest.raises(MediaFault) as caught:
        read(cell, path)
    return caught.value


def test_the_cell_gives_what_decoding_here_would(cell: Cell, video: str) -> None:
    here = [i for i in decode(video, FULL, Limits()) if isinstance(i, Probe | Clip | Decoded)]
    n_items = 0
    for ours, theirs in zip(here, cell.decode(video, FULL), strict=True):
        n_items += 1
        if isinstance(ours, Clip) and isinstance(theirs, Clip):
            assert np.array_equal(ours.frames, theirs.frames)
            assert np.array_equal(ours.times_s, theirs.times_s)
            assert (ours.index, ours.scale) == (theirs.index, theirs.scale)
        elif isinstance(ours, Decoded) and isinstance(theirs, Decoded):
            assert theirs.n_frames_used == ours.n_frames_used
        else:
            assert ours == theirs
    assert n_items == 7


def test_a_clip_stays_as_it_is_until_the_next_is_asked_for(cell: Cell, video: str) -> None:
    for item in cell.decode(video, FULL):
        if isinstance(item, Clip):
            before = item.frames.copy()
            time.sleep(0.02)
            assert np.array_equal(before, item.frames)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_named_and_the_next_object_is_read(
    cell: Cell, video: str, number: signal.Signals
) -> None:
    items = cell.decode(video, FULL)
    next(items)
    assert cell.worker_pid
    os.kill(cell.worker_pid, number)
    with pytest.raises(MediaFault) as caught:
        list(items)
    assert (caught.value.outcome, caught.value.kind) == (Outcome.CRASHED, number.name)
    assert video in caught.value.message
    assert read(cell, video) == 100


def test_a_hang_is_ended_at_its_deadline(video: str) -> None:
    with Cell(Limits(timeout_s=0.5, timeout_per_clip_s=0)) as cell:
        assert read(cell, video) == 100  # the first object waits for the imports, untimed
        items = cell.decode(video, FULL)
        next(items)
        pid = cell.worker_pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(MediaFault) as caught:
            list(items)
        assert caught.value.outcome is Outcome.TIMEOUT
        assert not psutil.pid_exists(pid)
        assert read(cell, video) == 100


def test_a_slow_consumer_is_not_the_decoders_fault(video: str) -> None:
    with Cell(Limits(timeout_s=0.5, timeout_per_clip_s=0)) as cell:
        read(cell, video)
        for item in cell.decode(video, FULL):
            if isinstance(item, Clip):
                time.sleep(0.12)


def test_memory_that_grows_without_bound_is_too_large(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10**6))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body))
    with Cell(Limits(max_pixels=10**9, decoder_memory_mb=256)) as cell:
        fault = fault_of(cell, str(path))
        assert (fault.outcome, fault.kind) == (Outcome.TOO_LARGE, "out_of_memory")


def test_a_lost_server_is_replaced(cell: Cell, video: str) -> None:
    items = cell.decode(video, FULL)
    next(items)
    server, worker = cell.server_pid, cell.worker_pid
    assert server
    assert worker
    os.kill(server, signal.SIGKILL)
    _wait_gone(worker)
    with pytest.raises(MediaFault) as caught:
        list(items)
    assert caught.value.outcome is Outcome.CRASHED
    assert read(cell, video) == 100
    assert cell.server_pid != server
    _wait_gone(worker)


@pytest.mark.slow
def test_the_worker_is_replaced_after_its_share_of_objects(video: str) -> None:
    with Cell(Limits(decoder_recycle_after=2)) as cell:
        seen = []
        for _ in range(5):
            items = cell.decode(video, FULL)
            next(items)
            seen.append(cell.worker_pid)
            list(items)
    assert len(set(seen)) == 3


def test_an_abandoned_object_does_not_disturb_the_next(cell: Cell, video: str) -> None:
    for _ in range(3):
        items = cell.decode(video, FULL)
        next(items)
        next(items)
        items.close()  # type: ignore[attr-defined]
    assert read(cell, video) == 100


def test_an_unknown_file_is_a_fault_of_the_object(cell: Cell, tmp_path: Path) -> None:
    assert fault_of(cell, str(tmp_path / "nothing.mp4")).outcome is Outcome.UNREADABLE
    (tmp_path / "a.txt").write_text("words")
    assert fault_of(cell, str(tmp_path / "a.txt")).outcome is Outcome.UNSUPPORTED


@pytest.mark.slow
def test_nothing_leaks_over_many_objects_and_faults(video: str, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    own = psutil.Process()
    with Cell(Limits(decoder_recycle_after=7)) as cell:
        read(cell, video)
        server = psutil.Process(cell.server_pid)
        before = own.num_fds(), server.num_fds()
        for i in range(200):
            if i % 10 == 3:
                fault_of(cell, str(tmp_path / "bad.mp4"))
            elif i % 10 == 6:
                items = cell.decode(video, Sampling(frames_per_clip=4))
                next(items)
                os.kill(cell.worker_pid or 0, signal.SIGKILL)
                with pytest.raises(MediaFault):
                    list(items)
            else:
                read(cell, video, Sampling(frames_per_clip=4))
        read(cell, video)
        assert (own.num_fds(), server.num_fds()) <= (before[0] + 1, before[1] + 1)
        assert len(server.children()) <= 1
        assert not any(child.status() == psutil.STATUS_ZOMBIE for child in own.children(True))
        assert not list(Path("/dev/shm").glob("dfd*"))
        children = [server.pid, *(child.pid for child in server.children())]
    for pid in children:
        _wait_gone(pid)
    assert own.num_fds() < before[0]


@pytest.mark.slow
def test_children_die_with_a_killed_parent(video: str) -> None:
    script = textwrap.dedent(f"""
        import time
        from dfd_batch.decode.cell import Cell
        from dfd_batch.settings import Limits, Sampling
        cell = Cell(Limits())
        items = cell.decode({video!r}, Sampling())
        next(items)
        print(cell.server_pid, cell.worker_pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    for pid in pids:
        _wait_gone(pid)


def test_the_decoding_processes_import_neither_torch_nor_ray(cell: Cell, video: str) -> None:
    read(cell, video)
    for pid in (cell.server_pid, cell.worker_pid):
        loaded = Path(f"/proc/{pid}/maps").read_text()
        assert "libtorch" not in loaded
        assert "ray/_raylet" not in loaded


def _wait_gone(pid: int) -> None:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")
