"""Readers, ledger and settings fed with what nobody wrote: `python -m tests.support.fuzz KIND FOLDER SEED SECONDS`.

Each trial follows from the seed and its number; KIND may name one way of damage, such as store:flip. The folder holds the trial that was going on when the process died.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import random
import resource
import shutil
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pixelmill.errors import PixelmillError, StoreTooNew
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import SEAL
from pixelmill.store.master import read_manifest_copy
from pixelmill.store.master_file import HEADER_BYTES
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.readonly import open_read_only
from pixelmill.store.verify import repair, verify
from tests.support.golden import GOLDEN, ROWS, committed, label
from tests.support.stores import DIMS, fact, facts_group, provenance, sha256, vector

MEMORY = 2**31
STORE, WITH_COLUMNS = GOLDEN / "v1" / "store", GOLDEN / "v3" / "store"
EXAMPLE = Path(__file__).parents[2] / "examples" / "pixelmill.toml"
NASTY: tuple[Any, ...] = (
    -1, 0, 1, 2, 7, 255, 2**31, 2**32, 2**48, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30, 0.5, 1e308, None, True, "", "x",
    "..", "../evil", "/evil", "a/../b", "\0", "\udc80", "<f4", "<f8", "|O", "|V4", "float16", "float32", [], {}, [1], [[]], {"a": 1},
)  # fmt: skip


class Wrong(AssertionError):
    """A vector or a value came out that was never put in."""


LABELS = {sha256(number): label(number) for number in range(ROWS)}


# The store's files


def store_trial(rng: random.Random, folder: Path, way: str = "") -> None:
    """Read, verify, write to and repair a store with something wrong in it."""
    way = way or rng.choices(list(STORE_WAYS), (60, 16, 24))[0]
    store = folder / "place" / "store"
    shutil.copytree(rng.choice((STORE, WITH_COLUMNS)), store)
    (folder / "evil").write_bytes(b"untouched")
    STORE_WAYS[way](rng, store)
    outside = _listing(folder, store)
    for use in (_read, _check, _write, _mend):
        with suppress(PixelmillError):
            use(store, way == "forge")
    if _listing(folder, store) != outside:
        raise Wrong("something outside of the store was changed")


def _listing(folder: Path, but: Path) -> dict[str, bytes]:
    files = [f for f in folder.rglob("*") if f.is_file() and not f.is_relative_to(but)]
    return {str(f): f.read_bytes() for f in files}


def _splice(rng: random.Random, store: Path) -> None:
    """Bytes of one or two files altered, cut, spliced, or exchanged for others."""
    files = sorted(f for f in store.rglob("*") if f.is_file() and f.name != "ledger.sqlite")
    for path in rng.sample(files, rng.choice((1, 1, 2))):
        path.write_bytes(mutated(rng, path.read_bytes(), rng.choice(files).read_bytes()))


def _flip_value(rng: random.Random, store: Path) -> None:
    """One bit of one array, which no reader notices and only the part's checksum tells."""
    part = rng.choice(list(json.loads((store / "manifest.json").read_bytes())["parts"].values()))
    layout = rng.choice(list(part["arrays"].values()))
    size = int(np.prod(layout["shape"])) * np.dtype(layout["dtype"]).itemsize
    content = bytearray((store / "parts" / part["file"]).read_bytes())
    content[layout["offset"] + rng.randrange(size)] ^= 1 << rng.randrange(8)
    (store / "parts" / part["file"]).write_bytes(content)


