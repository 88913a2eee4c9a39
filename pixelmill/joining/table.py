"""One table of `[[tables]]`: where it is, by what its lines belong to pictures, which of its columns are joined."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from pixelmill.paths import at_home
from pixelmill.sources.address import checked_address, is_address, shown
from pixelmill.store.labels import LabelFile, names

TableKey = Literal["path", "stem", "sha256"]
ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".ndjson.gz", ".parquet")
MOST_TABLES: Final = 64
_FILES: Final = ("file", "filename", "file_name", "filepath", "file_path", "image")
_KEY_COLUMNS: Final[dict[TableKey, tuple[str, ...]]] = {
    "path": ("path", *_FILES), "stem": ("stem", *_FILES), "sha256": ("sha256",)
}  # fmt: skip
"""What the column of the key may be called, unless `on` names it; the first that the table has."""


class Table(BaseModel):
    """A table whose lines are joined to pictures by `key`, which stands in the column `on`, or in one that is called
    like it. `columns` are those that are joined; None: all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    key: TableKey = "path"
    on: str | None = None
    columns: tuple[str, ...] | None = Field(None, min_length=1)

    @property
    def shown(self) -> str:
        """Its place as people read it."""
        return shown(self.path) if is_address(self.path) else self.path

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The names of which the column of the key has one, in small letters."""
        return (self.on.strip().lower(),) if self.on else _KEY_COLUMNS[self.key]

    def wants(self, column: str) -> bool:
        """Whether a column of that name is of use."""
        return self.columns is None or column in self.columns or column.lower() in self.key_columns


class LabelTable(Table):
    """What people called pictures in the gallery: a column of the store's labels."""

    @property
    def shown(self) -> str:
        """Its place in the store."""
        return "/".join(Path(self.path).parts[-2:])


def label_tables(store: Path) -> tuple[LabelTable, ...]:
    """The labels of a store, by name."""
    files = (LabelFile(store, name).path for name in names(store))
    return tuple(LabelTable(path=str(file), key="sha256", columns=(file.stem,)) for file in files)


def checked_place(given: str) -> str:
    """An absolute path, or an address that tells no password, of a table by its ending. Raises ValueError."""
    place = checked_address(given) if is_address(given) else at_home(given)
    if not place.lower().partition("?")[0].endswith(ENDINGS):
        raise ValueError(
            f"Expected a table called *.csv, *.tsv, *.jsonl (or these with .gz) or *.parquet. Got {given!r}"
        )
    return place
