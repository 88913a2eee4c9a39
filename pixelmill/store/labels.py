"""Labels that people give to pictures: STORE/labels/<name>.csv, which each run joins as the column of that name.

    sha256,<name>,path      a line for each picture that has one; where it lay when it got it is for people to read

A file is replaced as a whole, so whoever reads one needs no lock; those who write take turns.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pixelmill.errors import PixelmillError, StoreDamaged
from pixelmill.store.durable import make_folder_durably, sync_folder, write_durably
from pixelmill.store.lock import in_words, store_lock

FOLDER: Final = "labels"
NAME: Final = r"[a-z][a-z0-9_]{0,39}"
"""What a label may be called: as its column."""
MOST_NAMES: Final = 32
MOST_LETTERS: Final = 256
"""Of one value."""
_SHA256: Final = re.compile("[0-9a-f]{64}")
_NO_TEXT: Final = ("Cc", "Cs")
"""Of Unicode's categories: control characters, and halves of characters."""


class LabelRefused(PixelmillError, ValueError):
    """A label that cannot be given."""


class LabelFile:
    """The labels of one name in a store."""

    def __init__(self, store: Path, name: str) -> None:
        """Raises LabelRefused for what is no name."""
        if not re.fullmatch(NAME, name):
            raise LabelRefused(
                f"Expected a name of small letters, digits and _, a letter first, at most 40. Got {name!r}."
            )
        self.name = name
        self.path = store / FOLDER / f"{name}.csv"

    def values(self) -> dict[bytes, str]:
        """The label of each picture that has one, by its sha256. Raises StoreDamaged, OSError."""
        return {digest: value for digest, (value, _) in self._lines().items()}

    def give(self, value: str | None, pictures: Mapping[bytes, str]) -> int:
        """Give a label to pictures, named by their sha256, each with the path that people read; None takes theirs away.
        How many have another one than before. Raises LabelRefused; StoreDamaged for a file that others have written
        otherwise, which stays as it is; StoreError where nothing can be written."""
        value = None if value is None else as_label(value)
        with in_words(self.path.parent):
            make_folder_durably(self.path.parent)
            with store_lock(self.path.parent):
                lines = self._lines()
                if not lines and value is not None:
                    self._require_room()
                before = {digest: lines.get(digest, (None, ""))[0] for digest in pictures}
                changed = [digest for digest, old in before.items() if old != value]
                for digest in changed:
                    if value is None:
                        del lines[digest]
                    else:
                        lines[digest] = (value, pictures[digest])
                if changed:
                    self._write(lines)
                return len(changed)

    def _lines(self) -> dict[bytes, tuple[str, str]]:
        """The label and the path of each picture."""
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.reader(file, strict=True)
                if next(reader, []) != self._header:
                    raise StoreDamaged(self._damage(f"Its first line is not {','.join(self._header)}"))
                return {bytes.fromhex(_digest(line)): (line[1], line[2]) for line in reader}
        except FileNotFoundError:
            return {}
        except (csv.Error, ValueError) as error:
            raise StoreDamaged(self._damage(str(error))) from error

    @property
    def _header(self) -> list[str]:
        return ["sha256", self.name, "path"]

    def _damage(self, why: str) -> str:
        return (
            f"Expected in {self.path} the labels as the gallery writes them. {why.rstrip('.')}. It stays as it is: put "
            "it right, or move it away and name it in [[tables]]."
        )

    def _write(self, lines: Mapping[bytes, tuple[str, str]]) -> None:
        """A file without lines goes: its column does, too."""
        if not lines:
            self.path.unlink(missing_ok=True)
            sync_folder(self.path.parent)
            return
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._header)
        writer.writerows((digest.hex(), *told) for digest, told in lines.items())
        write_durably(self.path, text.getvalue().encode())

    def _require_room(self) -> None:
        if not self.path.exists() and len(names(self.path.parents[1])) >= MOST_NAMES:
            raise LabelRefused(f"Expected at most {MOST_NAMES} labels by name. There is no room for {self.name!r}.")


def as_label(given: str) -> str:
    """A label in one spelling: blanks of any kind as single ones, letters composed (NFC). Raises LabelRefused for
    nothing, for what is too long, or no text."""
    label = unicodedata.normalize("NFC", " ".join(given.split()))
    if not label or len(label) > MOST_LETTERS or any(unicodedata.category(one) in _NO_TEXT for one in label):
        raise LabelRefused(f"Expected a label of 1 to {MOST_LETTERS} letters. Got {given[:40]!r}.")
    return label


def names(store: Path) -> Sequence[str]:
    """The names of the labels of a store, sorted."""
    return sorted(file.stem for file in files(store))[:MOST_NAMES]


def files(store: Path) -> Iterator[Path]:
    """The files of the labels of a store."""
    for file in (store / FOLDER).glob("*.csv"):
        if re.fullmatch(NAME, file.stem):
            yield file


def forget_labels(store: Path, contents: Sequence[bytes]) -> None:
    """Take the labels of contents away, by their sha256, and what died half written. Raises StoreDamaged for a file
    that others have written otherwise, StoreError, OSError."""
    for left in (store / FOLDER).glob(".*.tmp"):
        with store_lock(store / FOLDER):  # nobody is writing it
            left.unlink(missing_ok=True)
    for name in [file.stem for file in files(store)]:
        LabelFile(store, name).give(None, dict.fromkeys(contents, ""))


def copy_labels(store: Path, target: Path) -> None:
    """Bring the labels of another store, a backup, to those of `store`. Raises StoreError, OSError."""
    there = {file.name for file in files(store)}
    if there:
        make_folder_durably(target / FOLDER)
    for file in files(store):
        write_durably(target / FOLDER / file.name, file.read_bytes())
    for file in list(files(target)):
        if file.name not in there:
            file.unlink(missing_ok=True)


def _digest(line: Sequence[str]) -> str:
    if len(line) != 3 or not _SHA256.fullmatch(line[0]) or not line[1]:
        raise ValueError(f"A line is {','.join(line)[:80]!r}")
    return line[0]
