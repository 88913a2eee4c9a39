"""`pixelmill search` asks a running `pixelmill serve` of the same user for the vector of its query."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.search import warm
from pixelmill.search.query import Picture, Row, Term, Text
from pixelmill.search.searcher import Found, Searcher
from pixelmill.web.warm import WarmEncoders
from tests.web.conftest import CLIP, PLAIN, Collection

LONG = "a very long text " * 40


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders for sockets of one's own, with names that are short enough."""
    folder = Path(tempfile.mkdtemp(prefix="px"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder / "pixelmill"
    shutil.rmtree(folder)


def unable(name: str) -> Any:
    raise AssertionError(f"{name} was loaded here")


def asking(collection: Collection) -> Searcher:
    """A searcher that can only ask: it finds no model by itself."""
    return Searcher(collection.store, find=unable, cache=collection.tiny.cache(collection.cache), asks=True)


def queries(collection: Collection) -> list[list[Term]]:
    picture = (collection.photos / "sea" / "evening.jpg").read_bytes()
    return [
        [Text("a boat at sea")],
        [Text("night", 2.0), Text("people", -0.5), Row(3)],
        [Picture(picture)],
        [Text(LONG)],
    ]


@pytest.fixture
def answering(collection: Collection) -> Iterator[Searcher]:
    """A searcher whose models are in memory, and which answers for them."""
    searcher = collection.searcher()
    for model in (CLIP, PLAIN):
        searcher.encoder(collection_fingerprint(searcher, model)).load()  # type: ignore[union-attr]
    with WarmEncoders(searcher).announced():
        yield searcher


def collection_fingerprint(searcher: Searcher, model: str) -> str:
    return searcher.store[model].provenance.fingerprint


def test_what_a_server_embeds_is_the_same_to_the_last_bit(collection: Collection, answering: Searcher) -> None:
    """Words, pictures, sums, and the note on what was cut off: vectors, scores and rows are those of a search alone."""
    alone = collection.searcher()
    for terms in queries(collection):
        asked, own = (one.vector(terms, [CLIP]) for one in (asking(collection), alone))
        assert np.array_equal(asked.vector, own.vector)
        assert asked.notes == own.notes
        assert asking(collection).search(terms, models=[CLIP]) == alone.search(terms, models=[CLIP])


def test_a_client_imports_no_pytorch(collection: Collection, answering: Searcher) -> None:
    """The whole command, with words and a picture, in a process of its own."""
    program = (
        "import sys\nfrom pixelmill.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'settings' in sys.modules, file=sys.stderr)"
    )
    picture = str(collection.photos / "sea" / "evening.jpg")
    command = [
        sys.executable,
        "-c",
        program,
        "search",
        str(collection.store),
        "a boat",
        picture,
        "--model",
        CLIP,
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "False False"
    terms = [Text("a boat"), Picture(Path(picture).read_bytes())]
    expected = collection.searcher().search(terms, models=[CLIP])
    found = [(hit["row"], hit["score"]) for hit in json.loads(done.stdout)["results"]]
    assert found == [(hit.row, hit.score) for hit in expected.hits]


def test_a_model_that_is_not_in_memory_is_loaded_for_the_next_time(collection: Collection) -> None:
    """The first search loads the model by itself, the second is answered."""
    searcher = collection.searcher()
    with WarmEncoders(searcher).announced():
        with pytest.raises(AssertionError, match="was loaded here"):
            asking(collection).vector([Text("a boat")], [CLIP])
        encoder = searcher.encoder(collection_fingerprint(searcher, CLIP))
        assert encoder
        for _ in range(600):
            time.sleep(0 if encoder.is_loaded else 0.1)
        asking(collection).vector([Text("a boat")], [CLIP])


def found_alone(collection: Collection) -> Found:
    """What a search finds that may ask, and can do without."""
    return collection.searcher(asks=True).search([Text("a boat")], models=[CLIP])


def bound(path: Path, *, listens: bool) -> socket.socket:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    if listens:
        made.listen()
    return made


def name(collection: Collection, runtime: Path) -> Path:
    store_id = collection.searcher().store.manifest.store_id
    return runtime / f"{warm.key_of(store_id)}-1.sock"


def test_who_is_dead_is_forgotten(collection: Collection, runtime: Path) -> None:
    """A socket that nobody listens on any more is removed by who finds it: a search, or the next server."""
    path = name(collection, runtime)
    expected = collection.searcher().search([Text("a boat")], models=[CLIP])
    bound(path, listens=False).close()
    assert found_alone(collection) == expected
    assert not path.exists()
    bound(path, listens=False).close()
    with WarmEncoders(collection.searcher()).announced():
        assert not path.exists()
        assert len(list(runtime.iterdir())) == 1
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize(
    "answer", [b"", b"{}\n", b"[1, 2]\n", b"no json\n", b'{"vector": [1, 2], "cut": 0}\n', b"\xff" * 9]
)
def test_a_server_that_makes_no_sense_changes_nothing(collection: Collection, runtime: Path, answer: bytes) -> None:
    """Nothing is said, and the query is embedded here."""
    expected = collection.searcher().search([Text("a boat")], models=[CLIP])

    def talk(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)

    with bound(name(collection, runtime), listens=True) as listening:
        thread = threading.Thread(target=talk, args=(listening,), daemon=True)
        thread.start()
        assert found_alone(collection) == expected
        thread.join(10)
        assert not thread.is_alive()


def test_a_server_that_hangs_is_left(collection: Collection, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that it has, and once for all terms of a query."""
    monkeypatch.setattr(warm, "PATIENCE", 0.2)
    with bound(name(collection, runtime), listens=True) as listening:
        searcher = asking(collection)
        with pytest.raises(AssertionError, match="was loaded here"):
            searcher.vector([Text("a boat")], [CLIP])
        listening.settimeout(5)
        listening.accept()


def test_only_folders_of_this_user_alone_count(collection: Collection, answering: Searcher, runtime: Path) -> None:
    """A folder that others may enter, that is another's, or that is a link, is passed over."""
    terms: list[Term] = [Text("a boat")]
    asking(collection).vector(terms, [CLIP])
    runtime.chmod(0o755)
    with pytest.raises(AssertionError, match="was loaded here"):
        asking(collection).vector(terms, [CLIP])
    runtime.chmod(0o700)
    runtime.rename(runtime.with_name("real"))
    runtime.symlink_to("real")
    with pytest.raises(AssertionError, match="was loaded here"):
        asking(collection).vector(terms, [CLIP])
    if os.geteuid() == 0:
        runtime.unlink()
        runtime.with_name("real").rename(runtime)
        os.chown(runtime, 12345, -1)
        with pytest.raises(AssertionError, match="was loaded here"):
            asking(collection).vector(terms, [CLIP])


@pytest.mark.parametrize(
    "other", [{"store": "another"}, {"version": "0.0.1"}, {"device": "cuda:0"}, {"fingerprint": "0" * 64}, {"bytes": 0},
              {"bytes": 10**12}, {"text": None, "bytes": "x"}, {}],
)  # fmt: skip
def test_a_server_answers_for_what_it_is_only(
    collection: Collection, answering: Searcher, runtime: Path, other: dict[str, Any]
) -> None:
    """Another store, version, device or matrix, and what is no request, get no vector; and it goes on answering."""
    right = {
        "store": answering.store.manifest.store_id, "version": warm.VERSION, "device": "cpu",
        "fingerprint": collection_fingerprint(answering, CLIP),
    }  # fmt: skip
    asked = {**right, **({"text": "a boat"} if "bytes" not in other else {}), **other}
    if not other:
        asked = {"text": "a boat"}
    asked = {key: value for key, value in asked.items() if value is not None}
    (path,) = runtime.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert runtime.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(json.dumps(asked).encode() + b"\n")
        assert set(json.loads(client.makefile().readline())) == {"refused"}
    asking(collection).vector([Text("a boat")], [CLIP])


def test_a_name_that_is_too_long_is_not_the_only_one(
    collection: Collection, answering: Searcher, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime folder too deep for a socket leaves the one among the temporary files, where it is found."""
    deep = runtime.parent / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with WarmEncoders(answering).announced():
        (socket_file,) = (runtime.parent / f"pixelmill-{os.geteuid()}").iterdir()
        assert socket_file.is_socket()
        assert asking(collection).search([Text("a boat at sea")], models=[CLIP]).hits
