"""What people called pictures: the labels that lie in the store now, and whether a run has made columns of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import StoreDamaged
from pixelmill.joining.columns import BESIDE, LABEL, TABLE
from pixelmill.sources.said import TAKEN
from pixelmill.store.labels import FOLDER, LabelFile, LabelRefused, names
from pixelmill.store.reader import Store
from pixelmill.web.answers import Label

_TAKEN: Final = TAKEN | {"modified", "folder", "score"}
_State = tuple[int, int, int]


class _Read:
    """The labels of files as they were read last: each is read again when it is another one. Safe to use from
    threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._read: dict[Path, tuple[_State, Mapping[bytes, str]]] = {}

    def __call__(self, file: LabelFile) -> Mapping[bytes, str]:
        """Raises StoreDamaged, OSError."""
        with self._guard:
            try:
                status = file.path.stat()
            except FileNotFoundError:
                self._read.pop(file.path, None)
                return {}
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if file.path not in self._read or self._read[file.path][0] != state:
                self._read[file.path] = (state, file.values())
            return self._read[file.path][1]


_read: Final = _Read()
"""Of this process: a page of pictures asks for the labels of each."""


def given(store: Path, trouble: Callable[[str], object] = lambda _: None) -> dict[str, Mapping[bytes, str]]:
    """The labels of a store by name, of each picture by its sha256. `trouble` is told of each file that cannot be
    read, which costs itself."""
    found = dict[str, Mapping[bytes, str]]()
    for name in names(store):
        try:
            found[name] = _read(LabelFile(store, name))
        except (StoreDamaged, OSError) as error:
            trouble(str(error))
    return found


def labels_at(store: Store, rows: NDArray[np.int64], digests: Sequence[bytes]) -> list[list[Label]]:
    """The labels of each of `rows`, whose sha256 are `digests`."""
    result: list[list[Label]] = [[] for _ in rows]
    for name, values in given(store.folder).items():
        having = [i for i, digest in enumerate(digests) if digest in values]
        if having:
            joined = _joined(store, name, rows[having])
            for i, known in zip(having, joined, strict=True):
                value = values[digests[i]]
                result[i].append(Label(name=name, value=value, pending=known != value))
    return result


def _joined(store: Store, name: str, rows: NDArray[np.int64]) -> Iterator[str | None]:
    """What the column of that name says of `rows`."""
    if name not in store.columns:
        return iter([None] * len(rows))
    column = store.columns.about(name)[1]
    told = (column.plain(value) for value in store.columns.take(name, rows))
    return (None if value is None else str(value) for value in told)


def require_free(store: Store, name: str) -> None:
    """Raises LabelRefused for a name that means something else in this store, or in every one."""
    if name in _TAKEN:
        raise LabelRefused(f"Expected a name that is free. {name!r} means something else in every store.")
    if name in store.columns and (group := store.columns.about(name)[0]).source not in (LABEL, TABLE, BESIDE):
        raise LabelRefused(
            f"Expected a name that is free. The store has a column {name!r} already, of source {group.source!r}."
        )


def why_not_written(store: Path) -> str | None:
    """Why no label can be given in a store; None where it can."""
    folder = store / FOLDER if (store / FOLDER).is_dir() else store
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    return f"{folder} cannot be written from here, so nothing can be kept there."
