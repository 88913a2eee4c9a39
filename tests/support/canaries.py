"""What a decoder that was taken over would try, called as machine code would: each says with which error it failed.

`python -m tests.support.canaries [LOCK …]` tries each in a process of its own, behind the locks named, and prints the
errors by name as JSON: 0 where it worked.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pixelmill.images import locked

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
EXECVEAT, PROCESS_VM_READV = {"x86_64": (322, 310), "aarch64": (281, 270)}.get(os.uname().machine, (0, 0))
IO_URING_SETUP, PIDFD_OPEN, CLONE3 = 425, 434, 435
PTRACE_TRACEME, PTRACE_SEIZE, PR_SET_PTRACER = 0, 0x4206, 0x59616D61
TRUE = b"/bin/true"
SECRET = ctypes.create_string_buffer(b"secret")
"""At the same place in a process and in the one that it was forked from."""
LIMITS = ctypes.create_string_buffer(16)


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Place:
    """What the canaries need, opened and made while that is still possible."""

    def __init__(self) -> None:
        self.parent = os.getppid()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "there").write_bytes(b"there")
        self.there = os.fsencode(self.folder / "there")
        self.new = os.fsencode(self.folder / "new")
        self.program = os.open(TRUE, os.O_RDONLY)
        self.listens = socket.create_server(("127.0.0.1", 0))
        self.address = self.listens.getsockname()
        self.hidden = socket.socket(socket.AF_UNIX)
        self.hidden_address = f"\0pixelmill-{os.getpid()}"
        self.hidden.bind(self.hidden_address)
        self.hidden.listen()
        self.tcp, self.unix = socket.socket(), socket.socket(socket.AF_UNIX)
        self.device = os.open("/dev/null", os.O_RDWR)
        self.pair = socket.socketpair()


def _failed(done: int) -> int:
    return ctypes.get_errno() if done < 0 else 0


def _opens(path: bytes, flags: int) -> int:
    return _failed(LIBC.open(path, flags, 0o600))


def _forks(_: Place) -> int:
    return _failed(LIBC.fork() or os._exit(0))


def _forks_newly(_: Place) -> int:
    asked = struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)  # struct clone_args
    return _failed(LIBC.syscall(CLONE3, asked, len(asked)) or os._exit(0))


def _starts(_: Place) -> int:
    arguments = (ctypes.c_char_p * 2)(TRUE, None)
    return int(LIBC.posix_spawn(ctypes.byref(ctypes.c_int()), TRUE, None, None, arguments, None))


def _becomes(_: Place) -> int:
    return _failed(LIBC.execve(TRUE, (ctypes.c_char_p * 2)(TRUE, None), None))


def _becomes_open_program(place: Place) -> int:
    arguments = (ctypes.c_char_p * 2)(TRUE, None)
    return _failed(LIBC.syscall(EXECVEAT, place.program, b"", arguments, None, 0x1000))


def _reads_memory(place: Place) -> int:
    mine = ctypes.create_string_buffer(8)
    here, there = (ctypes.byref(Vector(ctypes.addressof(buffer), 6)) for buffer in (mine, SECRET))
    one = ctypes.c_ulong(1)
    return _failed(LIBC.syscall(PROCESS_VM_READV, place.parent, here, one, there, one, ctypes.c_ulong(0)))


def _connects(place: Place) -> int:
    return place.tcp.connect_ex(place.address)


def _connects_hidden(place: Place) -> int:
    return place.unix.connect_ex(place.hidden_address)


def _makes_code(_: Place) -> int:
    LIBC.mmap.restype = ctypes.c_long
    return _failed(LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0)))


def _makes_code_later(_: Place) -> int:
    LIBC.mmap.restype = ctypes.c_long
    place = LIBC.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
    return _failed(LIBC.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(4096), 5))


def _loads_library(_: Place) -> int:
    try:
        ctypes.CDLL("libresolv.so.2")
    except OSError:
        return errno.EPERM  # dlopen says it in words
    return 0


def _is_signalled(place: Place) -> int:
    return _failed(LIBC.fcntl(place.pair[0].fileno(), 8, place.parent))  # F_SETOWN: SIGIO to whom I say


CANARIES: dict[str, Callable[[Place], int]] = {
    "read a file": lambda place: _opens(place.there, os.O_RDONLY),
    "write a file": lambda place: _opens(place.there, os.O_WRONLY | os.O_TRUNC),
    "make a file": lambda place: _opens(place.new, os.O_CREAT | os.O_RDWR),
    "read the parent's memory as a file": lambda place: _opens(b"/proc/%d/mem" % place.parent, os.O_RDWR),
    "open anew what is open": lambda place: _opens(b"/proc/self/fd/%d" % place.device, os.O_RDWR),
    "list a folder": lambda place: _opens(os.fsencode(place.folder), os.O_RDONLY | os.O_DIRECTORY),
    "remove a file": lambda place: _failed(LIBC.unlink(place.there)),
    "rename a file": lambda place: _failed(LIBC.rename(place.there, place.new)),
    "make a folder": lambda place: _failed(LIBC.mkdir(place.new, 0o700)),
    "make a link": lambda place: _failed(LIBC.symlink(b"/", place.new)),
    "cut a file": lambda place: _failed(LIBC.truncate(place.there, ctypes.c_long(1))),
    "change rights": lambda place: _failed(LIBC.chmod(place.there, 0o777)),
    "look at a file": lambda place: _failed(LIBC.access(place.there, 0)),
    "read what is open": lambda place: _failed(LIBC.read(place.device, ctypes.create_string_buffer(1), 1)),
    "make memory a file": lambda _: _failed(LIBC.memfd_create(b"mine", 0)),
    "load a library": _loads_library,
    "make a TCP socket": lambda _: _failed(LIBC.socket(socket.AF_INET, socket.SOCK_STREAM, 0)),
    "make a UDP socket": lambda _: _failed(LIBC.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)),
    "make a Unix socket": lambda _: _failed(LIBC.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)),
    "connect": _connects,
    "connect to a hidden socket": _connects_hidden,
    "start a process": _forks,
    "start a program": _starts,
    "become a program": _becomes,
    "become an open program": _becomes_open_program,
    "start a process by clone3": _forks_newly,
    "be traced": lambda _: _failed(LIBC.ptrace(PTRACE_TRACEME, 0, None, None)),
    "trace the parent": lambda place: _failed(LIBC.ptrace(PTRACE_SEIZE, place.parent, None, None)),
    "read the parent's memory": _reads_memory,
    "signal the parent": lambda place: _failed(LIBC.kill(place.parent, signal.SIGCHLD)),
    "signal a group": lambda _: _failed(LIBC.kill(0, signal.SIGCHLD)),
    "have the parent signalled": _is_signalled,
    "hold the parent": lambda place: _failed(LIBC.syscall(PIDFD_OPEN, place.parent, 0)),
    "see what limits the parent": lambda place: _failed(LIBC.prlimit(place.parent, 7, None, LIMITS)),
    "set up io_uring": lambda _: _failed(LIBC.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))),
    "make code": _makes_code,
    "make code later": _makes_code_later,
}


def _of_32_bits(_: Place) -> int:
    """getpid as 32-bit programs call it; to be run by code that is there already."""
    return 0 if CODE and ctypes.CFUNCTYPE(ctypes.c_int)(CODE)() > 0 else errno.ENOSYS


def _code() -> int:
    """mov eax, 20; int 0x80; ret."""
    LIBC.mmap.restype = ctypes.c_void_p
    place = LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
    ctypes.memmove(place, bytes.fromhex("b814000000cd80c3"), 8)
    return int(place)


CODE = _code() if __name__ == "__main__" and os.uname().machine == "x86_64" else 0
FOREIGN: dict[str, Callable[[Place], int]] = {
    "call as 32 bits": _of_32_bits,
    "call as x32": lambda _: _failed(LIBC.syscall(0x40000000 | 39)),
}
"""Calls of x86_64 by other numbers, which a list that forgot them would let through."""


def tried(canary: Callable[[Place], int], locks: list[str]) -> int:
    """The error of a canary in a process behind locks; 0 if it worked; less if the process was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        place = Place()
        for lock in locks:
            {locked.LANDLOCK: locked.lock_by_landlock, locked.SECCOMP: locked.lock_by_seccomp}[lock]()
        os._exit(canary(place))
    finally:
        os._exit(255)


if __name__ == "__main__":
    LIBC.prctl(PR_SET_PTRACER, ctypes.c_ulong(ctypes.c_ulong(-1).value), 0, 0, 0)  # Yama lets children trace it
    own = FOREIGN if CODE else {}
    print(json.dumps({name: tried(canary, sys.argv[1:]) for name, canary in {**CANARIES, **own}.items()}))
