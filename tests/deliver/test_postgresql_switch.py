"""A new generation in PostgreSQL takes the table's place with all that people have put onto that one, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmill.deliver import base
from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.postgresql import switch
from pixelmill.deliver.postgresql.target import PostgresqlTarget
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.store.reader import Store
from tests.support.deliveries import differences, expected
from tests.support.engines import Postgres
from tests.support.photos import Photos
from tests.support.postgresql_database import Database
from tests.support.targets.asking import delivered, delivery_to

PUT = """
CREATE INDEX nearest ON vectors USING hnsw (vector vector_cosine_ops) WITH (m = 8, ef_construction = 32);
CREATE INDEX "By Label" ON vectors (label) INCLUDE (source) WHERE label IS NOT NULL;
CREATE INDEX twice ON vectors (label);
CREATE INDEX again ON vectors (label);
CREATE UNIQUE INDEX ON vectors (sha256);
CREATE INDEX ON vectors (lower(path) text_pattern_ops DESC);
ALTER TABLE vectors CLUSTER ON twice;
ALTER TABLE vectors ADD CONSTRAINT "is a path" CHECK (path <> '') NOT VALID;
ALTER TABLE vectors ADD CONSTRAINT contents UNIQUE (sha256);
ALTER TABLE vectors ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', path)) STORED;
CREATE INDEX ON vectors USING gin (words);
CREATE TABLE sources (source text PRIMARY KEY);
INSERT INTO sources SELECT DISTINCT source FROM vectors;
ALTER TABLE vectors ADD FOREIGN KEY (source) REFERENCES sources;
ALTER TABLE vectors ALTER COLUMN label SET STATISTICS 500, ALTER COLUMN path SET STORAGE EXTERNAL,
    ALTER COLUMN path SET COMPRESSION pglz, ALTER COLUMN label SET DEFAULT 'it''s', ALTER COLUMN label SET (n_distinct = 9);
