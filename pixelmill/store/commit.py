"""Writing to a store: part, then master, then ledger; each durable before the next, one writer at a time."""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from pixelmill.choices import VectorDtype
from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.sources.found import below
from pixelmill.store.durable import BLOCK, FULL, make_folder_durably, no_space
from pixelmill.store.filesystem import clock, warnings_for
from pixelmill.store.generations import with_last, with_matrix
from pixelmill.store.ledger import Ledger
from pixelmill.store.lock import check_lock_excludes, in_words, new_lock, store_lock
from pixelmill.store.manifest import LOCATION, Extent, Manifest, Matrix, Part, Provenance, extents_of_rows, overlay
from pixelmill.store.master import (
    MASTER,
    PARTS,
    home_of,
    old_copy,
    publish,
    put_back_over,
    read_manifest,
    read_manifest_copy,
    standing,
)
from pixelmill.store.newer import refuse_newer
from pixelmill.store.parts import write_part
from pixelmill.store.presence import Presence
from pixelmill.store.reader import Store, clipped
from pixelmill.store.revisions import PublishedMeanwhile, check_names_exclude, newest
from pixelmill.store.rows import Content, ShardRows, Vectors

log = logging.getLogger(__name__)

LOCATION_BLOCK = 65_536
"""Rows whose paths are rewritten together when one of them moves."""

_TURNS = 20
"""How often something is published anew because another machine was first, before it counts as failed."""

T = TypeVar("T")

FLOAT16_MAX = float(np.finfo(np.float16).max)


class Overtaken(StoreError):
    """A matrix holds more than when it was looked at."""


