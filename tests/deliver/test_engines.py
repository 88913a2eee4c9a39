"""The engines of these tests are real: each keeps, changes, removes and finds vectors, goes on after it was killed, and
refuses what a full one, a wrong password or a reader's role has it refuse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.engine import Engine
from tests.support.engines import PASSWORD, Chroma, Milvus, Postgres, Qdrant
from tests.support.prefect_server import wait_until
from tests.support.s3 import S3

pytestmark = pytest.mark.slow  # most of a minute, which is what engines take to start and to start again

ROWS = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


def same(found: Any, wanted: np.ndarray[Any, Any]) -> bool:
    return bool(np.array_equal(np.asarray(found, np.float32), wanted))


@pytest.mark.parametrize("name", ["postgres", "old_postgres"])
def test_postgres_keeps_and_finds_vectors(name: str, request: pytest.FixtureRequest) -> None:
    """Rows copied in, one upserted, one deleted: the rest is as it was, and the nearest to a vector is itself."""
    import psycopg
    from pgvector.psycopg import register_vector

    server: Postgres = request.getfixturevalue(name)
    with psycopg.connect(server.url(server.database())) as connection:
        register_vector(connection)
        connection.execute("CREATE TABLE photos (id bigint PRIMARY KEY, embedding vector(8) NOT NULL)")
        with connection.cursor().copy("COPY photos FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "vector"])
            for key, row in enumerate(ROWS):
                copy.write_row((key, row))
        changed = "INSERT INTO photos VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET embedding = excluded.embedding"
        connection.execute(changed, (5, ROWS[0] * 2))
        connection.execute("DELETE FROM photos WHERE id = ANY(%s)", ([0],))
        nearest = "SELECT id FROM photos ORDER BY embedding <-> %s LIMIT 2"
        assert connection.execute(nearest, (ROWS[0] * 2,)).fetchall()[0] == (5,)
        rows = connection.execute("SELECT id, embedding FROM photos ORDER BY id").fetchall()
    assert [key for key, _ in rows] == list(range(1, 300))
    assert same([row.to_numpy() for key, row in rows if key != 5], np.delete(ROWS, [0, 5], axis=0))
    assert same(dict(rows)[5].to_numpy(), ROWS[0] * 2)


def test_only_a_new_pgvector_has_halfvec(postgres: Postgres, old_postgres: Postgres) -> None:
    """Both versions are there, for what differs between them."""
    import psycopg

    for server, known in ((postgres, True), (old_postgres, False)):
        with psycopg.connect(server.url(server.database())) as connection:
            assert (connection.execute("SELECT to_regtype('halfvec')").fetchone() != (None,)) is known


def test_postgres_refuses_strangers_and_readers(postgres: Postgres) -> None:
    """A wrong password opens nothing; the role `reader` sees rows and changes none."""
    import psycopg

    name = postgres.database()
    with psycopg.connect(postgres.url(name)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(name, password=PASSWORD + "?"))
    with psycopg.connect(postgres.url(name, "reader")) as connection:
        assert connection.execute("SELECT n FROM t").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM t")


def test_postgres_can_be_full(postgres: Postgres) -> None:
    """A table that finds no room fails its transaction; the server goes on."""
    import psycopg

    name, grow = postgres.database(), "INSERT INTO t SELECT repeat(n::text, 50) FROM generate_series(1, 100000) AS n"
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (x text)")
    with (
        postgres.full(4 << 20),
        psycopg.connect(postgres.url(name)) as connection,
        pytest.raises(psycopg.Error, match="could not extend file"),
    ):
        connection.execute(grow)
    with psycopg.connect(postgres.url(name)) as connection:
        connection.execute(grow)
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (100000,)


def test_chroma_keeps_and_finds_vectors(chroma: Chroma) -> None:
    """Upserted, one changed, one deleted, found; and kept when the server is killed."""
    import chromadb

    client = chromadb.HttpClient(host="127.0.0.1", port=chroma.port)
    photos = client.create_collection("photos", embedding_function=None)
    photos.upsert(ids=[str(n) for n in range(300)], embeddings=ROWS, metadatas=[{"row": n} for n in range(300)])
    photos.upsert(ids=["5"], embeddings=ROWS[:1] * 2)
    photos.delete(ids=["0"])
    for _ in range(2):
        assert photos.query(query_embeddings=ROWS[:1] * 2, n_results=1)["ids"] == [["5"]]
        assert photos.count() == 299
        assert same(photos.get(ids=["7"], include=["embeddings"])["embeddings"], ROWS[7:8])
        with chroma.down():
            pass


def reached(client: Any) -> bool:
    """Whether it found its server again: a client in this process waits a while after it did not."""
    from pymilvus.exceptions import MilvusException

    try:
        client.list_collections()
    except MilvusException:
        return False
    return True


def test_milvus_keeps_and_finds_vectors(milvus: Milvus) -> None:
    """Upserted, one changed, one deleted, found by an alias; and kept when the server is killed."""
    from pymilvus import DataType, MilvusClient

    client = MilvusClient(milvus.http)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=8)
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="FLAT", metric_type="L2")
    client.create_collection("photos_1", schema=schema, index_params=index)
    client.create_alias("photos_1", "photos")
    client.upsert("photos", [{"id": n, "embedding": row} for n, row in enumerate(ROWS)])
    client.upsert("photos", [{"id": 5, "embedding": ROWS[0] * 2}])
    client.delete("photos", ids=[0])
    for _ in range(2):
        assert client.search("photos", [ROWS[0] * 2], limit=1)[0][0]["id"] == 5
        assert client.query("photos", output_fields=["count(*)"])[0]["count(*)"] == 299
        assert same(client.get("photos", ids=[7])[0]["embedding"], ROWS[7])
        with milvus.down():
            pass
        wait_until(lambda: reached(client), 30, "Milvus")
        client.load_collection("photos")


def test_qdrant_keeps_and_finds_vectors(qdrant: Qdrant) -> None:
    """Upserted, one changed, one deleted, found by an alias; and kept when the server is killed."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(port=qdrant.port)
    client.create_collection("photos_1", vectors_config=models.VectorParams(size=8, distance=models.Distance.EUCLID))
    alias = models.CreateAlias(collection_name="photos_1", alias_name="photos")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    points = models.Batch(ids=list(range(300)), vectors=ROWS.tolist(), payloads=[{"row": n} for n in range(300)])
    client.upsert("photos", points)
    client.upsert("photos", [models.PointStruct(id=5, vector=(ROWS[0] * 2).tolist(), payload={"row": 5})])
    client.delete("photos", [0])
    for _ in range(2):
        assert client.query_points("photos", (ROWS[0] * 2).tolist(), limit=1).points[0].id == 5
        assert client.count("photos").count == 299
        rows, after = client.scroll("photos", offset=7, limit=2, with_vectors=True)
        assert ([row.id for row in rows], after, rows[0].payload) == ([7, 8], 9, {"row": 7})
        assert same([row.vector for row in rows], ROWS[7:9])
        with qdrant.down():
            pass


