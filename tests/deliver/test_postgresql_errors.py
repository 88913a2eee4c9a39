"""What is wrong with a PostgreSQL, its settings or its address is told in words, and what is slow is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pixelmill.deliver import base, in_time
from pixelmill.deliver.deliver import check, deliver, preview_delivery
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.in_time import deliver_in_time
from pixelmill.deliver.targets import open_target
from pixelmill.errors import DeliveryLeft, DeliveryRefused, TargetUnavailable
from pixelmill.store.reader import Store
from tests.support.deliveries import expected
from tests.support.engines import PASSWORD, Postgres
from tests.support.pgbouncer import PgBouncer
from tests.support.photos import Photos
from tests.support.postgresql_database import Database
from tests.support.prefect_server import free_port, wait_until
from tests.support.targets.asking import delivered, delivery_to, require_rows, require_sound

pytestmark = pytest.mark.slow  # half a minute

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON vectors FOR EACH ROW EXECUTE FUNCTION slow();
"""
FULL = """
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE ''no space left'' USING ERRCODE = ''disk_full''; END';
CREATE TRIGGER fails BEFORE INSERT ON vectors EXECUTE FUNCTION fails();
"""


@pytest.fixture
def database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    database = Database(postgres, monkeypatch)
    yield database
    database.drop()


