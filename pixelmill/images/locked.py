"""A process gives up what decoding does not need: to open a file, to connect, to start a process (Landlock, seccomp).

Of system calls it keeps a short list: to compute, to take memory, to start threads, to read and write what it has open.
Everything else fails with an error. Landlock, a second lock of its own, keeps it from files, from TCP and from signals
to others. Both are the kernel's (landlock(7), seccomp(2)), need no rights, and are for ever.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Final

LANDLOCK: Final = "Landlock"
SECCOMP: Final = "seccomp"

_MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""What the kernel calls a processor (linux/audit.h), and which column of numbers is its own."""

_ALLOWED: Final[Mapping[str, tuple[int, int | None]]] = {
    "write": (1, 64), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68), "lseek": (8, 62),
    "fstat": (5, 80), "close": (3, 57), "sendto": (44, 206), "recvfrom": (45, 207), "brk": (12, 214),
    "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "futex": (202, 98), "set_robust_list": (273, 99),
    "rseq": (334, 293), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "getitimer": (36, 102),
    "setitimer": (38, 103), "getrlimit": (97, 163), "setrlimit": (160, 164), "getrusage": (98, 165),
    "sysinfo": (99, 179), "getpid": (39, 172), "gettid": (186, 178), "getrandom": (318, 278), "exit": (60, 93),
    "exit_group": (231, 94),
}  # fmt: skip
"""System calls whatever their arguments are: x86_64 (asm/unistd_64.h), aarch64 (asm-generic/unistd.h). `read` is not
among them: what is open besides the channel and the shared memory may be somebody's terminal."""

_PROT_EXEC: Final = 4
_F_SETLKW: Final = 7
_PR_SET_NAME: Final = 15
_ALL: Final = 0xFFFFFFFF
_THREAD: Final = 0x3D0F00
"""The flags of clone(2) with which the C libraries start a thread; glibc, and musl with CLONE_DETACHED."""
_DETACHED: Final = 0x400000
_ITSELF: Final = -1

_ALLOWED_IF: Final = {
    "mmap": ((9, 222), 2, _PROT_EXEC, 0),
    "mprotect": ((10, 226), 2, _PROT_EXEC, 0),
    "clone": ((56, 220), 0, _ALL ^ _DETACHED, _THREAD),
    "kill": ((62, 129), 0, _ALL, _ITSELF),
    "tgkill": ((234, 131), 0, _ALL, _ITSELF),
    "fcntl": ((72, 25), 1, _ALL, _F_SETLKW),
    "prctl": ((157, 167), 0, _ALL, _PR_SET_NAME),
    "prlimit64": ((302, 261), 0, _ALL, 0),
}
"""System calls that one argument decides: its number, its bits that count, and what these must be."""

_NEWER: Final = 424
"""From this number on calls are said not to be there: the C library falls back to older ones (clone3 to clone)."""
_X32: Final = 0x40000000

