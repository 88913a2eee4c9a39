"""PgBouncer before a server of PostgreSQL: each transaction may come to another session of the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.support.engine import Engine
from tests.support.engines import NOBODY, PASSWORD, Postgres


class PgBouncer(Engine):
    """Skips where the program is missing. Sessions are never cleaned between two transactions, and there are a few."""

    owner = NOBODY if os.geteuid() == 0 else None

    def __init__(self, server: Postgres) -> None:
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is None:
            pytest.skip("pgbouncer is not installed")
        super().__init__()
        self._program, self._server = program, server

    def prepare(self) -> None:
        (self.folder / "users").write_text(f'"app" "{PASSWORD}"\n')
        (self.folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nauth_type = plain\nauth_file = {self.folder}/users\npool_mode = transaction\n"
            "unix_socket_dir =\nserver_round_robin = 1\nmin_pool_size = 4\n"
        )

    def command(self) -> Sequence[str | Path]:
        return [self._program, self.folder / "ini"]

    def answers(self) -> bool:
        with psycopg.connect(f"postgresql://app:{PASSWORD}@127.0.0.1:{self.port}/template1", connect_timeout=2):
            return True

    def url(self, database: str) -> str:
        """An address without the password."""
        return f"postgresql://app@127.0.0.1:{self.port}/{database}"
