"""Whatever happens to pictures and to what lies beside them, each night knows what a first look at them would."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.store.ledger import Ledger
from tests.support.archives import pack_tar
from tests.support.beside_nights import Night

PICTURES = ("a.png", "a(1).png", "a-edited.png", "b.c.png", "sub/a.png")
TEXTS = ("a.txt", "a.png.json", "a.png(1).json", "b.c.xmp", "b.cls", "b.c.json", "sub/a.txt")
SAID = ("one", "2", '{"n": 1}', '{"n": 2, "m": "x"}', "", "{")
CHANGES = st.lists(
    st.tuples(st.sampled_from(PICTURES), st.booleans())
    | st.tuples(st.sampled_from(TEXTS), st.none() | st.sampled_from(SAID))
    | st.sampled_from(["night", "night", "pack"]),
    max_size=40,
)
"""A picture is put there or taken away, or a text is; all of them are packed into an archive; a night comes."""


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_nights(changes: list[tuple[str, str | bool | None] | str]) -> None:
    """Values are those of a first look; rows whose values are others than in the night before are told, and in a second
    night without changes none is."""
    with TemporaryDirectory() as scratch:
        folder, times = Path(scratch) / "photos", count(1)
        (folder / "sub").mkdir(parents=True)
        (Path(scratch) / "store").mkdir()
        (Path(scratch) / "shards").mkdir()
        with Ledger(Path(scratch) / "store") as ledger:
            night, before = Night(ledger), dict[int, object]()
            for change in [*changes, "night", "night"]:
                if change == "night":
                    night(folder, f"{folder.parent}/shards/*.tar")
                    before = compared(night, before)
                elif change == "pack":
                    members = {str(path.relative_to(folder)): path.read_bytes() for path in files(folder)}
                    pack_tar(folder.parent / "shards/s.tar", members)
                    os.utime(folder.parent / "shards/s.tar", ns=(next(times), next(times)))
                else:
                    put(folder / change[0], change[1], next(times))
            assert night.changed == []
            if any(path.suffix == ".png" for path in files(folder)):  # else the folder may be a disk that is away
                assert said(night) == first_look(folder)


def compared(night: Night, before: dict[int, object]) -> dict[int, object]:
    """What is said of each row now: it is told of those for which that is something else."""
    now: dict[int, object] = dict(
        night.ledger.beside.of_rows((row, b"") for row in range(night.ledger.contents.row_count()))
    )
    assert {row for row, said in now.items() if before.get(row) != said} <= set(night.changed)
    return {**before, **now}


def first_look(folder: Path) -> dict[bytes, object]:
    with TemporaryDirectory() as store, Ledger(Path(store)) as ledger:
        night = Night(ledger)
        night(folder, f"{folder.parent}/shards/*.tar")
        return said(night)


def said(night: Night) -> dict[bytes, object]:
    """What is said of each picture, by its path."""
    contents = night.ledger.contents
    paths = {row: contents.live_path(row, b"")[1] for row in range(contents.row_count())}
    return {paths[row]: values for row, values in night.ledger.beside.of_rows(paths.items())}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def put(path: Path, content: str | bool | None, time: int) -> None:
    """A picture that is there or not; a text, or none."""
    if content is None or content is False:
        path.unlink(missing_ok=True)
        return
    path.write_bytes(b"\x89PNG\r\n\x1a\n" if content is True else content.encode())
    os.utime(path, ns=(time, time))