@pytest.fixture
def bare(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database without pgvector."""
    database = Database(postgres, monkeypatch, extension=False)
    yield database
    database.drop()


@pytest.fixture
def photos(memory: Path) -> Photos:
    return Photos(memory / "store")


@pytest.fixture
def delivery(database: Database) -> Delivery:
    return delivery_to(database)


def to(delivery: Delivery, address: str) -> Delivery:
    return delivery.model_copy(update={"to": address})


def copied(database: Database) -> int:
    """How many rows a COPY has brought that goes on."""
    return int(database.run("SELECT coalesce(sum(tuples_processed), 0) AS n FROM pg_stat_progress_copy")[0]["n"])


def test_what_is_wrong_with_an_address_is_told(
    database: Database, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the error that says whether it may pass: no host, no server there, no database, no role, no password, TLS."""
    refused = {
        f"{database.to}_not": "does not exist",
        database.to.replace("app@", "nobody@"): "authentication failed",
        f"{database.to}?sslmode=require": "SSL",
        f"{database.to}?sslmode=never": "sslmode",
        f"{database.to}?colour=red": "colour",
        f"{database.to}?options=-csearch_path%3Dnone": "none that is there",
        f"{database.to}?options=-ccolour%3Dred": "colour",
        f"{database.to}?sslpassword=hunter4": "without a password",
    }
    for address, words in refused.items():
        with pytest.raises(DeliveryRefused, match=words) as told:
            open_target(to(delivery, address))
        assert "hunter4" not in str(told.value)
    port = database.to.rpartition(":")[2].partition("/")[0]
    for address in (
        database.to.replace("127.0.0.1", "no.such.host.invalid"),
        database.to.replace(port, str(free_port())),
    ):
        with pytest.raises(TargetUnavailable, match="Expected an answer of postgresql://"):
            open_target(to(delivery, address))
    monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(DeliveryRefused, match=r"no password supplied.* PIXELMILL_PASSWORD_VECTORS, else PGPASSWORD"):
        open_target(delivery)


def test_the_password_is_the_deliverys_own_or_that_of_libpq(
    database: Database, photos: Photos, delivery: Delivery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable of the delivery goes before the others; ~/.pgpass and service files are read."""
    monkeypatch.setenv("PGPASSWORD", "wrong")
    monkeypatch.setenv("PIXELMILL_PASSWORD_VECTORS", PASSWORD)
    open_target(delivery).close()
    monkeypatch.delenv("PIXELMILL_PASSWORD_VECTORS")
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:*:*:app:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    port = database.server.port
    (tmp_path / "services").write_text(f"[here]\nhost=127.0.0.1\nport={port}\nuser=app\ndbname={database.name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for address in (database.to, "postgresql://?service=here", database.to.replace("postgresql:", "postgres:")):
        assert deliver(photos.folder, to(delivery, address)).is_equal


def test_a_role_that_may_not_write_can_check(database: Database, photos: Photos, delivery: Delivery) -> None:
    """And look what would be sent; a delivery of it is refused, in words that say what it lacks, and changes nothing."""
    reader = to(delivery, database.to.replace("app@", "reader@"))
    with pytest.raises(DeliveryRefused, match=r"permission denied for schema public.* CREATE on the schema"):
        deliver(photos.folder, reader)
    assert (
        database.run("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'") == []
    )
    delivered(database, photos, delivery)
    assert check(photos.folder, reader, full=True).differences == ()
    photos.add(5)
    assert preview_delivery(photos.folder, reader).sent > 0
    with pytest.raises(DeliveryRefused, match="permission denied"):
        deliver(photos.folder, reader)
    delivered(database, photos, delivery)


def test_pgvector_is_made_by_whoever_may(bare: Database, photos: Photos) -> None:
    """Others are told who has to, in which database; a look at what would be sent makes nothing."""
    delivery = delivery_to(bare)
    assert preview_delivery(photos.folder, delivery).sent > 0
    with pytest.raises(DeliveryRefused, match=rf"pgvector.* database {bare.name}.* CREATE EXTENSION vector"):
        deliver(photos.folder, delivery)
    assert bare.run("SELECT extname FROM pg_extension WHERE extname = 'vector'") == []
    administrator = to(delivery, bare.to.replace("app@", "postgres@"))
    assert deliver(photos.folder, administrator).is_equal
    bare.run("GRANT SELECT ON vectors TO app", role="postgres")
    require_rows(bare, delivery, expected(photos.folder, delivery))


def test_tables_and_pgvector_may_be_in_any_schema(bare: Database, photos: Photos) -> None:
    """Names that have to be quoted as well; two schemas can have one name each."""
    bare.run("CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext; GRANT USAGE ON SCHEMA ext TO app", role="postgres")
    bare.run('CREATE SCHEMA "My Photos"; CREATE SCHEMA other')
    for schema, path in (('"My Photos"', "%22My%5C%20Photos%22,ext"), ("other", "other")):
        delivery = delivery_to(bare).model_copy(update={"to": f"{bare.to}?options=-csearch_path%3D{path}"})
        for full in (False, True):
            assert deliver(photos.folder, delivery, full=full).is_equal
        require_sound(photos, delivery)
        assert len(bare.run(f"SELECT * FROM {schema}.vectors")) == len(expected(photos.folder, delivery))


def test_names_of_system_columns_can_be_delivered(database: Database, photos: Photos) -> None:
    """As those of a box: PostgreSQL has a column xmin of its own in each table, so this one is xmin_."""
    rows = len(Store(photos.folder))
    photos.columns({name: list(range(rows)) for name in ("xmin", "xmax", "ymin")} | {"long" * 16: ["a"] * rows})
    delivery = delivery_to(database, columns=("xmin", "xmax", "ymin", "long" * 16))
    assert deliver(photos.folder, delivery).is_equal
    require_sound(photos, delivery)
    assert {row["xmin_"] for row in database.run("SELECT xmin_ FROM vectors WHERE ymin < 5")} <= {*range(5)}
    photos.columns({"xmin_": [1] * rows})
    with pytest.raises(DeliveryRefused, match="'xmin_' twice"):
        deliver(photos.folder, delivery_to(database, columns=("xmin", "xmin_")))


def test_a_statement_may_take_longer_than_an_answer(
    database: Database, photos: Photos, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the server is there; no limit of the database on statements or transactions ends it."""
    delivered(database, photos, delivery)
    monkeypatch.setattr(base, "SECONDS", 0.3)
    database.run(SLOW.format(seconds=0.2))
    for name in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
        database.run(f"ALTER DATABASE {database.name} SET {name} = '100ms'", role="postgres")
    photos.add(8)
    assert deliver(photos.folder, delivery).is_equal


def test_what_a_run_leaves_at_its_deadline_the_server_gives_up(
    database: Database, photos: Photos, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session ends, and with it the claim on the table, while this process lives on; the next one goes on."""
    delivered(database, photos, delivery)
    monkeypatch.setattr(base, "SECONDS", 0.5)
    monkeypatch.setattr(in_time, "LATEST", 1.0)
    database.run(SLOW.format(seconds=1))
    photos.add(30)
    with pytest.raises(DeliveryLeft):
        deliver_in_time(photos.folder, delivery, deadline=time.time() + 0.5)
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pixelmill' AND datname = current_database()"
    wait_until(lambda: not database.run(sessions), 20, "the session to end")
    database.run("DROP TRIGGER slow ON vectors")
    delivered(database, photos, delivery)


def test_rows_and_tables_that_others_lock_are_waited_for_a_while(
    database: Database, photos: Photos, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is told, and the next one goes on."""
    delivered(database, photos, delivery)
    monkeypatch.setattr(base, "SECONDS", 1.0)
    photos.relabel()
    with database.connect() as other:
        other.execute("SELECT * FROM vectors FOR UPDATE")
        with pytest.raises(TargetUnavailable, match=r"lock timeout.* Others hold"):
            deliver(photos.folder, delivery)
    delivered(database, photos, delivery)


def test_a_full_disk_and_a_full_server_are_told(database: Database, photos: Photos, delivery: Delivery) -> None:
    """As the server tells them, by SQLSTATE and by turning connections away."""
    delivered(database, photos, delivery)
    database.run(FULL)
    photos.add(5)
    with pytest.raises(TargetUnavailable, match=r"no space left.* make room"):
        deliver(photos.folder, delivery)
    database.run("DROP TRIGGER fails ON vectors")
    connections = []
    try:
        with suppress(psycopg.OperationalError):
            while True:
                connections.append(database.connect())
        with pytest.raises(TargetUnavailable, match=r"slots|too many"):
            deliver(photos.folder, delivery)
    finally:
        for connection in connections:
            connection.close()
    delivered(database, photos, delivery)


def test_a_server_that_is_killed_while_rows_are_copied(database: Database, photos: Photos, delivery: Delivery) -> None:
    """It is told, nothing of the block is there, and the next delivery makes it equal."""
    delivered(database, photos, delivery)
    before = database.rows("vectors")
    database.run(SLOW.format(seconds=0.1))
    photos.add(80)

    def kill() -> None:
        wait_until(lambda: copied(database) > 3, 20, "a COPY")
        database.server.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TargetUnavailable, match="Expected an answer of"):
        deliver(photos.folder, delivery)
    killer.join()
    database.server.start()
    assert database.rows("vectors") == before
    database.run("DROP TRIGGER slow ON vectors")
    delivered(database, photos, delivery)


def test_a_server_that_hangs_within_a_statement_is_left(
    database: Database, photos: Photos, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was at work when it stopped answering, this and everybody else."""
    delivered(database, photos, delivery)
    database.run(SLOW.format(seconds=0.1))
    photos.add(30)
    monkeypatch.setattr(base, "SECONDS", 1.0)
    over = threading.Event()

    def pause() -> None:
        wait_until(lambda: copied(database) > 3, 20, "a COPY")
        with database.server.paused():
            over.wait()

    pausing = threading.Thread(target=pause)
    pausing.start()
    began = time.monotonic()
    with pytest.raises(TargetUnavailable, match="no answer for 1 s"):
        deliver(photos.folder, delivery)
    assert time.monotonic() - began < 10
    over.set()
    pausing.join()
    database.run("DROP TRIGGER slow ON vectors")
    delivered(database, photos, delivery)


def test_values_that_a_constraint_forbids_are_told_without_them(
    database: Database, photos: Photos, delivery: Delivery
) -> None:
    """The constraint is named, and no row is quoted."""
    delivered(database, photos, delivery)
    database.run("ALTER TABLE vectors ADD CONSTRAINT few CHECK (row < 20)")
    photos.add(5)
    with pytest.raises(DeliveryRefused, match=r'constraint "few".* drop the constraint') as told:
        deliver(photos.folder, delivery)
    assert "bild" not in str(told.value)


def test_records_of_another_version_are_left(database: Database, photos: Photos, delivery: Delivery) -> None:
    """What cannot be read is not thrown away."""
    delivered(database, photos, delivery)
    database.run("""UPDATE pixelmill_deliveries SET known = '{"key": "new"}'""")
    with pytest.raises(DeliveryRefused, match=r"known of vectors in public\.pixelmill_deliveries .*later one"):
        deliver(photos.folder, delivery)
    assert len(database.rows("vectors") or {}) == len(expected(photos.folder, delivery))


def test_a_pooler_of_transactions_is_no_hindrance(database: Database, photos: Photos, delivery: Delivery) -> None:
    """Deliveries by way of it are whole, leave no setting and no lock in sessions of others, and two that meet notice."""
    with PgBouncer(database.server) as pooler:
        pooled = to(delivery, pooler.url(database.name))
        delivered(database, photos, pooled)
        database.run(
            "CREATE INDEX nearest ON vectors USING hnsw (vector vector_ip_ops); CREATE VIEW v AS TABLE vectors"
        )
        before = database.described("vectors")
        for full in (True, False):
            photos.add(10)
            delivered(database, photos, pooled, full=full)
        assert database.described("vectors") == before
        require_sound(photos, pooled)
        assert database.run("SELECT * FROM pg_locks WHERE locktype = 'advisory'") == []
        with psycopg.connect(
            f"{pooler.url(database.name)}?password={PASSWORD}", autocommit=True, prepare_threshold=None
        ) as other:
            for _ in range(20):
                with other.transaction():
                    assert other.execute("SHOW search_path").fetchone() == ('"$user", public',)
        photos.add(20)
        with open_target(pooled) as one, open_target(pooled) as two:
            (known,) = one.generations()
            two.generations()
            one.keep(known)
            with pytest.raises(TargetUnavailable, match="only delivery"):
                two.keep(known)
            one.keep(known)