ALTER TABLE vectors ALTER COLUMN kind SET NOT NULL;
ALTER TABLE vectors SET (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off);
ALTER TABLE vectors RESET (toast_tuple_target);
CREATE STATISTICS together (dependencies) ON source, label FROM vectors;
COMMENT ON TABLE vectors IS 'it''s all of them';
COMMENT ON COLUMN vectors.label IS 'of people';
COMMENT ON INDEX nearest IS 'for search';
COMMENT ON CONSTRAINT contents ON vectors IS 'each once';
REVOKE SELECT ON vectors FROM reader;
GRANT SELECT (path, label), UPDATE (label) ON vectors TO reader;
GRANT SELECT, REFERENCES ON vectors TO PUBLIC;
GRANT INSERT ON vectors TO reader WITH GRANT OPTION;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touches BEFORE UPDATE OF label ON vectors FOR EACH ROW WHEN (NEW.label <> '') EXECUTE FUNCTION touched();
CREATE TRIGGER never AFTER INSERT ON vectors EXECUTE FUNCTION touched();
ALTER TABLE vectors DISABLE TRIGGER never;
ALTER TABLE vectors ENABLE ROW LEVEL SECURITY;
CREATE POLICY public_ones ON vectors FOR SELECT TO reader, app USING (label <> 'private');
CREATE POLICY none ON vectors AS RESTRICTIVE FOR INSERT WITH CHECK (row > 0);
ALTER TABLE vectors REPLICA IDENTITY FULL;
CREATE VIEW labelled WITH (security_barrier = true) AS SELECT v.row, v.path, v.label FROM vectors v WHERE v.label IS NOT NULL;
CREATE VIEW few AS SELECT * FROM labelled LIMIT 3;
GRANT SELECT ON few, labelled TO reader;
COMMENT ON VIEW labelled IS 'seen';
"""
"""What people do to a table."""
CANNOT = {
    "constraint likes_picture_fkey on table public.likes": "CREATE TABLE likes (picture bigint REFERENCES vectors)",
    "function public.best()": "CREATE FUNCTION best() RETURNS SETOF vectors LANGUAGE sql AS 'SELECT * FROM vectors'",
    "materialized view public.kept": "CREATE MATERIALIZED VIEW kept AS SELECT row FROM vectors",
    "column note": "ALTER TABLE vectors ADD COLUMN note text",
    "table public.more": "CREATE TABLE more () INHERITS (vectors)",
    "rule nothing on table public.vectors": "CREATE RULE nothing AS ON INSERT TO vectors WHERE NEW.row < 0 DO INSTEAD NOTHING",
    "column one of table public.albums": "CREATE TABLE albums (one vectors)",
    "publication": "CREATE PUBLICATION changes FOR TABLE vectors",
    "policy mine on table public.albums": "CREATE TABLE albums (row bigint); CREATE POLICY mine ON albums USING (row IN (SELECT row FROM vectors))",
}
"""What another table cannot be given, and what is told of it."""


pytestmark = pytest.mark.slow  # a minute


@pytest.fixture(params=["postgres", "old_postgres"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    server: Postgres = request.getfixturevalue(request.param)
    database = Database(server, monkeypatch)
    yield database
    database.drop()


@pytest.fixture
def photos(memory: Path) -> Photos:
    return Photos(memory / "store")


@pytest.fixture
def delivery(database: Database) -> Delivery:
    return delivery_to(database)


def remake(photos: Photos) -> None:
    """A new generation, whose vectors have another dimension."""
    photos.remake("a")
    photos.finish()


def test_all_that_people_put_onto_the_table_is_on_the_new_one(database: Database, photos: Photos) -> None:
    """pg_dump tells no difference, neither after one made anew nor after a generation of another model."""
    photos.columns({"kind": ["picture"] * len(Store(photos.folder))})
    delivery = delivery_to(database, columns=("label", "kind"))
    delivered(database, photos, delivery)
    database.run(PUT)
    before = database.described("vectors")
    assert all(
        word in before for word in ("nearest", "By Label", "touches", "none", "together", "is a path", "labelled")
    )
    deliver(photos.folder, delivery, full=True)
    assert database.described("vectors") == before
    remake(photos)
    deliver(photos.folder, delivery)
    assert database.described("vectors") == before.replace("vector(3)", "vector(4)")
    assert database.run("SELECT count(*) AS n FROM labelled") == database.run("SELECT count(label) AS n FROM vectors")


def test_rights_are_those_of_before(database: Database, photos: Photos, delivery: Delivery) -> None:
    """Whoever was let in is, whoever was shut out stays so, and the owner is the same."""
    delivered(database, photos, delivery)
    database.run("REVOKE ALL ON vectors FROM reader; GRANT SELECT (row) ON vectors TO reader")
    database.run("CREATE ROLE keepers; GRANT keepers TO app; GRANT CREATE ON SCHEMA public TO keepers", role="postgres")
    try:
        database.run("ALTER TABLE vectors OWNER TO keepers")
        before = database.described("vectors")
        deliver(photos.folder, delivery, full=True)
        assert database.described("vectors") == before
        assert len(database.run("SELECT row FROM vectors", role="reader")) == len(expected(photos.folder, delivery))
        with pytest.raises(Exception, match="permission denied"):
            database.run("SELECT path FROM vectors", role="reader")
    finally:
        database.run("DROP OWNED BY keepers CASCADE; DROP ROLE keepers", role="postgres")


@pytest.mark.parametrize("what", sorted(CANNOT))
def test_what_the_new_table_cannot_be_given_is_named_before_rows_are_sent(
    database: Database, photos: Photos, delivery: Delivery, what: str
) -> None:
    """Nothing is changed, and readers have the old generation; without it the next delivery goes well."""
    delivered(database, photos, delivery)
    database.run(CANNOT[what], role="postgres" if what == "publication" else "app")
    before, rows = database.described("vectors"), database.rows("vectors")
    with pytest.raises(DeliveryRefused, match="the generation from before") as refused:
        deliver(photos.folder, delivery, full=True)
    assert what in str(refused.value)
    assert refused.value.delivered.sent == 0  # type: ignore[attr-defined]
    assert (database.described("vectors"), database.rows("vectors")) == (before, rows)
    assert database.leftovers("vectors") == []


def test_a_view_that_shows_vectors_of_another_dimension_is_named(
    database: Database, photos: Photos, delivery: Delivery
) -> None:
    """Of the same dimension it goes on, in a view on a view too; of another one it is refused, and stays."""
    delivered(database, photos, delivery)
    database.run("CREATE VIEW all_of_it AS SELECT * FROM vectors; CREATE VIEW fewer AS SELECT row FROM all_of_it")
    deliver(photos.folder, delivery, full=True)
    assert {row["row"] for row in database.run("SELECT row FROM fewer")} == expected(photos.folder, delivery).keys()
    before = database.rows("vectors")
    remake(photos)
    with pytest.raises(DeliveryRefused, match=r"the view public\.all_of_it .* cannot change data type"):
        deliver(photos.folder, delivery)
    assert database.rows("vectors") == before
    database.run("DROP VIEW all_of_it CASCADE")
    delivered(database, photos, delivery)


def test_an_index_that_the_new_vectors_cannot_have_is_named(database: Database, photos: Photos) -> None:
    """As one of a column that is delivered no more, or by HNSW of more than 2,000 dimensions."""
    delivery = delivery_to(database)
    delivered(database, photos, delivery)
    database.run("CREATE INDEX by_label ON vectors (label)")
    with pytest.raises(DeliveryRefused, match=r'the index by_label .* column "label" does not exist'):
        deliver(photos.folder, delivery_to(database, columns=("taken.at",)))
    database.run("DROP INDEX by_label; CREATE INDEX nearest ON vectors USING hnsw (vector vector_ip_ops)")
    with PostgresqlTarget(delivery) as target:
        (served,) = target.generations()
        for dim, words in ((2001, "the index nearest .* 2000 dimensions"), (16_001, "at most 16,000 .* Got 16,001")):
            larger = served.definition.model_copy(update={"dim": dim})
            with pytest.raises(DeliveryRefused, match=words):
                target.begin(Generation(key="0", definition=larger), Shape(dim, larger.columns))
    assert database.leftovers("vectors") == []


def test_a_column_may_be_of_another_kind_in_the_next_generation(database: Database, photos: Photos) -> None:
    """How texts are stored is no matter of numbers, and back again."""
    delivery = delivery_to(database, columns=("rating", "label"))
    for kind in (str, float, str, int):
        photos.relabel(kind=kind)
        delivered(database, photos, delivery)


def test_an_index_is_built_once_and_beside_the_table_that_is_read(
    database: Database, photos: Photos, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader keeps the table locked others read on, and the delivery fails in words; the next one finishes it
    with the indexes that are built, and with one that came since."""
    monkeypatch.setattr(base, "SECONDS", 2.0)
    monkeypatch.setattr(switch, "LOCKED_SECONDS", 0.2)
    delivered(database, photos, delivery)
    database.run("CREATE INDEX nearest ON vectors USING hnsw (vector vector_cosine_ops)")
    remake(photos)
    waited = []
    with database.connect() as reader:
        reader.execute("SELECT count(*) FROM vectors")
        began = threading.Event()

        def read() -> None:
            began.wait()
            for _ in range(50):
                start = time.monotonic()
                database.run("SELECT count(*) FROM vectors")
                waited.append(time.monotonic() - start)

        other = threading.Thread(target=read)
        other.start()
        began.set()
        with pytest.raises(TargetUnavailable, match="locked"):
            deliver(photos.folder, delivery)
        other.join()
    assert max(waited) < 1.5
    (built,) = database.run(
        "SELECT indexrelid AS oid FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE c.relname ~ '^vectors__' AND NOT indisprimary"
    )
    database.run("CREATE INDEX later ON vectors (path)")
    told = delivered(database, photos, delivery)
    assert (told.sent, told.is_anew) == (0, True)
    indexes = database.run(
        "SELECT indexrelid AS oid, indexrelid::regclass::text AS name FROM pg_index WHERE indrelid = 'vectors'::regclass AND NOT indisprimary"
    )
    assert {row["name"] for row in indexes} == {"nearest", "later"}
    assert built["oid"] in {row["oid"] for row in indexes if row["name"] == "nearest"}


