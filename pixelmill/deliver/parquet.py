"""Parquet files in a folder or at an address of fsspec: a file a block of rows, so that a day changes few.

    PLACE/<name>/current.json                     which generation readers are to take: `files`
    PLACE/<name>/<generation>/rows-0000000.parquet
    PLACE/<name>/<generation>/delivery.json       what is known of it

Each file is replaced at once, a generation by one small file. The files of the one before stay until the next delivery,
for those who are reading them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixelmill.deliver import base
from pixelmill.deliver.address import shown_target
from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.errors import (
    DeliveryError,
    DeliveryRefused,
    PixelmillError,
    StoreError,
    TargetUnavailable,
    reason_of,
)
from pixelmill.paths import at_home
from pixelmill.sources.address import is_address
from pixelmill.sources.files import FileChanged
from pixelmill.sources.ranges import RangeFile
from pixelmill.travel.handover import handover_at
from pixelmill.watch.calls import go_on

CURRENT: Final = "current.json"
KNOWN: Final = "delivery.json"
_FILES: Final = "rows-"
_PATTERN: Final = frozenset("*?[]{}")
_LONG_DEAD: Final = 86_400.0
"""Seconds after which nobody goes on with what is half-written."""
_VECTOR: Final = "vector.list.element"
"""The path of a vector's numbers in a file."""


