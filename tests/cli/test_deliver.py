"""`pixelmill deliver`: what it says, its JSON, its exit codes, and that a signal ends it between two blocks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pixelmill.deliver import base, targets
from pixelmill.deliver.base import Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import TargetUnavailable
from pixelmill.run import retries
from pixelmill.run.retries import DELIVERY
from tests.support.commands import code
from tests.support.delivered import BLOCK, ROWS, add_rows, rows_in, settings, small_store, store_of_blocks

TOLD = {
    "name", "to", "required", "sent", "deleted", "behind", "rows", "revision", "equal_at", "is_anew", "seconds", "problem",
}  # fmt: skip
SMALL = 50
STOPPED = """
import os, signal, time
from pixelmill.deliver import base
from pixelmill.deliver.parquet import ParquetTarget
from pixelmill.cli.main import main
from pixelmill.watch.stopping import asked
base.BLOCK = BLOCK
write = ParquetTarget.write
def stopped(*given):
    os.kill(os.getpid(), signal.SIGINT)
    while not asked():
        time.sleep(0.01)
    write(*given)
ParquetTarget.write = stopped
main(["deliver", "--json"])
"""


def command(capfd: pytest.CaptureFixture[str], *arguments: str, expected: int = 0) -> tuple[str, str]:
    """What `pixelmill deliver` says, on stdout and stderr."""
    capfd.readouterr()
    assert code("deliver", *arguments) == expected
    told = capfd.readouterr()
    return told.out, told.err


def test_a_delivery_is_made_once(capfd: pytest.CaptureFixture[str]) -> None:
    """What is new is sent, then there is nothing to send; `--check` says that it is equal."""
    store = small_store(SMALL)
    settings("search", more='columns = ["label"]\n')
    assert "search: 50 rows sent, 0 deleted in" in command(capfd)[0]
    assert {line["label"] for line in rows_in("out", "search").values()} == {f"label {row}" for row in range(SMALL)}
    assert command(capfd)[0].startswith("search: Nothing to send. 50 rows, equal to revision")
    add_rows(store, SMALL, SMALL + 2)
    assert command(capfd)[0].startswith("search: 2 rows sent, 0 deleted in")
    assert command(capfd, "--check")[0] == "search: Equal: 52 rows, of which all were compared value by value.\n"


def test_what_differs_is_named_and_delivered(capfd: pytest.CaptureFixture[str]) -> None:
    """A store that went on, and a file that somebody took away: exit code 1, until the next delivery."""
    store = small_store(SMALL)
    settings("search")
    command(capfd)
    add_rows(store, SMALL, SMALL + 2)
    assert "It differs. The store is at revision" in command(capfd, "--check", expected=1)[0]
    command(capfd)
    (file,) = Path("out/search").glob("*/rows-*.parquet")
    file.unlink()
    told = json.loads(command(capfd, "--check", "--json", expected=1)[0])
    assert "52 rows missing: 0, 1, 2, 3, 4 and 47 more." in told[0]["differences"]
    command(capfd)
    assert len(rows_in("out", "search")) == SMALL + 2


def test_one_that_fails_keeps_none_from_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    """All are made; the exit code is 1, and what failed is told on stderr."""
    small_store()
    settings("broken", "search")
    Path("out/broken").mkdir(parents=True)
    Path("out/broken/theirs.txt").write_text("somebody else's")
    out, err = command(capfd, expected=1)
    assert out.startswith("search: 50 rows sent")
    assert err.startswith("Error: broken: Expected ")
    assert "theirs.txt, which none made" in err
    assert err.endswith("It was never equal yet.\n")
    assert json.loads(command(capfd, "--json", "--check", "search")[0])[0]["differences"] == []


def test_a_dry_run_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither there nor in the store; it says what would be done."""
    store = small_store()
    settings("search")
    assert command(capfd, "--dry-run")[0] == "search: It would send 50 rows as a new generation, and delete 0.\n"
    assert not Path("out").exists()
    assert not (store / "deliveries").exists()
    command(capfd)
    assert command(capfd, "--dry-run")[0] == "search: Nothing to send.\n"
    assert command(capfd, "--dry-run", "--full")[0].startswith("search: It would send 50 rows as a new generation")