class StoreWriter:
    """The writing side of a store. Any number of processes may have one; commits take turns by an OS lock."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = home_of(Path(folder))
        refuse_newer(self.folder)
        self._make_folder()
        self._lock = new_lock(self.folder)
        self._overtaken = False
        self._matrices: dict[str, Matrix] = {}
        with self._locked(), in_words(self.folder):
            check_lock_excludes(self.folder)
            check_names_exclude(self.folder)
            self._presence = Presence(self.folder)
            try:
                self.ledger = self._opened()
            except Exception:
                self._presence.leave()
                raise
        with in_words(self.folder):
            self.warnings = (*warnings_for(self.folder), *old_copy(self.folder))
        """What the run's report should say about the store and the file system under it."""

    def _opened(self) -> Ledger:
        if not (self.folder / MASTER).exists():
            self._refuse_foreign_parts()
            self._make_store()
        ledger, over = Ledger(self.folder), put_back_over(self.folder)
        ledger.catch_up(Store(self.folder, standing(self.folder)))
        ledger.runs.steady_since(clock(self.folder))
        if over:
            ledger.runs.notify(over)
        return ledger

    def close(self) -> None:
        self.ledger.close()
        self._presence.leave()

    def warn(self) -> None:
        """Say aloud what the run's report will say about the file system."""
        for warning in self.warnings:
            log.warning("%s", warning)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def snapshot(self) -> Store:
        """The snapshot published now."""
        store = Store(self.folder)
        self._remember(store.manifest)
        return store

    def _remember(self, manifest: Manifest) -> None:
        self._matrices.update((matrix.provenance.fingerprint, matrix) for matrix in manifest.matrices)

    def in_turn(self, act: Callable[[Manifest], T]) -> T:
        """Do `act`, which may publish, with the store's lock held, the manifest as it is and the ledger level with it.

        Should another machine publish first, whose locks do not reach this one, it is done again on top of that.
        """
        for _ in range(_TURNS - 1):
            with suppress(PublishedMeanwhile), self.exclusive() as manifest:
                return act(manifest)
            log.warning("%s: another machine has published meanwhile: its locks do not reach this one", self.folder)
            self._overtaken = True
            time.sleep(random.random() / 10)
        with self.exclusive() as manifest:
            return act(manifest)

    @contextmanager
    def exclusive(self) -> Iterator[Manifest]:
        """Hold the store's lock; gives the manifest, with the ledger level with it."""
        with self._locked():
            self._presence.check()
            manifest = standing(self.folder)
            self._remember(manifest)
            self.ledger.catch_up(Store(self.folder, manifest))
            yield manifest

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with store_lock(self.folder, self._lock):
            yield

    def matrix(self, provenance: Provenance, dtype: VectorDtype) -> Matrix:
        """The matrix of this fingerprint: the one there is, or a new one. A model's first one is served at once."""
        return self.in_turn(lambda manifest: self._made(manifest, provenance, dtype))

    def _made(self, manifest: Manifest, provenance: Provenance, dtype: VectorDtype) -> Matrix:
        found = manifest.matrix(provenance.fingerprint)
        if found:
            return found
        grown = with_matrix(manifest, Matrix(provenance=provenance, dtype=dtype, serving=False))
        publish(self.folder, grown)
        return grown.matrices[-1]

    def commit(self, shard: ShardRows, *, looked_at: Sequence[Matrix] = ()) -> Manifest:
        """Add the rows of a shard to the store, durably. Committing the same shard twice changes nothing.

        Raises Overtaken, and adds nothing, if one of the matrices `looked_at` is by now another than it was.
        """
        part = self._write(shard)
        with self.discarding([part] if part else []):
            return self.in_turn(lambda manifest: self._commit(shard, part, looked_at, manifest))

    def _commit(self, shard: ShardRows, part: Part | None, looked_at: Sequence[Matrix], manifest: Manifest) -> Manifest:
        _require_unchanged(manifest, looked_at)
        if part and not (self.folder / PARTS / part.file).exists():
            # A compaction deletes what no snapshot names once it is a day old: this process has been asleep.
            part = self._write(shard)
        with self.discarding([part] if part else []):
            return self._published(shard, part, manifest)

    def _published(self, shard: ShardRows, part: Part | None, manifest: Manifest) -> Manifest:
        rows = self._rows(shard.contents, manifest)
        manifest = self._with_matrices_of(shard, manifest)
        updated = self._added(manifest, shard, part, rows) if part else manifest
        if updated is not manifest:
            updated = publish(self.folder, updated)
        elif part:
            self.discard(part)
        self._record(shard, rows, first_new=manifest.rows)
        return updated

    def continue_with(self, fingerprint: str) -> None:
        """Make the matrix named the last generation of its model: the one that runs fill."""

        def changed(manifest: Manifest) -> None:
            after = with_last(self._with_dropped(manifest, [fingerprint]), fingerprint)
            if after is not manifest:
                publish(self.folder, after)

        self.in_turn(changed)

    def serve(self, fingerprints: Sequence[str]) -> list[str]:
        """Let those of the matrices named that cover what their model serves now take its place; their models."""
        return self.in_turn(lambda manifest: self._served(manifest, fingerprints))

    def _served(self, manifest: Manifest, fingerprints: Sequence[str]) -> list[str]:
        store = Store(self.folder, manifest)
        ready = [m for m in manifest.matrices if m.provenance.fingerprint in fingerprints and self._is_ready(store, m)]
        models = [m.provenance.model for m in ready]
        if models:
            matrices = tuple(
                m.model_copy(update={"serving": m in ready}) if m.provenance.model in models else m
                for m in manifest.matrices
            )
            publish(self.folder, manifest.model_copy(update={"matrices": matrices}))
        return models

    def _is_ready(self, store: Store, matrix: Matrix) -> bool:
        serving = store.manifest.serving(matrix.provenance.model)
        if matrix.serving or serving is None:
            return False
        lacking = store.embedded(serving) & ~store.embedded(matrix)
        refused = self.ledger.quarantine.rows(matrix.provenance.fingerprint)
        lacking[[row for row in refused if row < len(lacking)]] = False
        return not lacking.any() or not (lacking & self.ledger.contents.live_rows(len(store))).any()

    def update_locations(self, rows: Sequence[int]) -> int:
        """Publish where the contents of `rows` are now, as the ledger knows, and of all that have no path though a file
        holds them; the number of rows whose path changed. A row that is gone from where it was, and that a file which
        waits to be read may hold, keeps its path until that is known."""
        return self.in_turn(lambda manifest: self._locate(manifest, rows))

    def _locate(self, manifest: Manifest, rows: Sequence[int]) -> int:
        changed, parts = 0, list[Part]()
        store = Store(self.folder, manifest)
        with self.discarding(parts):
            for start, stop, members in _blocks(_to_locate(store, self.ledger, rows), manifest.rows):
                part, number = self._relocate(store, start, stop, members)
                if part:
                    manifest = _with_part(manifest, part, location=[Extent(start, stop - start, part.file, 0)])
                    parts.append(part)
                    changed += number
            if parts:
                publish(self.folder, manifest)
        return changed

    def _relocate(self, store: Store, start: int, stop: int, rows: Sequence[int]) -> tuple[Part | None, int]:
        """A part with where rows `start` to `stop` are, some of which may have changed, and how many have."""
        columns, number = _relocated(store, self.ledger, start, stop, rows)
        if not number:
            return None, 0
        _require_sound_locations(store, start, stop)
        return write_part(self.folder / PARTS, columns), number

    @contextmanager
    def discarding(self, parts: Sequence[Part]) -> Iterator[None]:
        """Remove parts that were written, should what is to publish them fail; those that were published stay."""
        try:
            yield
        except Exception:
            for part in parts:
                self.discard(part)
            raise

    def discard(self, part: Part) -> None:
        """Remove a part that was written, unless a manifest names it by now."""
        with suppress(OSError):
            named = (read_manifest(self.folder), read_manifest_copy(self.folder), newest(self.folder))
            if not any(manifest and part.file in manifest.parts for manifest in named):
                (self.folder / PARTS / part.file).unlink(missing_ok=True)

    def _make_folder(self) -> None:
        try:
            make_folder_durably(self.folder / PARTS)
        except OSError as error:
            if error.errno in FULL:
                raise no_space(self.folder / PARTS, BLOCK) from error
            raise StoreError(
                f"Expected a folder to write the store into. {self.folder} cannot be made: {error.strerror}."
            ) from error

    def _make_store(self) -> None:
        with suppress(PublishedMeanwhile):  # another machine has made it
            publish(self.folder, Manifest(store_id=uuid.uuid4().hex))

    def _refuse_foreign_parts(self) -> None:
        if any((self.folder / PARTS).glob("*.h5")):
            raise StoreError(
                f"{self.folder} has part files but no {MASTER}. Run `pixelmill repair {self.folder}` to get their rows "
                "back, or name another --store."
            )

    def _write(self, shard: ShardRows) -> Part | None:
        """The part of a shard, written before the lock is taken; None when there is nothing to store."""
        if not shard.contents:
            return None
        if len({content.sha256 for content in shard.contents}) < len(shard.contents):
            raise ValueError("Expected each content of a shard once.")
        matrices = self._with_matrices_of(shard, read_manifest(self.folder))
        datasets = _columns(shard.contents)
        for fingerprint, vectors in shard.vectors.items():
            matrix = matrices.matrix(fingerprint)
            if matrix is None:
                raise ValueError(f"Expected vectors of a matrix of {self.folder}. Got fingerprint {fingerprint}.")
            datasets |= _matrix_datasets(matrix, vectors, len(shard.contents))
        return write_part(self.folder / PARTS, datasets)

    def _with_matrices_of(self, shard: ShardRows, manifest: Manifest) -> Manifest:
        return self._with_dropped(manifest, shard.vectors)

    def _with_dropped(self, manifest: Manifest, fingerprints: Iterable[str]) -> Manifest:
        """The manifest with those of the matrices named begun anew that were dropped as old ones while they were taken
        up again, or their vectors made."""
        for fingerprint in fingerprints:
            if manifest.matrix(fingerprint) is None and fingerprint in self._matrices:
                manifest = with_matrix(manifest, self._matrices[fingerprint])
        return manifest

    def _rows(self, contents: Sequence[Content], manifest: Manifest) -> np.ndarray:
        """The row of each content: the one it has, or the next free ones in order."""
        digests = [content.sha256 for content in contents]
        known = self._rows_stored(digests, manifest) if self._overtaken else self.ledger.contents.rows_of(digests)
        free = itertools.count(manifest.rows)
        rows = [known[digest] if digest in known else next(free) for digest in digests]
        return np.array(rows, dtype=np.int64)

    def _rows_stored(self, digests: Sequence[bytes], manifest: Manifest) -> dict[bytes, int]:
        """The rows of those contents that have one, by the store itself: another machine's rows may be missing in a
        ledger that both have written to."""
        stored = np.ascontiguousarray(Store(self.folder, manifest).sha256()).view("V32").reshape(-1)
        wanted = np.frombuffer(b"".join(digests), "V32")
        return {stored[row].tobytes(): int(row) for row in np.flatnonzero(np.isin(stored, wanted))}

    def _added(self, manifest: Manifest, shard: ShardRows, part: Part, rows: np.ndarray) -> Manifest:
        new = np.flatnonzero(rows >= manifest.rows)
        fresh = extents_of_rows(rows[new], new, part.file)
        matrices = tuple(self._with_vectors(manifest, matrix, shard, part, rows) for matrix in manifest.matrices)
        self._check_identity(manifest, shard.contents, rows)
        known = self._now_decoded(manifest, shard.contents, rows)
        identity = (*extents_of_rows(rows[known], known, part.file), *fresh)
        if not identity and matrices == manifest.matrices:
            return manifest
        grown = manifest.model_copy(update={"rows": manifest.rows + len(new), "matrices": matrices})
        return _with_part(grown, part, identity=identity, location=fresh)

    def _check_identity(self, manifest: Manifest, contents: Sequence[Content], rows: np.ndarray) -> None:
        """Refuse to write vectors beside another image's: a ledger that was restored without its store may be wrong."""
        old = np.flatnonzero(rows < manifest.rows)
        if not len(old):
            return
        stored: np.ndarray = Store(self.folder, manifest).sha256()[rows[old]]
        given = np.frombuffer(b"".join(contents[i].sha256 for i in old.tolist()), np.uint8).reshape(-1, 32)
        wrong = rows[old[(stored != given).any(axis=1)]]
        if len(wrong):
            raise StoreDamaged(
                f"The ledger of {self.folder} takes {len(wrong)} rows (first: {wrong[0]}) for other images than the "
                f"store holds there. Nothing was written. Run `pixelmill repair {self.folder}`."
            )

    def _now_decoded(self, manifest: Manifest, contents: Sequence[Content], rows: np.ndarray) -> np.ndarray:
        """The contents whose row is stored without a size in pixels, and that were decoded this time."""
        candidates = np.array(
            [i for i, c in enumerate(contents) if c.width and rows[i] < manifest.rows], dtype=np.int64
        )
        if not len(candidates):
            return candidates
        unsized: np.ndarray = candidates[Store(self.folder, manifest).widths[rows[candidates]] == 0]
        return unsized

    def _with_vectors(
        self, manifest: Manifest, matrix: Matrix, shard: ShardRows, part: Part, rows: np.ndarray
    ) -> Matrix:
        vectors = shard.vectors.get(matrix.provenance.fingerprint)
        if vectors is None:
            return matrix
        embedded = Store(self.folder, manifest).embedded(matrix)
        lacking = np.array([row >= len(embedded) or not embedded[row] for row in rows[vectors.index]], dtype=bool)
        index = np.sort(vectors.index[lacking])
        added = _spanning(rows, index, part.file, manifest.rows)
        return matrix.model_copy(update={"extents": overlay(matrix.extents, added)})

    def _record(self, shard: ShardRows, rows: np.ndarray, first_new: int) -> None:
        ledger = self.ledger
        with ledger.transaction():
            pairs = list(zip(shard.contents, rows.tolist(), strict=True))
            ledger.contents.record_rows((content.sha256, row) for content, row in pairs if row >= first_new)
            ledger.contents.record_read((content.file, row) for content, row in pairs)
            known = ledger.contents.rows_of([sha256 for _, sha256 in shard.copies])
            ledger.contents.record_read((file, known[sha256]) for file, sha256 in shard.copies if sha256 in known)
            ledger.quarantine.record(shard.failures)


