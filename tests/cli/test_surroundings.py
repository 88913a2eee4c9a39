"""Whatever a command is started with: streams that are full or closed, locales, homes, folders, others' modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixelmill import catalog
from tests.cli.conftest import Pixelmill


def test_a_full_stdout_is_told_in_words(pixelmill: Pixelmill, some_store: str) -> None:
    """Exit code 1, and nothing more when the process ends."""
    for arguments in (["info", some_store, "--json"], ["models"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            done = pixelmill(*arguments, stdout=full)
        assert (done.returncode, done.stderr) == (
            1, "Error: No space left on device: what was printed, or a file without a name.\n",
        )  # fmt: skip


def test_a_pipe_that_nobody_reads_is_no_news(some_store: str) -> None:
    """As in `pixelmill models | head -1`: not a word on stderr."""
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m pixelmill info '{some_store}' --json | true"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [("run", "--modle"), ("run", "nowhere", "--models", "resnet152", "--store", "s")])
def test_a_full_stderr_changes_no_exit_code(pixelmill: Pixelmill, arguments: tuple[str, ...]) -> None:
    """A log on a full disk: a typo still ends with 2."""
    with Path("/dev/full").open("w") as full:
        assert pixelmill(*arguments, stderr=full).returncode == 2


def test_closed_streams_are_nobody_elses(pixelmill: Pixelmill, some_store: str, tmp_path: Path) -> None:
    """A file that a command opens does not get the number of a stream that is closed, nor what is printed there."""
    script = (
        "import os, sys; from pixelmill.cli.surroundings import settle_streams; settle_streams()\n"
        "print('lost'); print('lost', file=sys.stderr); os.write(2, b'lost')\n"
        f"open({str(tmp_path / 'opened')!r}, 'w').write(str(os.open('/dev/null', os.O_RDONLY)))"
    )
    subprocess.run(["sh", "-c", f'exec "{sys.executable}" -c "$0" <&- >&- 2>&-', script], check=True)
    assert int((tmp_path / "opened").read_text()) > 2
    command = f"exec '{sys.executable}' -m pixelmill info '{some_store}'"
    assert subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"]).returncode == 0
    assert subprocess.run(["sh", "-c", f"{command}x 2>&-"], capture_output=True).stdout == b""


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, ASCII, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_any_terminal_can_show_any_name(pixelmill: Pixelmill, variables: dict[str, str | None]) -> None:
    """Letters that the terminal has not are escaped; names are read as the file system's bytes all the same."""
    done = pixelmill("info", "nö-störe", variables=variables)
    assert done.returncode == 1
    assert "Expected a store" in done.stderr
    assert "n\\xf6-st\\xf6re" in done.stderr or "nö-störe" in done.stderr
    table = pixelmill("models", variables=variables)
    assert (table.returncode, table.stderr) == (0, "")
    assert "efficientnet_lite0" in table.stdout


def test_a_locale_without_utf8_changes_no_name() -> None:
    """The process begins again in UTF-8 mode, with the terminal's encoding as it was."""
    script = (
        "import sys; from pixelmill.cli.surroundings import use_utf8; use_utf8()\n"
        "print(sys.getfilesystemencoding(), sys.stdout.encoding, sys.argv[1] == 'n\\xf6')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "nö"], capture_output=True, text=True, env={**os.environ, **ASCII}, check=True
    )
    assert done.stdout.split() == ["utf-8", "ascii", "True"]


@pytest.mark.parametrize("place", ["the working directory", "PYTHONPATH"])
def test_modules_of_others_are_not_taken_for_ours(pixelmill: Pixelmill, tmp_path: Path, place: str) -> None:
    """A project's `settings.py`, `tasks` and `flows` are left alone."""
    project = tmp_path / "project"
    for package in ("tasks", "flows"):
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text("raise SystemExit('not mine')")
    (project / "settings.py").write_text("raise SystemExit('not mine')")
    root = str(Path(catalog.__file__).parents[1])
    path = root if place == "the working directory" else os.pathsep.join([str(project), root])
    done = pixelmill("models", "--json", cwd=project, variables={"PYTHONPATH": path})
    assert json.loads(done.stdout)["models"], done.stderr
    loaded = (
        "from pixelmill.cli.ours import prefer_ours; prefer_ours()\n"
        "import flows._form, settings.job, tasks._retries; print('ours')"
    )
    found = subprocess.run(
        [sys.executable, "-c", loaded],
        cwd=project,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert found.stdout == "ours\n", found.stderr


def test_a_working_directory_that_is_gone_is_told(some_store: str) -> None:
    """In words, exit code 2; --help needs none."""
    gone = f"mkdir gone && cd gone && rmdir ../gone && exec '{sys.executable}' -m pixelmill"
    done = subprocess.run(["sh", "-c", f"{gone} info '{some_store}'"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Expected a working directory" in done.stderr
    assert subprocess.run(["sh", "-c", f"{gone} --help"], capture_output=True).returncode == 0


def test_a_user_without_a_name_and_a_home(some_store: str) -> None:
    """As of `docker run --user 12345`: settings and caches are no obstacle."""
    namespace = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets nobody make a user namespace")
    bare = ["env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={Path(catalog.__file__).parents[1]}"]
    done = subprocess.run(
        [*namespace, *bare, sys.executable, "-m", "pixelmill", "weights", "list", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cache_dir"] == "/nonexistent/.cache/pixelmill/weights"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["inf"], "'info'"),
        (["quarantin"], "'quarantine'"),
        (["weights", "lst"], "'list'"),
        (["models", "chek"], "'check'"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(pixelmill: Pixelmill, arguments: list[str], nearest: str) -> None:
    """At every level, with exit code 2."""
    done = pixelmill(*arguments)
    assert done.returncode == 2
    assert f"Did you mean {nearest}?" in done.stderr
