"""A gallery that listens, and what it should answer, from the store itself."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import uvicorn
from fastapi.testclient import TestClient

from pixelmill.images.decode import DecodeOptions
from pixelmill.search.searcher import Searcher
from pixelmill.store.reader import Store
from pixelmill.web.app import make_app
from pixelmill.web.gallery import Gallery, Limits

if TYPE_CHECKING:
    from tests.web.conftest import Collection


class Searchable(Protocol):
    """What a gallery is made of: a collection of the tests, or one that is rendered for pictures."""

    def searcher(self) -> Searcher: ...


def serving(collection: Searchable, cache: Path, *, token: str | None) -> Iterator[str]:
    gallery = Gallery(
        collection.searcher(), cache=cache, options=DecodeOptions(), limits=Limits(uploads_per_minute=1000), token=token
    )
    server = uvicorn.Server(uvicorn.Config(make_app(gallery), log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def told(client: TestClient, path: str, **parameters: Any) -> Any:
    """The JSON of an answer that is good."""
    answer = client.get(f"/api/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def row_of(collection: Collection, name: str) -> int:
    paths = [os.fsdecode(path) for path in Store(collection.store).paths]
    return paths.index(name)


def stored(collection: Collection, model: str, row: int) -> np.ndarray:
    values: np.ndarray = Store(collection.store)[model].take([row])[0].astype(np.float64)
    return values / np.linalg.norm(values)


@contextmanager
def served(arguments: Sequence[str], **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a gallery in a process of its own; ended as by Ctrl-C."""
    command = [sys.executable, "-m", "pixelmill", "serve", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})
    try:
        assert process.stdout
        yield re.search(r"http://\S+", process.stdout.readline())[0], process  # type: ignore[index]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
