"""The databases that vectors are delivered to: each started once a session, when a test first asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import Chroma, Milvus, Postgres, Qdrant


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL 18 with pgvector 0.8."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def old_postgres() -> Iterator[Postgres]:
    """PostgreSQL 16 with pgvector 0.6, which has no halfvec."""
    with Postgres("pgserver") as server:
        yield server


@pytest.fixture(scope="session")
def chroma() -> Iterator[Chroma]:
    with Chroma() as server:
        yield server


@pytest.fixture(scope="session")
def milvus() -> Iterator[Milvus]:
    with Milvus() as server:
        yield server


@pytest.fixture(scope="session")
def qdrant() -> Iterator[Qdrant]:
    with Qdrant() as server:
        yield server
