"""Vectors of queries from a `pixelmill serve` of the same user and store, which has the model in memory already.

It listens on a socket in a folder that only this user can enter, named for the store, this version and this Python. The
socket is the announcement: one that nobody listens on any more refuses, and is taken away. A request is a line of JSON,
for a picture followed by its bytes; the answer is a line. Whatever goes wrong, the client embeds the query itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.search.projection import LocalEncoder
from pixelmill.store.manifest import Provenance
from pixelmill.version import VERSION

Float32 = NDArray[np.float32]

PATIENCE: Final = 3.0
"""Seconds for each step of an answer; as long as that a search waits for a server that hangs."""
MOST_LINE: Final = 1 << 20
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9]+\.sock")
_CREDENTIALS: Final = struct.Struct("3i")


def folders() -> Iterator[Path]:
    """Where sockets of this user may be: the runtime folder that a login has, and one among the temporary files."""
    user = os.geteuid()
    yield Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}") / "pixelmill"
    yield Path(tempfile.gettempdir()) / f"pixelmill-{user}"


def is_private(folder: Path) -> bool:
    """Whether that is a folder of this user which nobody else can enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def key_of(store_id: str) -> str:
    """What a socket's name begins with: others, by another version or another Python, might give other numbers."""
    return hashlib.sha256("\0".join((store_id, VERSION, sys.prefix)).encode()).hexdigest()[:16]


def is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.geteuid())


def connections(key: str = "") -> Iterator[socket.socket]:
    """A connection to each server whose socket's name begins with `key`; sockets that nobody listens on are removed."""
    for folder in filter(is_private, folders()):
        for path in sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)):
            if path.name.startswith(key) and (connection := _connected(path)):
                with closing(connection):
                    yield connection


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(os.fspath(path))
        if is_own(connection):
            return connection
    except ConnectionRefusedError:
        with suppress(OSError):
            path.unlink()
    except OSError:
        pass
    connection.close()
    return None


class AskingEncoder:
    """A `QueryEncoder` that asks a running server first, and is the same in all that it answers."""

    def __init__(self, own: LocalEncoder, made: Provenance, store_id: str, device: str) -> None:
        self._own, self._made, self._store_id, self._device = own, made, store_id, device
        self._context_length = 0
        self._nobody = False

    @property
    def model(self) -> str:
        """The model's name."""
        return self._own.model

    @property
    def context_length(self) -> int:
        """Tokens that a text can have, begin and end among them."""
        return self._context_length or self._own.context_length

    def texts(self, texts: Sequence[str]) -> tuple[Float32, tuple[int, ...]]:
        """As `QueryEncoder.texts`."""
        answers = [self._asked({"text": text}) for text in texts]
        if not all(answers):
            return self._own.texts(texts)
        self._context_length = answers[0]["context_length"]
        return np.array([one["vector"] for one in answers], np.float32), tuple(one["cut"] for one in answers)

    def picture(self, data: bytes) -> Float32:
        """As `QueryEncoder.picture`."""
        answer = self._asked({"bytes": len(data)}, data)
        return np.array(answer["vector"], np.float32) if answer else self._own.picture(data)

    def _asked(self, what: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
        """A server's answer; empty where there is none. Once there was none, nobody is asked again."""
        about = {"store": self._store_id, "version": VERSION, "device": self._device}
        request = json.dumps({**about, "fingerprint": self._made.fingerprint, **what}).encode() + b"\n" + data
        for connection in () if self._nobody else connections(key_of(self._store_id)):
            with suppress(OSError, ValueError, TypeError, KeyError):
                connection.sendall(request)
                with connection.makefile("rb") as answered:
                    return self._checked(json.loads(answered.readline(MOST_LINE)))
        self._nobody = True
        return {}

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, of the right types. Raises ValueError, TypeError or KeyError for one that is none."""
        vector = np.array(answer["vector"], np.float32)
        if vector.shape != (self._made.dim,) or not np.isfinite(vector).all():
            raise ValueError(f"Expected {self._made.dim} numbers")
        return {**answer, "cut": int(answer["cut"]), "context_length": int(answer["context_length"])}
