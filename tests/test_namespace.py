"""What other tests take for another machine is one: it sees no folder and no port that it shall not see."""

from __future__ import annotations

import subprocess
import sys
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.namespace import Namespace
from tests.support.prefect_server import wait_until
from tests.support.serving import LocalServer

pytestmark = pytest.mark.system
LIST = "import os, sys; print([sorted(os.listdir(folder)) for folder in sys.argv[1:]])"
WRITE = "import sys; open(sys.argv[1], 'w')"
ASK = "import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=2).status)"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A store and pictures."""
    for name in ("store", "photos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.file").write_text("x")
    return tmp_path / "store", tmp_path / "photos"


def test_what_is_hidden_is_not_there(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Hidden folders are empty and refuse what is written; one that is seen at another place is whole there; outside, all
    is as it was."""
    store, photos = folders
    with Namespace(hidden=folders, seen_as={photos: tmp_path / "mnt/nas"}) as there:
        listed = there.run(sys.executable, "-c", LIST, store, photos, tmp_path / "mnt/nas", check=True)
        assert listed.stdout == "[[], [], ['photos.file']]\n"
        assert "Read-only" in there.run(sys.executable, "-c", WRITE, store / "new").stderr
        here = subprocess.run([sys.executable, "-c", LIST, store, photos, tmp_path / "mnt/nas"], stdout=subprocess.PIPE)
        assert here.stdout == b"[['store.file'], ['photos.file'], []]\n"


def test_the_given_ports_alone(tmp_path: Path) -> None:
    """A server of this machine is reached under its own address if its port is given, until the wire is cut, and again
    when it is mended; another one is not."""
    with (
        LocalServer(SimpleHTTPRequestHandler).running() as given,
        LocalServer(SimpleHTTPRequestHandler).running() as other,
        Namespace(hidden=[tmp_path], ports=[int(given.url.rpartition(":")[2])]) as there,
    ):

        def ask(url: str) -> str:
            told = there.run(sys.executable, "-c", ASK, url)
            return told.stdout.strip() or told.stderr.splitlines()[-1]

        assert ask(given.url) == "200"
        assert "refused" in ask(other.url)
        there.cut()
        assert "timed out" in ask(given.url)
        there.mend()
        assert ask(given.url) == "200"
        assert "unreachable" in ask("http://192.0.2.1/")


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    """The process that is started is the program itself, which signals reach; nothing of it stays behind."""
    with Namespace(network=True) as there:
        with there.running("sleep", "1000", log=tmp_path / "log") as process:
            wait_until(lambda: is_asleep(process.pid), 20, "sleep to be the process")
        assert process.returncode == -15
        left = subprocess.Popen(there.command("sleep", "1000"))
        wait_until(lambda: is_asleep(left.pid), 20, "sleep to be the process")
    assert left.wait(5) == -9
    assert there._name not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
