"""What is on record of groups of look-alikes: what they were made of, in the column, and how far, beside the store."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixelmill.curation.keep import Keep
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.durable import make_folder_durably, write_durably
from pixelmill.store.reader import Store

NAME: Final = "duplicate_of"
SOURCE: Final = "duplicates"
FOLDER: Final = "curation"
_FILE: Final = "duplicates.npz"


class Made(BaseModel):
    """What groups are made of: the model, the fingerprint of its vectors, the least cosine, and which to keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    fingerprint: str
    threshold: float = Field(ge=0.5, le=1)
    keep: Keep

    @property
    def group(self) -> ColumnGroup:
        """The column that they are written to; others have another version."""
        return ColumnGroup(source=SOURCE, version=self.model_dump_json(), columns=(Column(name=NAME, kind="int64"),))


def made_of(store: Store) -> Made | None:
    """What the groups of a store are made of; None if it has none."""
    found = store.manifest.column(NAME)
    if found is None or found[0].source != SOURCE:
        return None
    try:
        return Made.model_validate_json(found[0].version)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class State:
    """Of the first N rows: which were `compared` (N,) bool, by which merits (N, 3), and which row is kept for each,
    `owners` (N,). `recall`: 1, or what share of look-alikes was seen when not all were compared with all."""

    compared: np.ndarray
    judged: np.ndarray
    owners: np.ndarray
    recall: float = 1.0


def read_state(store: Store, made: Made) -> State | None:
    """What is on record of groups that are made of this; None if that is nothing, or of no use."""
    try:
        with np.load(_path(store), allow_pickle=False) as kept:
            if kept["of"].item() != _of(store, made):
                return None
            state = State(kept["compared"], kept["judged"], kept["owners"], float(kept["recall"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    rows = len(state.compared)
    shapes = (state.compared.shape, state.judged.shape, state.owners.shape)
    sound = shapes == ((rows,), (rows, 3), (rows,)) and rows <= len(store) and state.owners.max(initial=-1) < rows
    return state if sound else None


def keep_state(store: Store, made: Made, state: State) -> None:
    """Keep it, durably."""
    make_folder_durably(store.folder / FOLDER)
    file = io.BytesIO()
    np.savez_compressed(
        file, of=np.array(_of(store, made)), compared=state.compared, judged=state.judged, owners=state.owners,
        recall=np.array(state.recall),
    )  # fmt: skip
    write_durably(_path(store), file.getvalue())


def forget_rows(store: Store, rows: np.ndarray) -> None:
    """Let it say nothing of `rows`: the next night looks again at what hangs on them."""
    path = _path(store)
    if not path.exists():
        return
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        known = rows[rows < len(arrays["compared"])]
        arrays["compared"][known], arrays["judged"][known] = False, 0
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        write_durably(path, file.getvalue())
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)


def _of(store: Store, made: Made) -> str:
    return f"{store.manifest.store_id} {made.model_dump_json()}"


def _path(store: Store) -> Path:
    return store.folder / FOLDER / _FILE
