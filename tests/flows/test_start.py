"""Prefect's API for a run: the server that is named, or one of its own that needs nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

from flows import _start as start
from pixelmill.errors import PrefectUnavailable
from tests.conftest import SavePicture


@contextmanager
def as_it_is(_: Path) -> Iterator[None]:
    yield


@contextmanager
def newer(database: Path) -> Iterator[None]:
    """As a later Prefect leaves it."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
    yield


@contextmanager
def damaged(database: Path) -> Iterator[None]:
    database.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    yield


@contextmanager
def locked(database: Path) -> Iterator[None]:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.close()


@contextmanager
def no_folder(database: Path) -> Iterator[None]:
    database.parent.rmdir()
    database.parent.write_text("")
    yield


def test_a_server_that_is_down_is_told_soon() -> None:
    """Where the address comes from, and that a run needs none."""
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PrefectUnavailable, match=r"127\.0\.0\.1:9/api.*PREFECT_API_URL.*take the setting away"),
        start.prefect_api(),
    ):
        pass


@pytest.mark.parametrize(("state", "usable"), [(as_it_is, True), (damaged, False), (locked, False), (no_folder, False)])
def test_a_database_is_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: object, usable: bool
) -> None:
    """One that is damaged, or locked by a program that hangs, is not waited for."""
    monkeypatch.setattr(start, "LOCK_SECONDS", 0.1)
    home = tmp_path / "prefect"
    home.mkdir()
    ours = temporary_settings(restore_defaults={PREFECT_SERVER_DATABASE_CONNECTION_URL})  # as other tests leave it
    with state(home / "prefect.db"), ours:  # type: ignore[operator]
        assert start._can_be_used(home) == usable


@pytest.mark.slow
@pytest.mark.parametrize("state", [as_it_is, newer, damaged, locked, no_folder])
def test_a_run_goes_well_whatever_prefects_home_is_like(
    tmp_path: Path, save_picture: SavePicture, state: object
) -> None:
    """In a process of its own, behind proxies that lead nowhere and with a settings.py of somebody else's; what was in
    the home stays as it was."""
    photos = save_picture(tmp_path / "photos/0.png").parent
    home = tmp_path / "prefect"
    home.mkdir()
    (tmp_path / "settings.py").write_text("raise SystemExit('not mine')")
    variables = {
        **{n: v for n, v in os.environ.items() if n != "PREFECT_API_URL"}, "PREFECT_HOME": str(home),
        "HTTP_PROXY": "http://127.0.0.1:9", "https_proxy": "127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9",
        "NO_PROXY": ".corp", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(start.__file__).parents[1])]),
    }  # fmt: skip
    with state(home / "prefect.db"):  # type: ignore[operator]
        done = subprocess.run(
            [sys.executable, "-m", "pixelmill", "run", str(photos), "--store", "store", "--precision", "float32",
             "--prefect"],
            env=variables, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 new image. 1 vector made" in done.stdout
    assert done.stderr == ""