def test_qdrant_can_be_full(qdrant: Qdrant) -> None:
    """Nothing is written while its disk is full, and all is as before after."""
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import UnexpectedResponse

    client = QdrantClient(port=qdrant.port)
    client.create_collection("full", vectors_config=models.VectorParams(size=8, distance=models.Distance.DOT))
    point = models.PointStruct(id=1, vector=ROWS[0].tolist())
    with qdrant.full(), pytest.raises(UnexpectedResponse, match="No space left"):
        client.upsert("full", [point])
    assert client.count("full").count == 0
    client.upsert("full", [point])
    assert client.count("full").count == 1


def test_qdrant_asks_for_its_key() -> None:
    """A server with a key answers nobody who has another."""
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import UnexpectedResponse

    with Qdrant("k3y") as server:
        assert QdrantClient(url=f"http://127.0.0.1:{server.port}", api_key="k3y").get_collections().collections == []
        with pytest.raises(UnexpectedResponse, match="401"):
            QdrantClient(url=f"http://127.0.0.1:{server.port}", api_key="other").get_collections()


def lance(place: str, **options: Any) -> None:
    import lancedb
    import pyarrow as pa

    database = lancedb.connect(place, **options)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 8)
    photos = database.create_table("photos", pa.table({"id": pa.array(range(300)), "embedding": vectors}))
    changed = pa.table({"id": [5], "embedding": pa.FixedSizeListArray.from_arrays(pa.array(ROWS[0] * 2), 8)})
    photos.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(changed)
    photos.delete("id IN (0)")
    photos = lancedb.connect(place, **options).open_table("photos")
    assert photos.count_rows() == 299
    assert photos.search(ROWS[0] * 2).limit(1).to_arrow()["id"].to_pylist() == [5]
    assert same(photos.search().where("id = 7").to_list()[0]["embedding"], ROWS[7])


def test_lancedb_keeps_and_finds_vectors(tmp_path: Path) -> None:
    """Merged, one changed, one deleted, found, on disk."""
    lance(str(tmp_path))


def test_lancedb_keeps_and_finds_vectors_on_s3(s3_server: S3) -> None:
    """The same on a server of S3 that is none of Amazon's, named by the environment as for fsspec."""
    import s3fs

    s3fs.S3FileSystem().mkdir("lance")
    lance("s3://lance/photos", storage_options={"allow_http": "true"})


def test_a_paused_postgres_leaves_open_connections_waiting(postgres: Postgres) -> None:
    """What a connection from before asks is answered when the server goes on; new ones run into their time-out."""
    import psycopg

    url = postgres.url(postgres.database())
    with psycopg.connect(url) as connection, ThreadPoolExecutor() as pool:
        with postgres.paused():
            answer = pool.submit(lambda: connection.execute("SELECT 1").fetchone())
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(url, connect_timeout=2)
            assert not answer.done()
        assert answer.result(10) == (1,)


@pytest.mark.parametrize("name", ["chroma", "milvus", "postgres", "qdrant"])
def test_an_engine_can_hang(name: str, request: pytest.FixtureRequest) -> None:
    """A paused one answers nothing, until it goes on."""
    engine: Engine = request.getfixturevalue(name)
    with engine.paused():
        assert not engine.alive()
    assert engine.alive()