_LOAD: Final = 0x20
_AND: Final = 0x54
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
"""Of the kernel's packet filter (linux/bpf_common.h)."""
_ALLOW: Final = (_RETURN, 0, 0, 0x7FFF0000)
_KILL: Final = (_RETURN, 0, 0, 0x80000000)
_DENY: Final = (_RETURN, 0, 0, 0x00050000 | errno.EPERM)
_NOT_THERE: Final = (_RETURN, 0, 0, 0x00050000 | errno.ENOSYS)
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Where struct seccomp_data has what."""
_Step = tuple[int, int, int, int]

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_FILTER: Final = 1
_HOW: Final = 1 | 4
"""For all threads (TSYNC); without slowing the process down against itself, as kernels before 5.16 do (SPEC_ALLOW)."""
_SYSCALL_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_ONLY_VERSION: Final = 1


class _Program(ctypes.Structure):
    _fields_ = [("steps", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def lock() -> dict[str, str]:
    """Lock this process, all its threads, for ever; by Landlock only the one that calls this, and those it starts.

    What cannot be locked is left open: by name, why.
    """
    return _lacking({LANDLOCK: lock_by_landlock, SECCOMP: lock_by_seccomp})


def missing() -> dict[str, str]:
    """What `lock` could not lock here, by name, and why. Asks the kernel, and changes nothing."""
    return _lacking({LANDLOCK: _landlock_version, SECCOMP: _ask_for_seccomp})


def _lacking(tried: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    lacking: dict[str, str] = {}
    for name, attempt in tried.items():
        try:
            attempt()
        except OSError as error:
            lacking[name] = _why(error)
    return lacking


def in_words(lacking: Mapping[str, str]) -> str:
    """What a person should know of a place where something is missing; '' if nothing is."""
    if not lacking:
        return ""
    each = " and ".join(f"without {name} ({why})" for name, why in lacking.items())
    what = "could open files, connect and start processes" if len(lacking) > 1 else "is held by one lock, not by two"
    return f"Pictures are decoded {each}: a decoder that a picture takes over {what}. See docs/decoding.md."


def lock_by_landlock() -> None:
    """No file can be opened, made or removed, no TCP connection made, nobody else be sent a signal. Raises OSError."""
    version = _landlock_version()
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    tcp = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0  # abstract sockets, signals
    rules = _call(_CREATE_RULESET, struct.pack("QQQ", files, tcp, scoped), 24, 0)
    try:
        _promise_no_new_privileges()
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def lock_by_seccomp() -> None:
    """Of system calls only the few above are left. Raises OSError."""
    machine = _machine()
    code = packed(steps(machine, os.getpid()))
    _promise_no_new_privileges()
    program = _Program(len(code) // 8, code)
    if _call(_SYSCALL_SECCOMP[machine], _SET_FILTER, _HOW, ctypes.byref(program)):
        raise OSError(errno.EBUSY, "a thread has a filter of its own")


def steps(machine: str, process: int) -> list[_Step]:
    """What the kernel does at each system call: (code, steps to skip if so, if not, value) each."""
    architecture, column = _MACHINES[machine]
    listed: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, architecture), _KILL,
        (_LOAD, 0, 0, _NUMBER), (_IF_AT_LEAST, 0, 1, _X32), _KILL,
    ]  # fmt: skip
    for numbers in _ALLOWED.values():
        if (number := numbers[column]) is not None:
            listed += [(_IF_EQUAL, 0, 1, number), _ALLOW]
    for own, argument, bits, value in _ALLOWED_IF.values():
        expected = process if value == _ITSELF else value
        listed += [
            (_IF_EQUAL, 0, 5, own[column]), (_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_AND, 0, 0, bits),
            (_IF_EQUAL, 0, 1, expected), _ALLOW, _DENY,
        ]  # fmt: skip
    return [*listed, (_IF_AT_LEAST, 0, 1, _NEWER), _NOT_THERE, _DENY]


def packed(listed: list[_Step]) -> bytes:
    """As the kernel reads it (struct sock_filter)."""
    return b"".join(struct.pack("HBBI", *step) for step in listed)


def _landlock_version() -> int:
    _machine()
    return _call(_CREATE_RULESET, None, 0, _ONLY_VERSION)


def _ask_for_seccomp() -> None:
    """A filter that lies nowhere: the kernel says so if it would have taken one."""
    try:
        _call(_SYSCALL_SECCOMP[_machine()], _SET_FILTER, _HOW, None)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def _machine() -> str:
    """This processor. Raises OSError for one whose system calls are not listed here."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _MACHINES or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOEXEC, machine)
    return machine


def _promise_no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "prctl")


def _call(number: int, *arguments: object) -> int:
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    done = int(syscall(ctypes.c_long(number), *map(_word, arguments)))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def _word(argument: object) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _why(error: OSError) -> str:
    reasons = {
        errno.ENOSYS: "this kernel has none, or a container hides it",
        errno.EPERM: "it is forbidden here, as in a container",
        errno.EACCES: "it is forbidden here, as in a container",
        errno.EOPNOTSUPP: "it was switched off when the system was started",
        errno.EINVAL: "this kernel is too old",
        errno.ENOEXEC: f"Pixelmill knows it only for 64-bit Linux on {' and '.join(_MACHINES)}",
    }
    return reasons.get(error.errno or 0, str(error.strerror))
