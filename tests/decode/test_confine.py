"""A decoder that a hostile file has taken over: what it tries from inside, and what it gets."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfd_batch.decode import seccomp
from dfd_batch.decode.cell import Cell
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Decoded
from dfd_batch.settings import Limits, Sampling
from tests.media import numbered_frames, write_video

TAKEN_OVER = """
import ctypes, json, os, resource, signal, socket, subprocess, sys, time
from pathlib import Path
from dfd_batch.decode import worker
from dfd_batch.outcomes import MediaFault, Outcome

def attempt(name, act):
    try:
        return name, repr(act())[:60]
    except BaseException as error:
        return name, type(error).__name__

def spin():
    while True:
        pass

real, held = worker.decode, []

def decode(path, *more):
    if Path(path).name == "leak":
        held.append(bytearray(2**24))
        yield from real(path, *more)
        return
    if Path(path).name == "fine.mp4":
        yield from real(path, *more)
        return
    match Path(path).name:
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "swallow":
            held.append(bytearray(2**31))
        case "exit":
            os._exit(3)
    if Path(path).name == "spin":
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1, -1))
        spin()
    actor = os.getppid()
    with open(f"/proc/{actor}/stat") as file:
        actor = int(file.read().rpartition(")")[2].split()[1])
    mine = Path(path).with_name("mine")
    found = dict([
        attempt("tcp", lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
        attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        attempt("unix", lambda: socket.socket(socket.AF_UNIX)),
        attempt("exec", lambda: subprocess.run(["/bin/true"])),
        attempt("environ", lambda: Path(f"/proc/{actor}/environ").read_bytes()),
        attempt("memory", lambda: open(f"/proc/{actor}/mem", "rb")),
        attempt("write", lambda: mine.write_bytes(b"x")),
        attempt("append", lambda: open(path, "ab")),
        attempt("create", lambda: os.open(mine, os.O_CREAT)),
        attempt("temporary", lambda: os.open(mine.parent, os.O_RDWR | os.O_TMPFILE)),
        attempt("shorten", lambda: os.truncate(path, 0)),
        attempt("remove", lambda: os.unlink(path)),
        attempt("rename", lambda: os.rename(path, mine)),
        attempt("link", lambda: os.symlink(path, mine)),
        attempt("folder", lambda: os.mkdir(mine)),
        attempt("mode", lambda: os.chmod(path, 0o777)),
        attempt("mode_of_open", lambda: os.fchmod(os.open(path, 0), 0o777)),
        attempt("times", lambda: os.utime(path)),
        attempt("tag", lambda: os.setxattr(path, "user.a", b"b")),
        attempt("kill", lambda: os.kill(actor, 0)),
        attempt("signal", lambda: signal.pidfd_send_signal(os.pidfd_open(actor), 0)),
        attempt("swell", lambda: os.ftruncate(os.memfd_create("a"), 2**40)),
        attempt("files", lambda: [os.open("/dev/null", 0) for _ in range(1000)]),
        attempt("raise_as", lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))),
        ("secrets", sorted(n for n in os.environ if "SECRET" in n or "TOKEN" in n or "AWS" in n)),
        ("core", resource.getrlimit(resource.RLIMIT_CORE)),
        ("cpu", resource.getrlimit(resource.RLIMIT_CPU)[0] - int(time.process_time())),
    ])
    raise MediaFault(Outcome.UNREADABLE, "taken_over", json.dumps(found))
    yield

worker.decode = decode
"""
FORBIDDEN = {
    "tcp", "udp", "unix", "exec", "environ", "memory", "write", "append", "create", "temporary",
    "shorten", "remove", "rename", "link", "folder", "mode", "mode_of_open", "times", "tag", "kill",
    "signal",
}  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_server: str) -> Iterator[Cell]:
    """A cell whose decoder runs the attacker's code; there is a server that it could reach."""
    code = TAKEN_OVER.replace("PORT", s3_server.rpartition(":")[2])
    (tmp_path / "hostile.py").write_text(code)
    # run by the real server's interpreter as it imports the real worker
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'dfd_batch.decode.cell_server' in sys.orig_argv: import hostile\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token")
    with Cell(Limits(timeout_s=20, decoder_memory_mb=256)) as cell:
        yield cell


def fault_of(cell: Cell, path: Path) -> MediaFault:
    path.write_bytes(b"x")
    with pytest.raises(MediaFault) as caught:
        list(cell.decode(str(path), Sampling(), "it"))
    return caught.value


