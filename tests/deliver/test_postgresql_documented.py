"""What docs/deliveries.md says of PostgreSQL is true: each query in it is run on what was delivered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from pixelmill.deliver.deliver import deliver
from tests.support.deliveries import expected
from tests.support.engines import Postgres
from tests.support.photos import Photos
from tests.support.postgresql_database import Database
from tests.support.prefect_server import ROOT
from tests.support.targets.asking import delivered, delivery_to, require_rows, require_sound

SECTION = (
    (ROOT / "docs/deliveries.md").read_text().partition("\n## PostgreSQL with pgvector\n")[2].partition("\n## ")[0]
)
NEAREST, ALIKE, INDEX = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    database = Database(postgres, monkeypatch)
    yield database
    database.drop()


def rows_of(database: Database, query: str, *values: str) -> list[tuple[Any, ...]]:
    """What a query with `$1` gives."""
    with psycopg.connect(database.server.url(database.name), cursor_factory=psycopg.RawCursor) as connection:
        return connection.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]


def similar(rows: dict[int, dict[str, Any]], vector: list[float]) -> dict[str, float]:
    """The cosine of each row with a vector, by its path."""
    unit = np.array(vector) / np.linalg.norm(vector)
    return {
        told["path"]: float(np.array(told["vector"]) @ unit / np.linalg.norm(told["vector"])) for told in rows.values()
    }


def test_the_queries_find_what_is_nearest(database: Database, memory: Path) -> None:
    """To a vector, among the rows of a condition, and to a row that is there."""
    photos, delivery = Photos(memory / "store", number=40), delivery_to(database, name="search")
    deliver(photos.folder, delivery)
    rows = expected(photos.folder, delivery)
    vector = [0.3, -1.0, 0.5]
    allowed = {
        row: told for row, told in rows.items()
        if told["label"] is not None and told["taken_at"] and told["taken_at"].year >= 1970
    }  # fmt: skip
    wanted = sorted(similar(allowed, vector).items(), key=lambda one: -one[1])[:10]
    found = rows_of(database, NEAREST, str(vector))
    assert 3 < len(wanted) < len(rows)
    assert [path for path, *_ in found] == [path for path, _ in wanted]
    assert [score for *_, score in found] == pytest.approx([score for _, score in wanted], abs=1e-5)
    like_first = sorted(similar(rows, rows[0]["vector"]).items(), key=lambda one: -one[1])[:10]
    assert [path for (path,) in rows_of(database, ALIKE)] == [path for path, _ in like_first]


def test_the_index_is_used_by_the_queries_and_outlives_a_generation(database: Database, memory: Path) -> None:
    """Also one of vectors of another dimension."""
    photos, delivery = Photos(memory / "store", number=40), delivery_to(database, name="search")
    deliver(photos.folder, delivery)
    database.run(INDEX)
    for _ in range(2):
        (plan,) = database.run(f"SET enable_seqscan = off; SET enable_sort = off; EXPLAIN (FORMAT json) {ALIKE}")
        assert '"Index Name": "search_nearest"' in str(plan).replace("'", '"')
        photos.remake("a")
        photos.finish()
        assert deliver(photos.folder, delivery).is_anew
        require_rows(database, delivery, expected(photos.folder, delivery))


def test_a_first_delivery_one_of_changes_and_one_made_anew(database: Database, memory: Path) -> None:
    """The contract in short, which is asked in full by `make test-slow`."""
    photos, delivery = Photos(memory / "store"), delivery_to(database)
    for full in (False, False, True):
        delivered(database, photos, delivery, full=full)
        photos.add(9)
        photos.remove(3)
        photos.change(4)
        photos.relabel(0.5)
    delivered(database, photos, delivery)
    require_sound(photos, delivery)