class ParquetTarget(Target):
    """Files of one delivery; see the module."""

    keeps_deleted = False

    def __init__(self, delivery: Delivery) -> None:
        place = delivery.to.partition(":")[2]
        root = place if is_address(place) else str(Path(at_home(place)).absolute())
        self._place, self._shown = f"{root.rstrip('/')}/{delivery.name}", shown_target(delivery.to)
        if _PATTERN.intersection(self._place):
            raise DeliveryRefused(
                f"Expected a place without any of {' '.join(sorted(_PATTERN))}, which readers of a pattern take for a "
                f"part of it. Got {self._shown}."
            )
        with self._in_words():
            self._files = handover_at(self._place, base.SECONDS)
        self._kept: dict[str, bytes | None] = {}
        """What is kept of each generation, as far as this process knows."""
        self._before: list[str] = []
        """The files that readers were to take before the last switch."""
        self._is_tidy = False

    def generations(self) -> list[Generation]:
        with self._in_words():
            names = list(self._files.names(""))
            known = [name for name in names if name.endswith(f"/{KNOWN}")]
            if names and not known and CURRENT not in names:
                raise DeliveryRefused(
                    f"Expected {self._place} to be empty, or of a delivery. It holds {names[0]}, which none made. "
                    "Nothing of it was touched: give the delivery another name, or another place."
                )
            current = self._current()
            self._before = [name for name in names if name.startswith(f"{current['before']}/")]
            found = [self._known(name) for name in known if name not in self._before]
        return [one.model_copy(update={"served": one.key == current["generation"]}) for one in found if one]

    def begin(self, generation: Generation, shape: Shape) -> None:
        self.keep(generation)  # before all else: by that, files of a generation are ours

    def held(self, key: str, start: int, stop: int | None) -> Held:
        pieces = [self._read(key, block, ["row", "digest"]) for block in self._blocks(key, start, stop)]
        table = pa.concat_tables([piece for piece in pieces if piece is not None]) if any(pieces) else _EMPTY
        return Held(table.column("row").to_numpy(), table.column("digest").to_numpy())

    def count(self, key: str) -> int:
        return sum(self._rows(key, block) for block in self._blocks(key, 0, None))

    def write(self, generation: Generation, changes: Changes) -> None:
        for block, new, old in _by_block(changes):
            self._write(generation.key, block, new, old)
        self.keep(generation)

    def keep(self, generation: Generation) -> None:
        if not self._is_tidy:
            self._tidy()
        with self._in_words():
            if self._files.get(f"{generation.key}/{KNOWN}") != self._kept.get(generation.key):
                self._put_known(generation.model_copy(update={"marks": ()}))
                raise TargetUnavailable(
                    f"Expected to deliver to {self._shown} alone. Something else does so too, under the same name, as "
                    "from a copy of this store: give one of them another name. The next delivery compares everything."
                )
            self._put_known(generation)

    def serve(self, generation: Generation, shape: Shape) -> None:
        self.keep(generation)
        if next(self._blocks(generation.key, 0, None), None) is None:  # who reads a table without files sees an error
            self._put(generation.key, 0, shape.schema.empty_table())
        with self._in_words():
            before = self._current()["generation"]
            if before != generation.key:
                files = f"{self._place}/{generation.key}/{_FILES}*.parquet"
                told = {"generation": generation.key, "files": files, "before": before}
                self._files.put(CURRENT, json.dumps(told).encode())

    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        table = self._read(key, int(rows[0]) // base.BLOCK, None) if len(rows) else None
        if table is None:
            return pa.RecordBatch.from_pylist([], shape.schema)
        chosen = table.filter(pc.is_in(table.column("row"), pa.array(np.asarray(rows, np.int64))))
        return pa.RecordBatch.from_arrays(
            [chosen.column(name).combine_chunks() for name in shape.schema.names], schema=shape.schema
        )

    def drop(self, key: str) -> None:
        with self._in_words():
            for name in list(self._files.names(key)):
                go_on()
                if name != f"{key}/{KNOWN}":
                    self._files.remove(name)
            self._files.clear(key)  # last what is known of it: by that, what is left of a generation is ours

    def erase_replaced(self) -> None:
        self.generations()
        if self._before:
            self.drop(self._before[0].partition("/")[0])
        with self._in_words():
            self._files.clear_halves(0)

    def _tidy(self) -> None:
        """Remove what nobody needs any more."""
        if self._before:
            self.drop(self._before[0].partition("/")[0])
        with self._in_words():
            self._files.clear_halves(_LONG_DEAD)
        self._is_tidy = True

    def _write(self, key: str, block: int, new: pa.Table, old: Rows) -> None:
        there = self._read(key, block, None)
        if there is not None:
            kept = there.filter(pc.invert(pc.is_in(there.column("row"), pa.array(old))))
            new = pa.concat_tables([kept.cast(new.schema), new]).sort_by("row")
        if len(new) or not block:  # the first stays, with no rows, as `serve` makes it
            self._put(key, block, new)
        else:
            with self._in_words():
                self._files.remove(_file_of(key, block))

    def _put(self, key: str, block: int, rows: pa.Table) -> None:
        content = io.BytesIO()
        pq.write_table(rows, content, row_group_size=base.BLOCK, **layout_of(rows.schema))
        with self._in_words():
            self._files.put(_file_of(key, block), content.getvalue())

    def _read(self, key: str, block: int, columns: list[str] | None) -> pa.Table | None:
        """Some columns of a file, which are read alone, or all."""
        with self._opened(key, block) as file:
            if file is None:
                return None
            source = file if columns else pa.BufferReader(file.part(0, file.size))
            return pq.ParquetFile(source, pre_buffer=False).read(columns, use_threads=not columns)

    def _rows(self, key: str, block: int) -> int:
        with self._opened(key, block) as file:
            return pq.read_metadata(file).num_rows if file else 0

    @contextmanager
    def _opened(self, key: str, block: int) -> Iterator[RangeFile | None]:
        go_on()
        with self._in_words(), self._files.opened(_file_of(key, block)) as file:
            try:
                yield file
            except OSError as error:
                if file:
                    file.check()
                raise ValueError(str(error)) from error  # Arrow's, for what it cannot make out

    def _blocks(self, key: str, start: int, stop: int | None) -> Iterator[int]:
        if stop is not None:
            yield start // base.BLOCK
            return
        with self._in_words():
            for name in self._files.names(key):
                number = name.rpartition(f"/{_FILES}")[2].removesuffix(".parquet")
                if number.isdecimal() and int(number) * base.BLOCK >= start:
                    yield int(number)

    def _current(self) -> dict[str, str]:
        content = self._files.get(CURRENT)
        return {"generation": "", "before": "", **(json.loads(content) if content else {})}

    def _known(self, name: str) -> Generation | None:
        content = self._files.get(name)
        self._kept[name.partition("/")[0]] = content
        return Generation.model_validate_json(content) if content else None

    def _put_known(self, generation: Generation) -> None:
        known = generation.model_dump_json().encode()
        self._files.put(f"{generation.key}/{KNOWN}", known)
        self._kept[generation.key] = known

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            raise self._translated(error) from error
        except DeliveryError:
            raise
        except (pa.ArrowInvalid, ValueError, KeyError) as error:
            raise DeliveryRefused(
                f"Expected files of a delivery in {self._place}. They cannot be read: {' '.join(str(error).split())}. "
                "Remove the folder, and the next delivery makes it anew."
            ) from error

    def _translated(self, error: BaseException) -> DeliveryError:
        """An error of the place: its cause counts, since the rest is said for runs and their workers."""
        while isinstance(error, StoreError) and error.__cause__:
            error = error.__cause__
        is_lasting = isinstance(error, _LASTING) and not isinstance(error, FileChanged)
        if isinstance(error, FileNotFoundError):
            is_lasting = is_address(self._place)  # the bucket; a folder may be taken away and made again
        kind = DeliveryRefused if is_lasting else TargetUnavailable
        return kind(
            f"Expected to deliver to {self._shown}. It cannot be read or written: {reason_of(error).rstrip('.')}."
        )


_LASTING: Final = (PermissionError, NotADirectoryError, FileExistsError, PixelmillError)
_EMPTY: Final = pa.table({"row": pa.array([], pa.int64()), "digest": pa.array([], pa.int64())})


def layout_of(schema: pa.Schema) -> dict[str, Any]:
    """How a file is written: vectors by the bytes of their numbers, first all highest ones, of which zstd makes a sixth
    less, in less time; no statistics of them, which tell nothing."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return {
        "compression": "zstd", "use_dictionary": texts, "use_byte_stream_split": [_VECTOR],
        "write_statistics": [name for name in schema.names if name != "vector"],
    }  # fmt: skip


def _file_of(key: str, block: int) -> str:
    return f"{key}/{_FILES}{block:07d}.parquet"


def _by_block(changes: Changes) -> Iterator[tuple[int, Any, Rows]]:
    """The rows to write and those to take away, block by block."""
    new = pa.Table.from_batches([changes.batch])
    rows = new.column("row").to_numpy()
    old = np.concatenate([rows, changes.gone])
    for block in np.unique(old // base.BLOCK).tolist():
        yield block, new.filter(pa.array(rows // base.BLOCK == block)), old[old // base.BLOCK == block]
