"""PostgreSQL with pgvector passes the contract of targets, read by psycopg as others would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import Postgres
from tests.support.postgresql_database import Database
from tests.support.target_contract import TargetContract


@pytest.mark.slow
class TestPostgresql(TargetContract):
    """PostgreSQL 18 with pgvector 0.8."""

    modules = ("pixelmill.deliver.postgresql.target",)

    @pytest.fixture
    def engine(self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
        database = Database(postgres, monkeypatch)
        yield database
        database.drop()


@pytest.mark.slow
class TestOlder(TargetContract):
    """PostgreSQL 16 with pgvector 0.6."""

    is_second = True
    modules = ("pixelmill.deliver.postgresql.target",)

    @pytest.fixture
    def engine(self, old_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
        database = Database(old_postgres, monkeypatch)
        yield database
        database.drop()
