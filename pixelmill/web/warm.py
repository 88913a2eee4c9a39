"""Embeds queries for `pixelmill search` of the same user: a server has the models in memory; see `search/warm.py`."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from pixelmill.errors import PixelmillError
from pixelmill.images.decode import DecodeOptions
from pixelmill.search.projection import LocalEncoder
from pixelmill.search.searcher import Searcher
from pixelmill.search.warm import MOST_LINE, PATIENCE, connections, folders, is_own, is_private, key_of
from pixelmill.version import VERSION

_AT_ONCE: Final = 4
_log = logging.getLogger(__name__)


class WarmEncoders:
    """Answers requests for vectors by the models of a searcher.

    A model that is not in memory yet is refused, and loaded for the next time: whoever asks has it as soon by itself.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._loading = set[LocalEncoder]()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Answer while the block runs. Where that cannot be, searches go on as if nobody served."""
        try:
            path, listening = _listening(self._searcher.store.manifest.store_id)
        except OSError as error:
            _log.warning("Searches in a terminal load their models themselves: %s.", error)
            yield
            return
        with ThreadPoolExecutor(_AT_ONCE, "warm") as workers, listening:
            threading.Thread(target=self._accept, args=(listening, workers), daemon=True).start()
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
                with suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket, workers: ThreadPoolExecutor) -> None:
        with suppress(OSError, RuntimeError):  # closed, or shut down
            while True:
                connection, _ = listening.accept()
                workers.submit(self._serve, connection, workers)

    def _serve(self, connection: socket.socket, workers: ThreadPoolExecutor) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            if not is_own(connection):
                return
            with connection.makefile("rb") as asked:
                answer = self._answer(asked, workers)
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, asked: BinaryIO, workers: ThreadPoolExecutor) -> dict[str, Any]:
        try:
            request = json.loads(asked.readline(MOST_LINE))
            encoder = self._encoder(request, workers)
            return _embedded(encoder, request, asked) if encoder else {"refused": "not here, or not yet"}
        except (PixelmillError, ValueError, TypeError, KeyError, AttributeError) as error:
            return {"refused": str(error)}

    def _encoder(self, request: dict[str, Any], workers: ThreadPoolExecutor) -> LocalEncoder | None:
        """The encoder that was asked for, if it is that of this store, version and device, and has its model."""
        mine = (self._searcher.store.manifest.store_id, VERSION, self._searcher.device)
        if (request["store"], request["version"], request["device"]) != mine:
            return None
        encoder = self._searcher.encoder(request["fingerprint"])
        if encoder is None or encoder.is_loaded:
            return encoder
        if encoder not in self._loading:
            self._loading.add(encoder)
            workers.submit(self._load, encoder)
        return None

    def _load(self, encoder: LocalEncoder) -> None:
        try:
            encoder.load()
        except (PixelmillError, OSError) as error:  # whoever asked is told by their own process
            _log.info("%s: %s", encoder.model, error)
        finally:
            self._loading.discard(encoder)


def _embedded(encoder: LocalEncoder, request: dict[str, Any], asked: BinaryIO) -> dict[str, Any]:
    """The vector of the words or the picture of a request. Raises what the encoder raises, and what is no request."""
    if "text" in request:
        vectors, cut = encoder.texts([str(request["text"])])
        return {"vector": vectors[0].tolist(), "cut": cut[0], "context_length": encoder.context_length}
    size = int(request["bytes"])
    if not 0 < size <= DecodeOptions().max_bytes:
        raise ValueError(f"Expected a picture. Got {size:,} bytes.")
    return {"vector": encoder.picture(asked.read(size)).tolist(), "cut": 0, "context_length": 0}


def _listening(store_id: str) -> tuple[Path, socket.socket]:
    """A socket that only this user finds, under the name that is looked for. Raises OSError."""
    for _ in connections():
        """Those that nobody listens on go."""
    trouble: OSError = FileNotFoundError("there is no folder for sockets")
    for folder in folders():
        with suppress(OSError):
            folder.mkdir(mode=0o700)
        if is_private(folder):
            path = folder / f"{key_of(store_id)}-{os.getpid()}.sock"
            try:
                return path, _bound(path)
            except OSError as error:  # such as a name that is too long for one
                trouble = error
    raise trouble


def _bound(path: Path) -> socket.socket:
    """It has its name when somebody listens: one that refuses is taken for dead."""
    unnamed = path.with_suffix(".new")
    unnamed.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(os.fspath(unnamed))
        unnamed.chmod(0o600)
        listening.listen(16)
        unnamed.rename(path)
    except OSError:
        listening.close()
        raise
    return listening