def mutated(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """`content` with some of its bytes wrong, or with some of `other`."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + rng.randrange(16)] = rng.randbytes(rng.randrange(16))
        elif kind == 2:
            start = rng.randrange(len(other) + 1)
            data[at : at + rng.choice((0, 100, 10**9))] = other[start : start + rng.choice((10, 1000, 10**9))]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = bytes(rng.randrange(5000))
        else:
            data = bytearray(rng.randbytes(rng.randrange(2000))) if rng.random() < 0.05 else data
    return bytes(data)


def _forge(rng: random.Random, store: Path) -> None:
    """A manifest that lies, with every checksum right again, as master, as copy, or as both."""
    fields = json.loads((store / "manifest.json").read_bytes())
    version = fields["format_version"]
    del fields["checksum"]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        fields = lied(rng, fields)
    if not isinstance(fields, dict):
        fields = {"format": "pixelmill", "store_id": fields}
    content = json.dumps(fields, separators=(",", ":")).encode().removesuffix(b"}")
    sealed = content + SEAL + hashlib.sha256(content).hexdigest().encode() + b'"}'
    targets = rng.choice(("master", "copy", "both"))
    if targets != "copy":
        body = rng.randbytes(rng.randrange(50)) + sealed + rng.randbytes(rng.randrange(50))
        line = f"pixelmill format {version} made by 0.1.0 sha256 {hashlib.sha256(body).hexdigest()}\n"
        (store / "vectors.h5").write_bytes(line.encode().ljust(HEADER_BYTES, b"\0") + body)
    if targets != "master":
        (store / "manifest.json").write_bytes(sealed)


STORE_WAYS = {"forge": _forge, "flip": _flip_value, "splice": _splice}


def lied(rng: random.Random, value: Any) -> Any:
    """A JSON value with one thing in it, at any depth, replaced, dropped, repeated, renamed or a little off."""
    if isinstance(value, dict) and value and rng.random() < 0.97:
        key = rng.choice(list(value))
        changed = dict(value)
        kind = rng.random()
        if kind < 0.03:
            del changed[key]
        elif kind < 0.06:
            changed[str(rng.choice(NASTY))] = changed.pop(key)
        else:
            changed[key] = lied(rng, value[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.97:
        at = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.06:
            return [*value[:at], value[at], *value[at:]]
        if kind < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if kind < 0.13:
            return value[::-1]
        return [*value[:at], lied(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, int) and rng.random() < 0.6:
        return value + rng.choice((-4, -1, 1, 2, 4, 8, 100, 4096))
    return rng.choice(NASTY)


def _read(store: Path, forged: bool) -> None:
    opened = Store(store)
    columns: list[Callable[[], Any]] = [
        lambda: opened.paths, lambda: opened.sources, lambda: opened.widths, lambda: opened.heights, opened.sha256,
    ]  # fmt: skip
    columns += [partial(opened.columns.__getitem__, name) for name in opened.columns]
    for column in columns:
        with suppress(PixelmillError):
            column()
    for matrix in opened.manifest.matrices:
        view = MatrixView(opened, matrix)
        reads: list[Callable[[], np.ndarray]] = [
            lambda view=view: view.read(0, 50),  # type: ignore[misc]
            lambda view=view: view.take(range(min(len(view), 50))),  # type: ignore[misc]
            lambda view=view: view.embedded,  # type: ignore[misc]
        ]
        for read in reads:
            with suppress(PixelmillError):
                read()


def _check(store: Path, forged: bool) -> None:
    """Damage is named, or every vector and every value is one that belongs to its row."""
    read_manifest_copy(store)
    if verify(store) or forged:  # who can forge every checksum can write any vector, too
        return
    check_vectors(Store(store))


def check_vectors(store: Store) -> None:
    """Every row of every matrix is NaN, and every value of every column missing, or what follows from the row's
    sha256."""
    contents = [row.tobytes() for row in store.sha256()]
    for group in store.manifest.columns:
        for column in group.columns:
            for content, value in zip(contents, store.columns.read(column.name).tolist(), strict=True):
                missing = value != value or value == column.missing
                if not missing and value != _wanted(content, column.name):
                    raise Wrong(f"{column.name}: {value} instead of {_wanted(content, column.name)!r}")
    for matrix in store.manifest.matrices:
        made = matrix.provenance
        for content, row in zip(store.sha256(), MatrixView(store, matrix).read(), strict=True):
            wanted = vector(content.tobytes(), made.model, DIMS[made.model], matrix.dtype)
            if not np.isnan(row).all() and not np.array_equal(row, wanted):
                raise Wrong(f"{made.model}: {row} instead of {wanted}")


def _wanted(content: bytes, name: str) -> object:
    return LABELS.get(content) if name == "label" else fact(content, name)


def _write(store: Path, forged: bool) -> None:
    with StoreWriter(store) as writer:
        both = [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]
        facts = facts_group() if writer.snapshot().manifest.group(facts_group().fingerprint) else None
        writer.commit(committed(range(10, 14), both, facts=facts))
        compact(writer, retention=0)
    Store(store).sha256()


def _mend(store: Path, forged: bool) -> None:
    repair(store)
    if not forged and not verify(store):
        check_vectors(Store(store))


# The ledger


def ledger_trial(rng: random.Random, folder: Path, way: str = "") -> None:
    """Use and repair a sound store whose ledger is broken, in its bytes or in its values."""
    way = way or rng.choices(list(LEDGER_WAYS), (50, 45, 5))[0]
    store = folder / "store"
    shutil.copytree(WITH_COLUMNS, store)
    LEDGER_WAYS[way](rng, store / "ledger.sqlite")
    for use in (_list, _check, _run, _write, _mend):
        with suppress(PixelmillError):
            use(store, False)
        with suppress(PixelmillError):
            check_vectors(Store(store))
    # A ledger that lost a content without a trace lets it be stored once more, which verify tells: nothing is wrong then,
    # only twice.
    with suppress(StoreTooNew):  # by its header, which repair believes
        wrong = [damage for damage in verify(store) if "repeat the sha256" not in damage.problem]
        if wrong:
            raise Wrong(f"not sound after a repair: {wrong}")


def _wrong_bytes(rng: random.Random, path: Path) -> None:
    path.write_bytes(mutated(rng, path.read_bytes(), path.read_bytes()))


def _wrong_values(rng: random.Random, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.create_function("random", 0, lambda: rng.getrandbits(62))  # SQLite's own has no seed
        tables = [t for (t,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(rng.choice((1, 1, 3))):
            table = rng.choice(tables)
            column = rng.choice([row[1] for row in database.execute(f"PRAGMA table_info({table})")])
            value = rng.choice((None, -1, 0, 3, 2**62, 0.5, 1e308, "", "x", "\0", b"", b"\xff", b"/" * 9, bytes(10**6)))
            with suppress(sqlite3.Error, OverflowError):
                database.execute(f"UPDATE OR REPLACE {table} SET {column} = ? WHERE abs(random()) % 3 = 0", (value,))


def _wrong_rows(rng: random.Random, path: Path) -> None:
    """Each content but the last in another one's row, as in the ledger of another copy of the store; by the last one a
    writer knows such a ledger at once."""
    with closing(sqlite3.connect(path)) as database, database:
        contents = [content for (content,) in database.execute("SELECT sha256 FROM rows ORDER BY row")][:-1]
        rows = rng.sample(range(len(contents)), len(contents))
        database.executemany("UPDATE rows SET row = ? WHERE sha256 = ?", zip(rows, contents, strict=True))


LEDGER_WAYS = {"bytes": _wrong_bytes, "values": _wrong_values, "rows": _wrong_rows}


def _list(store: Path, forged: bool) -> None:
    with open_read_only(store) as ledger:
        ledger.quarantine.entries()
        ledger.runs.last()
        ledger.contents.row_count()
        ledger.contents.identities(range(20))
        ledger.contents.locations(range(20))


def _run(store: Path, forged: bool) -> None:
    with StoreWriter(store) as writer:
        ledger, scan = writer.ledger, writer.ledger.scans.begin()
        files = [content.file for content in committed(range(2, 14), []).contents]
        ledger.scans.record(scan, files)
        ledger.scans.mark_gone(scan, "/photos")
        list(ledger.worklist.images(scan))
        writer.commit(committed(range(12, 14), [writer.matrix(provenance("a"), "float32")]))
        writer.update_locations(ledger.changes().stale_rows)
        ledger.settle()
        ledger.quarantine.seen(scan)
        ledger.quarantine.groups(scan, [], 0.0)
        ledger.contents.live_rows(20)
        ledger.contents.unread()
        ledger.runs.last_finished()
        ledger.quarantine.release()


# The settings


def settings_trial(rng: random.Random, folder: Path, way: str = "") -> None:
    """Load settings from a file and variables that may hold anything."""
    from settings import load_settings

    file = folder / "pixelmill.toml"
    file.write_bytes(_toml(rng))
    names = ["RUN", "RUN__MODELS", "RUN__BATCH_SIZE", "RUN__DEADLINE", "MODELS", "MODELS__X", "MODELS__X__BACKEND",
             "MODELS__X__MEAN", "WEIGHTS__MIRRORS", "IMAGES__MAX_PIXELS", "RUN__NOTHING", "_", "RUN__MODELS__0"]  # fmt: skip
    texts = ["", "1", "{", "[]", "{}", "null", "nan", "1e999", "[" * 10_000, '{"a":' * 3000, "9" * 5000, '{"x":{"backend":1}}',
             "\udc80", "ü", '"', "a,b", "[1,2,3]", '{"batch_size": {}}', "true", "06:00", '["\\ud800"]']  # fmt: skip
    for name in [n for n in os.environ if n.startswith("PIXELMILL_")]:
        del os.environ[name]
    for _ in range(rng.choice((0, 1, 1, 3))):
        os.environ[f"PIXELMILL_{rng.choice(names)}"] = rng.choice(texts)
    with suppress(PixelmillError):
        load_settings(file)


def _toml(rng: random.Random) -> bytes:
    groups = [
        b"run",
        b"images",
        b"weights",
        b"weights.mirrors",
        b"models.x",
        b"models",
        b"models.x.y",
        b"[workers]",
        b"run.models",
    ]
    keys = [
        b"models",
        b"batch_size",
        b"deadline",
        b"max_pixels",
        b"cache_dir",
        b"backend",
        b"mean",
        b"offline",
        b'"\\u0000"',
        b"x",
    ]
    values = [b"1", b"-1", b"nan", b"inf", b"9" * 5000, b'"x"', b'"\\u0000"', b"[]", b"[[]]", b"{}", b"true", b"1979-05-27", b"0x10",
              b"[" * 5000, b"{a=" * 2000, b'"\\U0010FFFF"', b"''", b'"""x']  # fmt: skip
    if rng.random() < 0.4:
        return mutated(rng, EXAMPLE.read_bytes(), EXAMPLE.read_bytes())
    lines = []
    for _ in range(rng.randrange(1, 6)):
        lines.append(b"[" + rng.choice(groups) + b"]")
        lines += [rng.choice(keys) + b" = " + rng.choice(values) for _ in range(rng.randrange(3))]
    return b"\n".join(lines)


KINDS = {"store": store_trial, "ledger": ledger_trial, "settings": settings_trial}


def main(kind: str, folder: Path, seed: int, seconds: float, most: float = math.inf) -> int:
    """Try until the time is over, `most` times; 1 if anything but a PixelmillError came out."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    logging.disable()
    trials, end = 0, time.monotonic() + seconds
    name, _, way = kind.partition(":")
    while trials < most and time.monotonic() < end:
        place = folder / "trial"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (folder / "number").write_text(f"{trials}")
        try:
            KINDS[name](random.Random(f"{seed} {trials}"), place, way)
        except Exception:
            print(f"kind={kind} seed={seed} trial={trials}", flush=True)
            traceback.print_exc(file=sys.stdout)
            return 1
        trials += 1
    print(f"kind={kind} seed={seed} trials={trials}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