def test_from_inside_a_decoder_there_is_no_way_out(hostile: Cell, tmp_path: Path) -> None:
    fault = fault_of(hostile, tmp_path / "a.mp4")
    assert fault.kind == "taken_over", fault
    found = json.loads(fault.message.removeprefix("it: "))
    assert {name: found[name] for name in FORBIDDEN} == dict.fromkeys(FORBIDDEN, "PermissionError")
    assert (tmp_path / "a.mp4").read_bytes() == b"x"
    assert (found["files"], found["swell"], found["raise_as"]) == (
        "OSError",
        "OSError",
        "ValueError",
    )
    assert found["secrets"] == []
    assert found["core"] == [0, 0]
    assert 20 <= found["cpu"] <= 30


@pytest.mark.parametrize(
    ("name", "outcome", "kind"),
    [
        ("abort", Outcome.CRASHED, "SIGABRT"),
        ("segfault", Outcome.CRASHED, "SIGSEGV"),
        ("exit", Outcome.CRASHED, "exit_3"),
        ("swallow", Outcome.TOO_LARGE, "out_of_memory"),
    ],
)
def test_a_decoder_that_fails_by_itself_costs_its_own_object_alone(
    hostile: Cell, tmp_path: Path, name: str, outcome: Outcome, kind: str
) -> None:
    path = write_video(tmp_path / "fine.mp4", numbered_frames(20))
    for _ in range(2):
        fault = fault_of(hostile, tmp_path / name)
        assert (fault.outcome, fault.kind) == (outcome, kind)
        assert isinstance(list(hostile.decode(str(path), Sampling()))[-1], Decoded)


def test_a_decoder_that_computes_beyond_its_time_is_a_timeout(
    hostile: Cell, tmp_path: Path
) -> None:
    assert fault_of(hostile, tmp_path / "spin").outcome is Outcome.TIMEOUT


def test_a_slow_leak_in_a_decoder_costs_no_object_as_long_as_workers_are_replaced(
    hostile: Cell, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(20)).rename(tmp_path / "leak")
    most = Limits(decoder_memory_mb=256).decoder_memory_mb // 16  # 16 MiB more with each object

    def n_read(cell: Cell) -> int:
        n = 0
        for _ in range(2 * most):
            n += isinstance(list(cell.decode(str(path), Sampling()))[-1], Decoded)
        return n

    with pytest.raises(MediaFault) as caught:
        n_read(hostile)
    assert caught.value.outcome is Outcome.TOO_LARGE
    with Cell(Limits(decoder_memory_mb=256, decoder_recycle_after=most // 4)) as cell:
        assert n_read(cell) == 2 * most


def test_other_users_find_the_same_walls(tmp_path: Path) -> None:
    """As root this test becomes a user of no rights; as any other user it stays who it is."""
    script = textwrap.dedent("""
        import ctypes, os, socket, sys
        from dfd_batch.decode import confine, seccomp
        if os.geteuid() == 0:
            os.setgid(65534); os.setuid(65534)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again, as after an exec
        parent = os.getpid()
        if os.fork() == 0:
            try:
                confine.drop_privileges()
                isolated = True
            except OSError:
                isolated = False  # this platform has no user namespaces
            seccomp.deny_outside()
            try:
                socket.socket()
                os._exit(1)
            except PermissionError:
                pass
            try:
                open(f"/proc/{parent}/environ").read()
                os._exit(2 if isolated else 0)
            except PermissionError:
                os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_of_the_denied_calls_are_those_of_the_kernel(machine: str) -> None:
    if not HEADERS[machine].is_file():
        pytest.skip("no kernel headers here")
    lines = HEADERS[machine].read_text().splitlines()
    told = dict(line.split()[1:3] for line in lines if line.startswith("#define __NR"))
    at = list(seccomp.MACHINES).index(machine)
    opens = {name: numbers[:2] for name, numbers in seccomp.OPENS.items()}
    known = seccomp.OUTSIDE | seccomp.CHANGES | seccomp.SIGNALS_ITSELF | opens
    n_newer = 0
    for name, numbers in known.items():
        number = told.get(f"__NR_{name}")
        if number is None and numbers[at] is not None:
            n_newer += 1  # than these headers
        elif number is not None:
            assert told.get(number, number) == str(numbers[at]), name
    assert n_newer <= 1
