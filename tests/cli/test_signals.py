"""Ctrl-C, `kill` and closed terminals: soon, in one sentence, with the exit code that shells expect."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from pixelmill.cli import signals
from pixelmill.cli.main import _exit_code
from pixelmill.errors import SettingsError
from tests.conftest import SavePicture
from tests.support.prefect_server import having, wait_until

SENTENCE = b"Stopped. What was committed is kept; run again to go on."
WAITING = """
import sys, threading, time
from pixelmill.cli import main, signals
signals.GRACE_SECONDS = 0.5
def ready(): print("ready", flush=True)
def wait():
    {waiting}
sys.exit(main._exit_code(wait))
"""
IN_ORDER = "ready(); time.sleep(60)"
WAYS = ("--direct", "--prefect")
HANGING = "threading.Thread(target=time.sleep, args=(60,)).start(); ready(); time.sleep(60)"
CLICK = "import click; ready(); click.Command('x', callback=lambda: time.sleep(60)).main([], standalone_mode=False)"
DEAF = """
    for _ in range(9):
        try: ready(); time.sleep(60)
        except BaseException: pass
"""


def started(waiting: str, **how: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(waiting=waiting)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **how,
    )  # type: ignore[call-overload]  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("raised", [None, SettingsError("Expected a number."), click.exceptions.Exit(3), OSError("no")])
def test_signals_are_as_before_however_a_command_ends(raised: Exception | None) -> None:
    """Nothing hears them any more: a file that got the number of what did would have a byte written into it."""

    def command() -> None:
        if raised:
            raise raised

    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with socket.socket() as ours:
        ours.setblocking(False)
        signal.set_wakeup_fd(ours.fileno())
        try:
            _exit_code(command)
        finally:
            told = signal.set_wakeup_fd(-1)
        assert told == ours.fileno()
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("waiting", [IN_ORDER, HANGING, DEAF], ids=["in order", "a thread hangs", "deaf"])
def test_a_signal_ends_a_command_in_one_sentence(number: signal.Signals, waiting: str) -> None:
    """Exit code 128 and the signal's number, whatever the command waits for."""
    process = started(waiting)
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert said.strip() == SENTENCE


@pytest.mark.parametrize("waiting", [IN_ORDER, HANGING, CLICK], ids=["in order", "a thread hangs", "click waits"])
def test_a_closed_terminal_ends_a_command(waiting: str) -> None:
    """Where nobody hears the sentence any more, too."""
    process = started(waiting)
    assert process.stderr
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == 129


def test_two_signals_at_once_are_one() -> None:
    """`timeout` sends two: what tidies up after the first is not torn away by the second."""
    process = started("\n    try: ready(); time.sleep(60)\n    finally: time.sleep(0.2); print('tidied', flush=True)")
    process.terminate()
    process.terminate()
    told, said = process.communicate(timeout=10)
    assert (process.returncode, told, said.strip()) == (143, b"tidied\n", SENTENCE)


def test_what_was_ignored_stays_ignored() -> None:
    """A command under `nohup` goes on when the terminal is closed."""
    process = started("ready(); time.sleep(0.5)", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (0, b"")


@pytest.fixture
def many(tmp_path: Path, save_picture: SavePicture) -> Path:
    for seed in range(300):
        save_picture(tmp_path / f"photos/{seed}.jpg", seed, (400, 300))
    return tmp_path / "photos"


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_ends_a_run_and_all_that_it_started(many: Path, tmp_path: Path, way: str) -> None:
    """In a terminal, where it goes to every process in the foreground."""
    mine = f"PIXELMILL_CONFIG={tmp_path}/mine.toml"
    (tmp_path / "mine.toml").write_text("")
    arguments = [sys.executable, "-m", "pixelmill", "run", str(many), "--store", "store", "--precision", "float32", way]
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {n: v for n, v in os.environ.items() if n != "PREFECT_API_URL"}
        os.execve(sys.executable, arguments, environment | dict([mine.split("=", 1)]))
    wait_until(lambda: any(map(decodes, having(mine))), 240, "a decoder")
    time.sleep(1)
    os.write(terminal, b"\x03")
    began, said = time.monotonic(), b""
    try:
        while chunk := os.read(terminal, 65_536):
            said += chunk
    except OSError:
        pass  # the terminal's end, as Linux tells it
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert time.monotonic() - began < 30
    assert said.count(SENTENCE) == 1
    assert b"Traceback" not in said, said.decode()
    assert having(mine) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_nothing_behind(
    many: Path, tmp_path: Path, number: signal.Signals, way: str
) -> None:
    """`kill` ends it in order, with 143, in the middle of a long batch too; what it started ends even where it had no
    chance to say so."""
    mine = f"PIXELMILL_CONFIG={tmp_path}/mine.toml"
    (tmp_path / "mine.toml").write_text("")
    environment = {n: v for n, v in os.environ.items() if n != "PREFECT_API_URL"} | dict([mine.split("=", 1)])
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelmill", "run", str(many), "--store", "store", "--precision", "float32", "--batch-size", "300", way],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: any(map(decodes, having(mine))), 240, "a decoder", process)
    time.sleep(1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert said.count(SENTENCE) == (number != signal.SIGKILL)
    assert wait_until(lambda: having(mine) == [], 10, "the end of all that it started")


def decodes(pid: int) -> bool:
    try:
        return b"pixelmill.images.sandbox_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
