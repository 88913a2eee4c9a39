"""Postgres and Redis for tests, from what the distribution installs: on free ports, in a folder that goes away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.prefect_server import free_port, wait_until

PASSWORD = "not-a-secret"


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres, which Debian keeps off the path."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.get_exec_path())]
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


@contextmanager
def postgres(programs: Path) -> Iterator[int]:
    """A Postgres with user and database `prefect`; its port."""
    port = free_port()
    as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if as_user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        init = ("--username=prefect", "--auth-host=scram-sha-256", "--auth-local=trust", "--no-sync", "--encoding=UTF8")
        data = f"--pgdata={folder}/data"
        subprocess.run(
            [programs / "initdb", data, f"--pwfile={folder}/password", *init],
            check=True,
            capture_output=True,
            **as_user,
        )
        serve = [
            programs / "postgres",
            "-D",
            folder / "data",
            "-p",
            str(port),
            "-k",
            folder,
            "-h",
            "127.0.0.1",
            "-c",
            "fsync=off",
        ]
        with _process(serve, folder / "log", signal.SIGINT, **as_user):
            create = [programs / "createdb", "--host", folder, "--port", str(port), "--username", "prefect", "prefect"]
            wait_until(lambda: subprocess.run(create, capture_output=True).returncode == 0, 60, "a database")
            yield port


@contextmanager
def redis() -> Iterator[int]:
    """A Redis that keeps nothing; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        serve = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with _process(serve, Path(folder, "log"), signal.SIGTERM):
            ping = ["redis-cli", "-p", str(port), "ping"]
            wait_until(lambda: subprocess.run(ping, capture_output=True).stdout == b"PONG\n", 30, "Redis")
            yield port


@contextmanager
def _process(command: list[Any], log: Path, end: signal.Signals, **options: Any) -> Iterator[None]:
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options) as process:
        try:
            yield
        finally:
            process.send_signal(end)
            process.wait(30)
