"""A machine of its own, as far as programs can tell: this one's disk, of which nothing that is written there remains, processes
and a network (loopback alone) of its own. By Linux namespaces and overlayfs, as root.

    with BareRoot() as machine:
        machine.run("useradd --system pixelmill")       # bash, as root; raises if it fails
        machine.run("make install", cwd="/opt/pixelmill", network=True)   # on this machine's network

What is written lies in memory. All that runs there ends with the block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FIRST = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=75% none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount -t proc none "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs none "$1/root/run"
mount -t tmpfs none "$1/root/tmp"
while [ "$2" ]; do mkdir -p "$1/root/$3"; mount --bind "$2" "$1/root/$3"; shift 2; done
ip link set lo up
echo ready
exec {python} -c 'import signal, time; signal.signal(signal.SIGCHLD, signal.SIG_IGN); time.sleep(10**6)'
"""
"""The first process of the machine: nobody else buries there what lost its parent."""


@cache
def why_not() -> str | None:
    """Why no such machine can be had here; None if it can."""
    programs = ("unshare", "nsenter", "chroot", "mount", "ip", "runuser", "useradd")
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, programs)):
        return f"a bare root needs root on Linux, and {', '.join(programs)}"
    try:
        with BareRoot() as machine:
            machine.run("true")
    except (AssertionError, subprocess.CalledProcessError) as error:
        return f"overlayfs in a namespace is refused here: {error}"
    return None


class BareRoot:
    """See the module. `seen_as` are folders of this machine that are seen at another place there as they are."""

    def __init__(self, seen_as: Mapping[Path, str] = {}) -> None:
        self._seen_as = [word for here, there in seen_as.items() for word in (str(here), there)]

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="bare-root-")
        spaces = ("--mount", "--net", "--pid", "--fork", "--kill-child")
        first = _FIRST.replace("{python}", "/usr/bin/python3")
        self._holder = subprocess.Popen(
            ["unshare", *spaces, "sh", "-c", first, "sh", self._folder, *self._seen_as],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout
        assert self._holder.stderr
        if self._holder.stdout.readline() != "ready\n":
            self.__exit__()
            raise AssertionError(self._holder.stderr.read())
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self.first = int(children[0])
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()
        Path(self._folder).rmdir()

    def path(self, place: str) -> Path:
        """Where a file of that machine is seen from here."""
        return Path(f"/proc/{self.first}/root{self._folder}/root{place}")

    def run(
        self, command: str, *, cwd: str = "/", network: bool = False, variables: Mapping[str, str] = {}, stdin: str = "",
        timeout: float = 600, check: bool = True,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """A command of bash, as root, in a session of its own. `network`: on that of this machine."""
        spaces = ["--mount", "--pid", *([] if network else ["--net"])]
        given = [
            f"{name}={value}" for name, value in {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **variables}.items()
        ]
        done = subprocess.run(
            ["nsenter", f"--target={self.first}", *spaces, "chroot", f"{self._folder}/root", "env", "-i", *given,
             "setsid", "--wait", "bash", "-c", f"cd {cwd} && {command}"],
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, errors="replace",
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout[-4000:]}"
        return done
