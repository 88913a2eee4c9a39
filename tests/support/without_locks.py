"""A command on a kernel without locks: `python -m tests.support.without_locks Landlock,seccomp COMMAND …`.

A filter lets the system calls behind these fail as they do on kernels, and in containers, that do not have them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from pixelmill.images import locked

_REFUSED = {
    locked.LANDLOCK: (444, errno.ENOSYS),
    locked.SECCOMP: (locked._SYSCALL_SECCOMP[os.uname().machine], errno.EPERM),
}


def refuse(names: list[str]) -> None:
    """From now on, here and in all that this process starts, the kernel refuses locks of these names."""
    listed = [(locked._LOAD, 0, 0, locked._NUMBER)]
    for number, error in (_REFUSED[name] for name in names):
        listed += [(locked._IF_EQUAL, 0, 1, number), (locked._RETURN, 0, 0, 0x00050000 | error)]
    code = locked.packed([*listed, locked._ALLOW])
    locked._promise_no_new_privileges()
    locked._call(_REFUSED[locked.SECCOMP][0], 1, 0, ctypes.byref(locked._Program(len(code) // 8, code)))


if __name__ == "__main__":
    refuse(sys.argv[1].split(","))
    os.execvp(sys.argv[2], sys.argv[2:])