def _columns(contents: Sequence[Content]) -> dict[str, np.ndarray | Sequence[bytes]]:
    return {
        "images/sha256": np.frombuffer(b"".join(c.sha256 for c in contents), np.uint8).reshape(-1, 32),
        "images/width": np.array([c.width for c in contents], dtype=np.int32),
        "images/height": np.array([c.height for c in contents], dtype=np.int32),
        "images/path": [os.fsencode(c.file.path) for c in contents],
        "images/source": [os.fsencode(c.file.source) for c in contents],
    }


def _matrix_datasets(matrix: Matrix, vectors: Vectors, rows: int) -> Mapping[str, np.ndarray]:
    if matrix.dtype == "float16" and len(vectors.values) and np.abs(vectors.values).max() > FLOAT16_MAX:
        raise StoreError(
            f"Vectors of {matrix.provenance.model} do not fit float16 (largest {np.abs(vectors.values).max():.3g}). "
            "Expected a store with vector_dtype = 'float32'."
        )
    values = np.full((rows, matrix.provenance.dim), np.nan, dtype=matrix.dtype)
    values[vectors.index] = vectors.values
    embedded = np.zeros(rows, dtype=np.uint8)
    embedded[vectors.index] = 1
    return {matrix.vectors: values, matrix.embedded: embedded}


