"""Prefect's API for a run of the command line: the server that its settings name, or one for this run alone."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    get_current_settings,
    temporary_settings,
)

from flows import _server as server
from pixelmill.errors import PrefectUnavailable, SettingsError
from pixelmill.run.job import Job

ANSWER_SECONDS = 10.0
START_SECONDS = 120.0
"""How long a busy machine may take to start the API."""
LOCK_SECONDS = 2.0
CHECK_SECONDS = 2.0
_DATABASE = "prefect.db"
_RAISED = re.compile(r"^[\w.]+(?:Error|Exception)\b.*", re.MULTILINE)


@contextmanager
def prefect_api() -> Iterator[None]:
    """Flows of the block find an API that answers. Raises PrefectUnavailable, in words, where there is none.

    One that is started here needs nothing but a temporary folder: where Prefect's database cannot be used (no home, or
    one that is read-only; a newer Prefect's, damaged or locked), the run has one of its own that is gone with it.
    """
    url = PREFECT_API_URL.value()
    if url:
        _check_answers(url)
        with _told(url):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="pixelmill-", ignore_cleanup_errors=True) as scratch, _started(
        Path(scratch)
    ) as settings, temporary_settings(settings), _told("of this run"):  # fmt: skip
        yield
        EventsWorker.drain_all(timeout=server.STOP_SECONDS)


def check_server(job: Job) -> None:
    """Raises SettingsError for workers without a server that could start them."""
    if job.fan_out == "workers" and not PREFECT_API_URL.value():
        raise SettingsError(
            'Expected the address of a Prefect server for fan_out = "workers": it starts them. Set PREFECT_API_URL, or '
            'run `make ui` and `prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`; or fan out "inline".'
        )


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise PrefectUnavailable(
            f"Prefect's API {where} failed during the run: {_reason(error)}. What was committed is kept; run again."
        ) from error


def _check_answers(url: str) -> None:
    patient = {PREFECT_CLIENT_MAX_RETRIES: 0}
    try:
        with temporary_settings(patient), get_client({"timeout": ANSWER_SECONDS}, sync_client=True) as client:
            client.raise_for_api_version_mismatch()
            client.read_flows(limit=1)
    except Exception as error:  # whatever it is that somebody else's server says, or does not say
        raise PrefectUnavailable(
            f"Expected a Prefect server at {url}, which PREFECT_API_URL names (a variable, .env, prefect.toml or a "
            f"profile). Got: {_reason(error)}. Start it, take the setting away, or run --direct: a run needs no server."
        ) from error


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


Setting = dict[object, object]


@contextmanager
def _started(scratch: Path) -> Iterator[Setting]:
    """An API of this run's own, and the settings of Prefect that lead to it."""
    home = PREFECT_HOME.value()
    for folder in (home, scratch) if _can_be_used(home) else (scratch,):
        try:
            with _serving(folder, scratch) as url:
                yield {PREFECT_API_URL: url, PREFECT_HOME: folder, PREFECT_LOGGING_TO_API_ENABLED: False}
                return
        except _NotStarted as failed:
            reason = str(failed)
    raise PrefectUnavailable(f"Prefect's API did not start on this machine: {reason}.")


class _NotStarted(Exception):
    """The server ended, or was not ready in time; with the last that it said."""


@contextmanager
def _serving(home: Path, scratch: Path) -> Iterator[str]:
    log = scratch / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as said:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(Path(server.__file__)), str(listening.fileno())],
            env=_environment(home), pass_fds=[listening.fileno()], stdin=subprocess.PIPE, stdout=said,
            stderr=subprocess.STDOUT, process_group=0,  # Ctrl-C is for this process, which ends that one
        )  # fmt: skip
    assert process.stdin
    try:
        _wait(process, url, log)
        yield url
    finally:
        process.stdin.close()
        process.wait()


def _environment(home: Path) -> dict[str, str]:
    own = {
        "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }  # fmt: skip
    return {**os.environ, **_set(), **own}


def _set() -> dict[str, str]:
    """What variables, files or a profile say of Prefect's settings."""
    return get_current_settings().to_environment_variables(exclude_unset=True)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as client:
        while process.poll() is None and time.monotonic() < end:
            try:
                if client.get(f"{url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
    said = _RAISED.findall(log.read_text(errors="replace"))
    waited = f"it was not ready in {START_SECONDS:.0f} s" if process.poll() is None else "it ended"
    raise _NotStarted(said[-1][:500].rstrip(".") if said else waited)


def _can_be_used(home: Path) -> bool:
    """Whether Prefect can keep its database in `home`. One that the settings name elsewhere is nobody's guess."""
    if PREFECT_SERVER_DATABASE_CONNECTION_URL.name in _set():
        return True
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        database = home / _DATABASE
        return not database.exists() or (os.access(database, os.W_OK) and _is_sound(database))
    except (OSError, sqlite3.Error):
        return False


def _is_sound(database: Path) -> bool:
    """Whether SQLite finds no damage in some seconds, and nobody holds the database locked."""
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE").connection.rollback()
        end = time.monotonic() + CHECK_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        except sqlite3.OperationalError as error:
            return "interrupted" in str(error)
