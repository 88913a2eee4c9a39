"""How far is a delivery from what its engine loads at most?

    python -m benchmarks.deliver [parquet lancedb postgresql qdrant milvus chroma] [--rows 1000000] [--dim 512]

Over made-up float16 vectors, a caption and a number of stars a row, each engine a process of its own on this machine:

    bulk      the engine's own way to load the same arrays, which lie ready in an Arrow file in the file cache
    first     the first delivery; its share of the bulk load's pace, and this process's memory: most in the first
              quarter and most in the rest
    nothing   a delivery when nothing has changed
    changed   one after other stars for 1,000 rows all over the store
    new       one after 1,000 new rows
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.scale import content_of, file_of, provenance
from benchmarks.search import fill, group, vectors
from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.told import Delivered
from pixelmill.deliver.wanted import Wanted
from pixelmill.store.column_writer import join
from pixelmill.store.columns import Values
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.store.rows import ShardRows
from pixelmill.store.rows import Vectors as Embedded
from tests.support.engines import Chroma, Milvus, Postgres, Qdrant

CHANGED = 1000
NAME = "pictures"
PIECE = 1000
"""Rows that engines which take lists are given at a time."""

Batches = Iterator[pa.RecordBatch]
Load = Callable[[Batches], object]
"""The engine's own bulk load."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(ENGINES))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-deliver-", dir=given.folder) as name:
        folder = Path(name)
        for target in given.targets:
            store = folder / target / "store"
            fill(store, given.rows, given.dim)
            settle_columns(store, 0)
            with ENGINES[target](folder / target) as (to, load):
                measure(target, store, to, load)


def measure(target: str, store: Path, to: str, load: Load) -> None:
    """Print what each kind of delivery takes."""
    delivery = Delivery(name=NAME, to=to, models=("made-up",), columns=("caption", "stars"), normalize=True)
    rows = len(Store(store))
    with pa.memory_map(str(arrow_file(store, delivery))) as file:
        reader = pa.ipc.open_file(file)
        bulk, _ = timed(lambda: load(reader.get_batch(n) for n in range(reader.num_record_batches)))
    with memory() as most:
        first, done = timed(lambda: deliver(store, delivery))
    assert (done.sent, done.rows) == (rows, rows), done
    quarter = len(most) // 4
    print(f"{target}: {rows:,} rows of {Store(store)['made-up'].shape[1]} dims")
    print(f"  bulk     {rows / bulk:9,.0f} rows/s  {bulk:7.1f} s")
    print(f"  first    {rows / first:9,.0f} rows/s  {first:7.1f} s  {bulk / first:.2f} of bulk; "
          f"{max(most[:quarter]):,.0f} and {max(most[quarter:]):,.0f} MB")  # fmt: skip
    tell("nothing", lambda: deliver(store, delivery), 0)
    settle_columns(store, 1)
    tell("changed", lambda: deliver(store, delivery), CHANGED)
    add(store, rows, CHANGED)
    tell("new", lambda: deliver(store, delivery), CHANGED)


def tell(what: str, work: Callable[[], Delivered], sent: int) -> None:
    """Print how long a delivery takes that sends so many rows."""
    with memory() as most:
        seconds, done = timed(work)
    assert done.sent == sent, done
    print(f"  {what:<8} {sent:9,} rows    {seconds:7.2f} s; {max(most):,.0f} MB", flush=True)


