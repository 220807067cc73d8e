"""What a process that decodes may not do, however completely a hostile file takes it over.

It reads files and computes; so it needs no network, no other program, no other process's memory,
no credentials. All of this is taken away once, in the server, and inherited by every fork:

- `environment`: only what an interpreter needs, so neither cloud keys nor cluster tokens;
- `seccomp.deny_outside`: no network, no program, no other process's memory (x86-64 and arm64);
- `drop_privileges`: root keeps the right to read files alone, others go into a user namespace
  where the platform allows it: then `/proc` shows them no other process's memory or environment.

`limit_resources` bounds a single fork: memory, files, CPU time, file size, no core dump; with
`read_only` it changes no file and signals no other process.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import struct
import time
from pathlib import Path

from dfd_batch.decode import seccomp

PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 47, 4
CAP_DAC_READ_SEARCH, CAPABILITY_VERSION_3 = 2, 0x20080522
CLONE_NEWUSER = 0x10000000
MAX_FILES = 64
MAX_DEADLINE_S = 1500.0
"""Below Ray's `execution_no_progress_timeout_s` of 1800 s, whatever the number of clips."""
CPU_GRACE_S = 5.0
"""Beyond what an object may take by the clock: that limit, which is told better, comes first."""

KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV")
KEPT_PREFIXES = ("PYTHON", "LC_", "LD_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_")


def environment() -> dict[str, str]:
    """Return the variables of this process that one which decodes may know."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }


def isolate() -> None:
    """Take away, for good and for all forks, what decoding does not need.

    What the platform does not allow stays; `limit_resources` and the deadlines hold anyway.
    """
    with contextlib.suppress(OSError):
        drop_privileges()
    with contextlib.suppress(OSError):
        seccomp.deny_outside()


def drop_privileges() -> None:
    """Keep the right to read files and no other.

    Raises:
        OSError: The platform does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid():
        # other processes of this user are then out of reach of /proc/PID/mem and environ
        _check(libc.unshare(CLONE_NEWUSER))
        _set_capabilities(libc, 0)
        return
    for number in range(64):
        if number != CAP_DAC_READ_SEARCH:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # fails behind the last that there is
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _set_capabilities(libc, 1 << CAP_DAC_READ_SEARCH)


def _set_capabilities(libc: ctypes.CDLL, kept: int) -> None:
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _check(libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def limit_resources(memory_bytes: int) -> None:
    """Bound what this process may take from the machine.

    Args:
        memory_bytes: Address space beyond the present one; also the size of any file it writes.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    present = pages * resource.getpagesize()
    most = present + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_only() -> None:
    """Take away what changes files, for good; what is open already can still be written to.

    Not where the platform knows no such filters; the size of what it writes is bounded anyway.
    """
    with contextlib.suppress(OSError):
        seccomp.deny_changes()


def allow_cpu(seconds: float) -> None:
    """Let this process end by SIGXCPU when it computes for longer than so many seconds more."""
    most = math.ceil(time.process_time() + seconds + CPU_GRACE_S)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