def _spanning(rows: np.ndarray, index: np.ndarray, part: str, first_new: int) -> tuple[Extent, ...]:
    """Extents for the contents `index`; over new rows they run on through refused images, which are NaN in the part."""
    old, new = index[rows[index] < first_new], index[rows[index] >= first_new]
    if len(new):
        between = np.arange(new[0], new[-1] + 1)
        new = between[rows[between] >= first_new]
    return (*extents_of_rows(rows[old], old, part), *extents_of_rows(rows[new], new, part))


def _with_part(
    manifest: Manifest, part: Part, *, identity: Sequence[Extent] = (), location: Sequence[Extent] = ()
) -> Manifest:
    return manifest.model_copy(
        update={
            "identity": overlay(manifest.identity, identity),
            "location": overlay(manifest.location, location),
            "parts": {**manifest.parts, part.file: part},
        }
    )


def _require_unchanged(manifest: Manifest, looked_at: Sequence[Matrix]) -> None:
    for matrix in looked_at:
        now = manifest.matrix(matrix.provenance.fingerprint)
        if now is None or now.extents != matrix.extents:
            raise Overtaken(
                f"Expected the matrix of {matrix.provenance.model} as it was when it was looked at. Another worker has "
                "added to it since. Look again."
            )


def _pathless(store: Store, ledger: Ledger) -> list[int]:
    """The rows without a path that some file holds."""
    gone = ~store.present
    if gone.any():
        gone &= ledger.contents.live_rows(len(store))
    rows: list[int] = np.flatnonzero(gone).tolist()
    return rows