def test_what_others_keep_of_a_row_stays_when_it_changes(
    database: Database, photos: Photos, delivery: Delivery
) -> None:
    """A column that people have added, and rows of other tables that refer to it; those of rows that are gone go."""
    delivered(database, photos, delivery)
    database.run("ALTER TABLE vectors ADD COLUMN note text; UPDATE vectors SET note = 'of ' || row")
    database.run(
        "CREATE TABLE likes (picture bigint REFERENCES vectors ON DELETE CASCADE); INSERT INTO likes SELECT row FROM vectors"
    )
    before = expected(photos.folder, delivery)
    photos.relabel()
    photos.move(5)
    photos.remove(3)
    photos.add(4)
    assert deliver(photos.folder, delivery).is_equal
    wanted = expected(photos.folder, delivery)
    rows = database.rows("vectors") or {}
    assert {row: told["note"] for row, told in rows.items()} == {
        row: f"of {row}" if row in before else None for row in wanted
    }
    assert {row["picture"] for row in database.run("SELECT * FROM likes")} == before.keys() & wanted.keys()
    assert not differences({row: {k: v for k, v in told.items() if k != "note"} for row, told in rows.items()}, wanted)


def test_a_table_that_somebody_dropped_is_made_anew(database: Database, photos: Photos, delivery: Delivery) -> None:
    """Also when another one was put in its place, which is refused as long as it is there."""
    delivered(database, photos, delivery)
    database.run("DROP TABLE vectors")
    assert delivered(database, photos, delivery).sent == len(expected(photos.folder, delivery))
    database.run("ALTER TABLE vectors RENAME TO kept; CREATE TABLE vectors (LIKE kept INCLUDING ALL)")
    with pytest.raises(DeliveryRefused, match="that none made"):
        deliver(photos.folder, delivery)
    database.run("DROP TABLE vectors")
    delivered(database, photos, delivery)
    assert len(database.run("SELECT row FROM kept")) == len(expected(photos.folder, delivery))


