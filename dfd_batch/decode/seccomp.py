"""System calls that a process takes away from itself and from all that it forks, for good.

A seccomp filter, which any user may set on itself, written out as classic BPF for x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Audit architecture; the tables below have the calls' numbers in this order."""
OUTSIDE = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "mount": (165, 40),
    "unshare": (272, 97), "setns": (308, 268), "init_module": (175, 105),
    "finit_module": (313, 273), "bpf": (321, 280), "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "pidfd_getfd": (438, 438),
}  # fmt: skip
"""What reaches the network, other programs, other processes or the kernel's inside."""
CHANGES = {
    "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "creat": (85, None),
    "link": (86, None), "linkat": (265, 37), "unlink": (87, None), "unlinkat": (263, 35),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "openat2": (437, 437),  # its flags lie where no filter can see them
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}  # fmt: skip
"""What changes files or their names, or ends other processes."""
OPENS = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""What may open a file for reading alone; behind the numbers, which argument holds the flags."""
SIGNALS_ITSELF = {"tgkill": (234, 131)}
"""As `abort` does."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_X32_BIT = 0x40000000  # x86-64's second set of numbers for the same calls
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in `seccomp_data`
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
Step = tuple[int, int, int, int]  # code, steps to skip if true and if false, constant


def deny_outside() -> None:
    """Let the calls of `OUTSIDE` fail with EPERM from now on.

    Raises:
        OSError: The platform knows no such filters.
    """
    machine = _machine()
    _set([step for numbers in OUTSIDE.values() for step in _never(numbers[machine])])


def deny_changes() -> None:
    """Let all fail with EPERM that changes files or signals other processes than this one.

    What is open already can still be written to.

    Raises:
        OSError: The platform knows no such filters.
    """
    machine = _machine()
    steps = [step for numbers in CHANGES.values() for step in _never(numbers[machine])]
    for *numbers, argument in OPENS.values():
        steps += _only_if(numbers[machine], argument, (_ANY_BIT, 0, 1, _WRITING))
    for pair in SIGNALS_ITSELF.values():
        steps += _only_if(pair[machine], 0, (_EQUAL, 1, 0, os.getpid()))
    _set(steps)


def _never(number: int | None) -> list[Step]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL)] if number is not None else []


def _only_if(number: int | None, argument: int, test: Step) -> list[Step]:
    """Return the steps that let a call pass where `test` of an argument skips the next step."""
    if number is None:
        return []
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)  # its lower half
    return [(_EQUAL, 0, 4, number), load, test, (_RETURN, 0, 0, _FAIL), (_RETURN, 0, 0, _ALLOW)]


def _machine() -> int:
    if platform.machine() not in MACHINES:
        raise OSError(errno.ENOSYS, "no table of system calls for this processor")
    return list(MACHINES).index(platform.machine())


def _set(steps: Iterable[Step]) -> None:
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, MACHINES[platform.machine()]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _FAIL),
        *steps,
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    address = ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p).value or 0
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, struct.pack("HP", len(program), address), 0, 0),
    ):
        if libc.prctl(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