def test_json_is_a_list_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    """Of those that are named, in the order of the settings, whether they failed or not."""
    small_store()
    settings("search", "other", "third")
    out, err = command(capfd, "third", "search", "--json")
    told = json.loads(out)
    assert err == ""
    assert [(one["name"], one["sent"], one["behind"]) for one in told] == [("search", 50, 0), ("third", 50, 0)]
    assert set(told[0]) == TOLD
    assert not Path("out/other").exists()
    (again,) = json.loads(command(capfd, "search", "--full", "--json")[0])
    assert (again["sent"], again["is_anew"]) == (50, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serch",), "Got 'serch'. Did you mean 'search'?"),
        (("nothing",), "Got 'nothing'. There are search."),
        (("--check", "--dry-run"), "Expected --check or --dry-run: both only look. Got both."),
        (("--config", "none.toml"), "Expected [[deliveries]] in the settings, which say what goes where. Found none."),
    ],
)
def test_wrong_usage_is_told_in_words(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """Exit code 2, with what to write."""
    settings("search")
    Path("none.toml").write_text('[run]\nstore = "store"\n')
    out, err = command(capfd, *arguments, expected=2)
    assert words in err
    assert out == ""


def test_a_store_that_is_not_there_is_not_made(capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and no folder."""
    settings("search")
    assert "nowhere" in command(capfd, "--store", "nowhere", expected=1)[1]
    assert not Path("nowhere").exists()
    assert not Path("out").exists()


def test_info_has_what_is_on_record(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When each was last equal, with how many rows, and why the last one failed: without asking the target."""

    def down(delivery: Delivery) -> Target:
        raise TargetUnavailable(f"Expected an answer of {delivery.to}. It is down.")

    pauses: list[float] = []
    monkeypatch.setattr(retries, "pause", pauses.append)
    store = small_store()
    settings("search")
    command(capfd)
    monkeypatch.setitem(targets._OPENERS, "parquet", down)
    command(capfd, expected=1)
    assert len(pauses) == len(DELIVERY.pauses), "a target that is down is tried again"
    assert code("info", str(store), "--json") == 0
    (kept,) = json.loads(capfd.readouterr().out)["deliveries"]
    assert (kept["name"], kept["rows"], bool(kept["equal_at"])) == ("search", 50, True)
    assert "It is down" in kept["problem"]
    assert code("info", str(store)) == 0
    told, place = capfd.readouterr().out, f"parquet:{Path('out').absolute()}"
    assert f"delivery search to {place}: 50 rows. It was last equal to the store " in told
    assert f"The last one failed: Expected an answer of {place}. It is down." in told


def test_a_signal_ends_it_between_two_blocks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent by then stays, and is told; the exit code is the signal's, and the next one goes on there."""
    store_of_blocks(Path("store"))
    settings("search", "later")
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED.replace("BLOCK = BLOCK", f"BLOCK = {BLOCK}")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert stopped.returncode == 130, stopped.stderr
    (told,) = json.loads(stopped.stdout)
    assert (told["sent"], told["behind"], told["problem"]) == (BLOCK, ROWS - BLOCK, "")
    assert "Stopped. What was committed is kept; run again to go on." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not Path("out/later").exists()
    monkeypatch.setattr(base, "BLOCK", BLOCK)
    (rest,) = json.loads(command(capfd, "search", "--json")[0])
    assert (rest["sent"], rest["behind"]) == (ROWS - BLOCK, 0)


def test_a_typo_is_told_before_anything_is_loaded() -> None:
    """A name that no delivery has: without NumPy and Arrow."""
    settings("search")
    program = (
        "import sys\nfrom pixelmill.cli.main import _exit_code, cli\nfrom pixelmill.cli.ours import prefer_ours\n"
        "prefer_ours()\ncode = _exit_code(lambda: cli.main(['deliver', 'serch'], standalone_mode=False))\n"
        "print(code, [name for name in ('numpy', 'pyarrow', 'h5py', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "2 []\n"