def _to_locate(store: Store, ledger: Ledger, rows: Iterable[int]) -> np.ndarray:
    """The rows whose path may have to change, ascending; those that may be elsewhere keep theirs."""
    wanted = np.union1d(np.fromiter(rows, np.int64), np.fromiter(_pathless(store, ledger), np.int64))
    elsewhere = np.fromiter(ledger.contents.elsewhere(), np.int64)
    located: np.ndarray = np.setdiff1d(wanted[wanted < len(store)], elsewhere, assume_unique=True)
    return located


def _blocks(rows: np.ndarray, end: int) -> Iterator[tuple[int, int, list[int]]]:
    """The blocks that ascending `rows` of `end` lie in, as (first row, end, those of the rows). One after the other:
    what is known of the rows of all of them at once would be some hundred bytes each."""
    for block in np.unique(rows // LOCATION_BLOCK).tolist():
        start, stop = block * LOCATION_BLOCK, min((block + 1) * LOCATION_BLOCK, end)
        first, last = np.searchsorted(rows, (start, stop))
        yield start, stop, rows[first:last].tolist()


def _relocated(
    store: Store, ledger: Ledger, start: int, stop: int, rows: Sequence[int]
) -> tuple[dict[str, Sequence[bytes]], int]:
    """The location columns of rows `start` to `stop`, with where some of them are now; how many of these changed."""
    paths, sources = (store.texts(name, start, stop) for name in LOCATION)
    changed = 0
    for i in (row - start for row in rows):
        current = os.path.join(sources[i], paths[i]) if paths[i] else b""  # noqa: PTH118 - bytes
        root, found = ledger.contents.live_path(i + start, current)
        if found != current:
            paths[i], sources[i] = (below(found, root), root) if found else (b"", sources[i])
            changed += 1
    return {LOCATION[0]: paths.tolist(), LOCATION[1]: sources.tolist()}, changed


def _require_sound_locations(store: Store, start: int, stop: int) -> None:
    for extent in clipped(store.manifest.location, start, stop):
        store.parts.require_sound(extent)