@pytest.mark.parametrize(
    "what", ["VIEW {} AS SELECT 1 AS row", "SEQUENCE {}", "TYPE {} AS (row bigint)", "TABLE {} (row bigint)"]
)
def test_whatever_has_the_name_is_left_alone(database: Database, photos: Photos, delivery: Delivery, what: str) -> None:
    """A view, a sequence, a type: it is refused, before rows are sent but for a type, and stays."""
    database.run(f"CREATE {what.format('vectors')}")
    with pytest.raises(DeliveryRefused, match="vectors"):
        deliver(photos.folder, delivery)
    database.run(f"DROP {what.split()[0]} vectors")
    delivered(database, photos, delivery)


@pytest.mark.parametrize("what", ["TABLE {} (row bigint PRIMARY KEY)", "VIEW {} AS SELECT 1 AS name"])
def test_a_table_of_the_name_of_the_records_is_left_alone(
    database: Database, photos: Photos, delivery: Delivery, what: str
) -> None:
    """It is refused, and so is a delivery that would take the records' own name."""
    with pytest.raises(DeliveryRefused, match="another name"):
        deliver(photos.folder, delivery_to(database, name="pixelmill_deliveries"))
    database.run(f"CREATE {what.format('pixelmill_deliveries')}")
    with pytest.raises(DeliveryRefused, match=r"public\.pixelmill_deliveries .* none made"):
        deliver(photos.folder, delivery)
