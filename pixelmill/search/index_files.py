"""Where an approximate index lies beside a store, and what it says of itself."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pixelmill.store.durable import make_folder_durably, sync_folder, write_durably
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import Store

FOLDER: Final = "index"


class Described(BaseModel):
    """What an index covers and how good it was when it was made. `recall` is by the number of lists looked into.

    `covered` is a bit for each row, packed, deflated and in base64. `trained_rows` is how many rows there were when
    its lists were chosen, `lists` how many it has, `looked_into` how many a search visits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_id: str
    model: str
    fingerprint: str
    revision: int
    file: str
    bytes: int
    rows: int
    covered: str
    trained_rows: int
    lists: int
    looked_into: int
    recall: dict[int, float]

    @property
    def covered_rows(self) -> NDArray[np.bool_]:
        """(rows,) bool: the rows that are in the index."""
        packed = np.frombuffer(zlib.decompress(base64.b64decode(self.covered)), np.uint8)
        return np.unpackbits(packed, count=self.rows).astype(bool)


def packed(covered: NDArray[np.bool_]) -> str:
    """The text that stands for a bit for each row."""
    return base64.b64encode(zlib.compress(np.packbits(covered).tobytes())).decode()


def folder_of(store: Store) -> Path:
    return store.folder / FOLDER


def read_description(store: Store, made: Provenance) -> Described | None:
    """What the index of that matrix says; None if there is none that belongs to it and is whole."""
    found = _described(_path(store, made.fingerprint))
    try:
        whole = found is not None and (folder_of(store) / Path(found.file).name).stat().st_size == found.bytes
    except OSError:
        return None
    if found is None:
        return None
    same = (found.store_id, found.fingerprint) == (store.manifest.store_id, made.fingerprint)
    return found if same and whole and found.rows <= len(store) else None


def forget_dropped(store: Store) -> None:
    """Delete the indexes of generations that the store no longer has."""
    known = {matrix.key for matrix in store.manifest.matrices}
    for file in folder_of(store).glob("*"):
        if file.suffix in (".json", ".faiss") and file.name[:16] not in known:
            file.unlink(missing_ok=True)


def forget_rows(store: Store, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Delete the indexes that hold some of `rows`, and what nobody describes; of which models these were."""
    if not folder_of(store).is_dir():
        return ()
    gone: list[str] = []
    with lock(store):
        for file in folder_of(store).glob("*.json"):
            described = _described(file)
            if described is None or described.covered_rows[rows[rows < described.rows]].any():
                gone += [described.model] if described else []
                file.unlink(missing_ok=True)
        kept = {described.file for file in folder_of(store).glob("*.json") if (described := _described(file))}
        for file in folder_of(store).iterdir():
            if file.suffix in (".faiss", ".tmp") and file.name not in kept:
                file.unlink(missing_ok=True)
        sync_folder(folder_of(store))
    return tuple(sorted(gone))


def _described(file: Path) -> Described | None:
    try:
        return Described.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def publish_index(store: Store, content: memoryview, described: Described) -> None:
    """Write the index, then what says where it is, durably; then delete what went before."""
    folder = folder_of(store)
    write_durably(folder / described.file, content)
    write_durably(_path(store, described.fingerprint), described.model_dump_json().encode())
    for old in folder.glob(f"{described.fingerprint[:16]}-*.faiss"):
        if old.name != described.file:
            old.unlink(missing_ok=True)


def lock(store: Store) -> FileLock:
    """One process at a time makes indexes."""
    make_folder_durably(folder_of(store))
    return FileLock(folder_of(store) / ".lock")


def _path(store: Store, fingerprint: str) -> Path:
    return folder_of(store) / f"{fingerprint[:16]}.json"
