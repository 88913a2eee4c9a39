"""Another machine, as far as a program can tell: it does not see the folders that it shall not see, and has a network of
its own. By Linux namespaces, as root; where that cannot be, a test that asks for one is skipped, with the reason.

    with Namespace(hidden=[store, photos], seen_as={photos: "/mnt/nas/photos"}, ports=[server.port]) as there:
        there.run(sys.executable, "-c", "…", check=True)                     # subprocess.run
        with there.running(sys.executable, "-m", "prefect", "worker", "start", "--pool", "cpu", env=server.env,
                           log=tmp_path / "worker.log") as worker:           # ended with the block; `worker.kill()` before
            there.cut()                                                      # packets vanish, as behind a pulled cable
            there.mend()
        subprocess.Popen(there.command("ray", "start", …))                   # or start it as you like

`hidden` folders are there, empty, and cannot be written to; they must exist, and are hidden from what is started alone.
`seen_as` shows one at another place as well, whose folder is made (below /tmp, say) if it is not there. With `ports` or
`network=True` the program is in a network of its own: 127.0.0.1 is its own, but the given ports there are those of this
machine. `there.host` is this machine's address on the wire between them, for what listens there by itself
(`dask scheduler --host`, `ray start --head --node-ip-address`), `there.address` is the other end's, for a worker that
others connect to. There is no way to anywhere else. Without either it shares the network of this machine.

What runs there sees the rest of the disk, home folder included: give it `env=` with HOME, XDG_CACHE_HOME, PREFECT_HOME or
PIXELMILL_WEIGHTS__CACHE_DIR of its own, and hide what the first ones name. `cwd` is / unless you name one.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.prefect_server import ROOT, stop

MOUNTS = ("unshare", "--mount", "--propagation", "private")
HIDE = 'while [ "$1" != -- ]; do mount $1 "$2" "$3" || exit 96; shift 3; done; shift; exec "$@"'
"""Mounts, each as options, what and where, and then the command, which keeps the process."""


@cache
def why_not() -> str | None:
    """Why no namespaces can be made here; None if they can."""
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "mount"))):
        return "namespaces need root on Linux, and the commands unshare, mount and ip (Debian: util-linux, iproute2)"
    tried = subprocess.run([*MOUNTS, "--net", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return f"namespaces are refused here: {tried.stderr.strip()}" if tried.returncode else None


class Namespace:
    """See the module."""

    def __init__(
        self, *, hidden: Iterable[Path] = (), seen_as: Mapping[Path, str | Path] | None = None, ports: Iterable[int] = (),
        network: bool = False,
    ) -> None:  # fmt: skip
        self._hidden, self._seen_as, self._ports = list(hidden), dict(seen_as or {}), list(ports)
        self._name = f"pm{os.getpid()}-{random.randrange(10**4)}" if self._ports or network else ""
        self._wire = f"pm{random.randrange(10**10)}"
        net = f"198.18.{random.randrange(256)}.{4 * random.randrange(64)}".rpartition(".")
        self.host, self.address = (f"{net[0]}.{int(net[2]) + end}" for end in (1, 2))

    def __enter__(self) -> Self:
        if reason := why_not():
            pytest.skip(reason)
        missing = [str(folder) for folder in (*self._hidden, *self._seen_as) if not folder.is_dir()]
        assert not missing, f"Expected folders to hide. There are none: {missing}"
        for place in self._seen_as.values():
            Path(place).mkdir(parents=True, exist_ok=True)
        with ExitStack() as made:
            if self._name:
                self._connect(made)
            self._open = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def command(self, *command: str | Path) -> list[str]:
        """What to start to have a command run there. It is the process that is started, so signals reach it."""
        seen = [word for here, there in self._seen_as.items() for word in ("--bind", str(here), str(there))]
        hide = [word for folder in self._hidden for word in ("-o ro,size=4k -t tmpfs", "none", str(folder))]
        net = ("ip", "netns", "exec", self._name) if self._name else ()
        return [*net, *MOUNTS, "sh", "-c", HIDE, "sh", *seen, *hide, "--", *map(str, command)]

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command, until it ends."""
        return subprocess.run(self.command(*command), text=True, **{"cwd": "/", "capture_output": True} | options)

    @contextmanager
    def running(self, *command: str | Path, log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A command while the block runs, in a session of its own; ended with what it started."""
        with log.open("ab") as out:
            started = {"cwd": "/", "stdin": subprocess.DEVNULL, "stdout": out, "stderr": out} | options
            process = subprocess.Popen(self.command(*command), start_new_session=True, **started)
        try:
            yield process
        finally:
            stop(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def cut(self) -> None:
        """From now on nothing arrives, in either direction, and nobody is told."""
        _ip("link", "set", self._wire, "down")

    def mend(self) -> None:
        """What was cut off is connected again."""
        _ip("link", "set", self._wire, "up")

    def _connect(self, made: ExitStack) -> None:
        _ip("netns", "add", self._name)
        made.callback(self._disconnect)
        _ip("link", "add", self._wire, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        _ip("address", "add", f"{self.host}/30", "dev", self._wire)
        _ip("-n", self._name, "address", "add", f"{self.address}/30", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", self._name, "link", "set", link, "up")
        self.mend()
        # What listens at every address of this machine needs no relay on this side.
        self._relay(made, [], self.host, "127.0.0.1", [port for port in self._ports if _is_free(self.host, port)])
        self._relay(made, ["ip", "netns", "exec", self._name], "127.0.0.1", self.host, self._ports)

    def _relay(self, made: ExitStack, inside: list[str], listen: str, to: str, ports: list[int]) -> None:
        command = [*inside, sys.executable, "-m", "tests.support.relay", listen, to, *map(str, ports)]
        relay = made.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE))
        made.callback(relay.kill)
        said = relay.stdout.readline() if relay.stdout else b""
        assert said == b"ready\n", f"Expected to take {ports} at {listen}."

    def _disconnect(self) -> None:
        for _ in range(100):
            pids = _ip("netns", "pids", self._name).split()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            if not pids:
                break
            time.sleep(0.02)
        _ip("netns", "delete", self._name)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as listener, suppress(OSError):
        listener.bind((host, port))
        return True
    return False