def settle_columns(store: Path, number: int) -> None:
    """A caption and stars for each row; those of every so-manieth row are others for another number."""
    rows = len(Store(store))
    step = max(rows // CHANGED, 1)

    def values(start: int, stop: int) -> dict[str, Values]:
        at = np.arange(start, stop)
        captions = [b"A horse %d by the sea" % row for row in at.tolist()]
        return {
            "caption": captions,
            "stars": at % 5 + np.where((at % step == 0) & (at // step < CHANGED), 10 * number, 0),
        }

    with StoreWriter(store) as writer:
        join(writer, [group("caption", "text"), group("stars", "int64")], values)


def add(store: Path, start: int, number: int) -> None:
    """More rows, about which nothing is known."""
    with StoreWriter(store) as writer:
        matrix = writer.snapshot().manifest.serving("made-up")
        assert matrix
        made = provenance("made-up").model_copy(update={"dim": matrix.provenance.dim})
        assert made.fingerprint == matrix.provenance.fingerprint
        rows = Embedded(np.arange(number), vectors(start, number, made.dim))
        contents = [content_of(file_of("/photos", start + n)) for n in range(number)]
        writer.commit(ShardRows(contents, {made.fingerprint: rows}))


def arrow_file(store: Path, delivery: Delivery) -> Path:
    """All that is delivered, in a file of Arrow's, which is read once."""
    wanted, path = Wanted(Store(store), delivery), store.parent / "rows.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, wanted.shape.schema) as out:
        for number in range(wanted.blocks):
            block = wanted.block(number)
            out.write_batch(block.batch(block.rows))
    path.read_bytes()
    return path


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what it gives."""
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


@contextmanager
def memory() -> Iterator[list[float]]:
    """MB of this process that are no file's, ten times a second."""
    sizes, over = [own()], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            sizes.append(own())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def own() -> float:
    found = psutil.Process(os.getpid()).memory_info()
    return float(found.rss - found.shared) / 1e6


def lists(batches: Batches) -> Iterator[dict[str, list[Any]]]:
    """Columns as lists, a few rows at a time; the vectors as a matrix."""
    for batch in batches:
        for start in range(0, batch.num_rows, PIECE):
            piece = batch.slice(start, PIECE)
            flat = piece.column("vector").flatten().to_numpy().reshape(piece.num_rows, -1)
            yield {**{name: piece.column(name).to_pylist() for name in piece.schema.names[:-1]}, "vector": flat}


@contextmanager
def parquet(folder: Path) -> Iterator[tuple[str, Load]]:
    """pyarrow's own writer, a file a batch, of the layout that a delivery's files have, and so of their size."""
    import pyarrow.parquet as pq

    from pixelmill.deliver.parquet import layout_of

    def load(batches: Batches) -> None:
        (folder / "bulk").mkdir()
        for number, batch in enumerate(batches):
            table = pa.Table.from_batches([batch])
            pq.write_table(table, folder / "bulk" / f"{number}.parquet", **layout_of(batch.schema))

    yield f"parquet:{folder}/delivered", load


@contextmanager
def lancedb(folder: Path) -> Iterator[tuple[str, Load]]:
    """A table made of a stream of batches."""
    import lancedb

    def load(batches: Batches) -> None:
        first = next(batches)
        stream = pa.RecordBatchReader.from_batches(
            first.schema, (batch for some in ([first], batches) for batch in some)
        )
        lancedb.connect(str(folder / "bulk")).create_table(NAME, stream)

    yield f"lancedb:{folder}/delivered", load


@contextmanager
def postgresql(folder: Path) -> Iterator[tuple[str, Load]]:
    """COPY in its binary form into a table with a primary key."""
    import psycopg

    with Postgres() as server:
        url = server.url(server.database())

        def load(batches: Batches) -> None:
            with psycopg.connect(url) as connection:
                connection.execute(
                    "CREATE TABLE bulk (row bigint PRIMARY KEY, path text, source text, sha256 text, caption text, "
                    "stars bigint, digest bigint, vector vector)"
                )
                with connection.cursor().copy("COPY bulk FROM STDIN (FORMAT binary)") as copy:
                    copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
                    for piece in lists(batches):
                        copy.write(packed(piece))
                    copy.write(b"\xff\xff")

        os.environ["PIXELMILL_PASSWORD_PICTURES"] = url.partition("//")[2].partition(":")[2].partition("@")[0]
        yield server.url(server.database(), password=None), load


def packed(piece: dict[str, Any]) -> bytes:
    """Rows as COPY takes them: fields by their lengths, numbers with the highest byte first."""
    vectors = piece.pop("vector").astype(">f4")
    head = len(vectors[0]).to_bytes(2) + bytes(2)
    columns = [[_field(value) for value in column] for column in piece.values()]
    columns.append([_sized(head + vector.tobytes()) for vector in vectors])
    start = len(columns).to_bytes(2)
    return b"".join(start + b"".join(fields) for fields in zip(*columns, strict=True))


def _field(value: int | str | None) -> bytes:
    if value is None:
        return b"\xff" * 4
    return _sized(value.to_bytes(8, signed=True) if isinstance(value, int) else value.encode())


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(4) + content


@contextmanager
def qdrant(folder: Path) -> Iterator[tuple[str, Load]]:
    """The client's upload of a collection."""
    from qdrant_client import QdrantClient, models

    with Qdrant() as server:

        def load(batches: Batches) -> None:
            client = QdrantClient(url=f"http://127.0.0.1:{server.port}", timeout=60, check_compatibility=False)
            for number, piece in enumerate(lists(batches)):
                given = piece.pop("vector")
                if not number:
                    shape = models.VectorParams(size=given.shape[1], distance=models.Distance.DOT)
                    client.create_collection("bulk", vectors_config=shape)
                payload = [dict(zip(piece, values, strict=True)) for values in zip(*piece.values(), strict=True)]
                client.upload_collection("bulk", vectors=given, payload=payload, ids=piece["row"], wait=True)

        yield server.url, load


@contextmanager
def milvus(folder: Path) -> Iterator[tuple[str, Load]]:
    """The client's insert of lists of rows."""
    from pymilvus import DataType, MilvusClient

    with Milvus() as server:

        def load(batches: Batches) -> None:
            client = MilvusClient(server.http)
            for number, piece in enumerate(lists(batches)):
                given = piece.pop("vector")
                if not number:
                    schema = client.create_schema()
                    schema.add_field("row", DataType.INT64, is_primary=True)
                    for name in ("path", "source", "sha256", "caption"):
                        schema.add_field(name, DataType.VARCHAR, max_length=65_535, nullable=name == "caption")
                    schema.add_field("stars", DataType.INT64, nullable=True)
                    schema.add_field("digest", DataType.INT64)
                    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=given.shape[1])
                    client.create_collection("bulk", schema=schema)
                rows = [dict(zip(piece, values, strict=True)) for values in zip(*piece.values(), strict=True)]
                client.insert("bulk", [{**row, "vector": vector} for row, vector in zip(rows, given, strict=True)])

        yield server.url, load


@contextmanager
def chroma(folder: Path) -> Iterator[tuple[str, Load]]:
    """The client's `add` to a collection."""
    import chromadb

    with Chroma() as server:

        def load(batches: Batches) -> None:
            client = chromadb.HttpClient(host="127.0.0.1", port=server.port)
            collection = client.create_collection("bulk", embedding_function=None)
            for piece in lists(batches):
                given = piece.pop("vector")
                rows = [dict(zip(piece, values, strict=True)) for values in zip(*piece.values(), strict=True)]
                known = [{name: value for name, value in row.items() if value is not None} for row in rows]
                collection.add([str(row["row"]) for row in rows], embeddings=given, metadatas=known)

        yield server.url, load


ENGINES = {
    "parquet": parquet, "lancedb": lancedb, "postgresql": postgresql, "qdrant": qdrant, "milvus": milvus,
    "chroma": chroma,
}  # fmt: skip


if __name__ == "__main__":
    main()
