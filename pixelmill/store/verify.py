"""Is everything that the master promises there, whole and aligned? And what can be saved if it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store import ledger_repair
from pixelmill.store.column_values import are_known
from pixelmill.store.contents import different
from pixelmill.store.damage import Damage as Damage
from pixelmill.store.durable import NO_DAMAGE, file_sha256, refused
from pixelmill.store.extents import Extent
from pixelmill.store.filesystem import is_shared
from pixelmill.store.from_ledger import with_rows_from_ledger
from pixelmill.store.ledger import Ledger
from pixelmill.store.ledger_check import Findings
from pixelmill.store.lock import check_lock_excludes, in_words, store_lock
from pixelmill.store.manifest import Manifest, Part
from pixelmill.store.master import (
    MANIFEST_COPY,
    MASTER,
    PARTS,
    STALE_SECONDS,
    home_of,
    latest,
    manifest_of_master,
    publish,
    put_back,
    put_back_over,
    read_manifest_copy,
)
from pixelmill.store.newer import refuse_newer
from pixelmill.store.presence import Presence
from pixelmill.store.reader import Store
from pixelmill.store.readonly import open_read_only
from pixelmill.store.revisions import check_names_exclude, numbers, read_revision
from pixelmill.store.schema import LEDGER
from pixelmill.store.sqlite_errors import LedgerDamaged
from pixelmill.store.unerased import forgotten_rows, unerased


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did, and how many vectors of each model must be embedded again by the next run."""

    actions: tuple[str, ...]
    to_embed: dict[str, int]


def verify(folder: Path) -> list[Damage]:
    """Everything wrong with the store in `folder`: parts against checksums, master and ledger against the parts; and
    whatever is left of rows that were forgotten.

    An empty list means sound. Nothing is written. Raises StoreError where there is no store at all.
    """
    folder = home_of(folder)
    refuse_newer(folder)
    try:
        manifest = _told_by_master(folder)
    except StoreDamaged as error:
        copy = read_manifest_copy(folder)
        return [Damage(MASTER, str(error), "every dataset", ((0, copy.rows),) if copy and copy.rows else ())]
    if older := put_back(folder) or put_back_over(folder):
        return [Damage(MASTER, older)]
    parts = list(_damaged_parts(folder, manifest))
    rows, left = ([], []) if parts else (_bad_rows(store := Store(folder, manifest)), unerased(store))
    return [*parts, *rows, *_bad_copy(folder, manifest), *_bad_ledger(folder, compare=not parts), *left]


def forgotten_count(folder: Path) -> int:
    """How many rows of a store were forgotten."""
    return len(forgotten_rows(Store(folder)))


def repair(folder: Path) -> Repair:
    """Save what can be saved: rebuild the master from the manifest's copy, drop damaged parts, rebuild the ledger.

    What was in a damaged part is embedded again by the next run; a row's sha256 comes back from the ledger.
    """
    if not folder.is_dir():
        raise StoreError(f"Expected a store in {folder}. There is no such folder.")
    folder = home_of(folder)
    refuse_newer(folder)
    actions: list[str] = []
    with store_lock(folder), in_words(folder):
        check_lock_excludes(folder)
        check_names_exclude(folder)
        with Presence(folder):
            lacking = _repaired(folder, actions)
    return Repair(tuple(actions), lacking)


def _told_by_master(folder: Path) -> Manifest:
    """Raises StoreDamaged where the master does not tell, nor will once a network file system shows it as it is."""
    deadline = time.monotonic() + (STALE_SECONDS if is_shared(folder) else 0)
    while True:
        try:
            return manifest_of_master(folder)
        except StoreDamaged:
            if time.monotonic() >= deadline:
                raise
        time.sleep(1)


def _repaired(folder: Path, actions: list[str]) -> dict[str, int]:
    """How many vectors each model lacks in the store as it is then."""
    manifest = _recovered_manifest(folder, actions)
    bad = {damage.file for damage in _damaged_parts(folder, manifest)}
    manifest = _without_parts(folder, manifest, {Path(name).name for name in bad}, actions)
    if bad or list(_bad_copy(folder, manifest)):
        manifest = publish(folder, manifest)
        actions.append(f"published {MASTER} anew")
    _rebuilt_ledger(folder, manifest, actions)
    store = Store(folder, manifest)
    return {m.provenance.model: int((~store.embedded(m)).sum()) for m in manifest.matrices if m.serving}


def _damaged_parts(folder: Path, manifest: Manifest) -> Iterator[Damage]:
    for name in sorted(manifest.used_parts()):
        problem = _part_problem(folder / PARTS / name, manifest.parts.get(name))
        if problem:
            for names, extents in manifest.datasets():
                rows = tuple((e.row, e.end) for e in extents if e.part == name)
                if rows:
                    yield Damage(f"{PARTS}/{name}", problem, _public_name(manifest, names), rows)


def _part_problem(path: Path, part: Part | None) -> str:
    if part is None:
        return "is used but not listed in the manifest"
    try:
        size = path.stat().st_size
        if size != part.bytes:
            return f"has {size:,} bytes instead of {part.bytes:,}"
        return "" if file_sha256(path) == part.sha256 else "has other content than was written (sha256 differs)"
    except OSError as error:
        if error.errno in NO_DAMAGE:
            raise refused(path, error) from error
        return f"cannot be read ({error.strerror})"


def _public_name(manifest: Manifest, names: tuple[str, ...]) -> str:
    matrix = next((m for m in manifest.matrices if m.vectors == names[0]), None)
    group = next((g for g in manifest.columns if g.names == names), None)
    if group:
        return ", ".join(map(group.published_name, group.columns))
    return matrix.published_name if matrix else " and ".join(names)


def _bad_copy(folder: Path, manifest: Manifest) -> Iterator[Damage]:
    """The copy of the manifest is written before the master: it may be newer by one than `manifest`, never older."""
    copy = read_manifest_copy(folder)
    if copy is None:
        yield Damage(MANIFEST_COPY, "is missing or not what was written; `pixelmill repair` writes it anew")
    elif (
        copy.store_id != manifest.store_id
        or copy.revision < manifest.revision
        or (copy.revision == manifest.revision and copy != manifest)
    ):
        yield Damage(MANIFEST_COPY, f"is not the manifest of {MASTER}; `pixelmill repair` writes it anew")


def _bad_rows(store: Store) -> Iterator[Damage]:
    sha256 = store.sha256()
    if again := len(sha256) - different(sha256):
        yield Damage(MASTER, f"{again} rows repeat the sha256 of another", "images/sha256")
    yield from _bad_values(store)
    for matrix in store.manifest.matrices:
        for extent in matrix.extents:
            values, flags = (store.parts.array(extent, name) for name in (matrix.vectors, matrix.embedded))
            wrong = np.isfinite(values).all(axis=1) != (flags != 0)
            wrong |= (flags == 0) & ~np.isnan(values).all(axis=1)
            if wrong.any():
                yield _of_rows(extent, wrong, "are neither whole vectors nor NaN", matrix.published_name)


def _bad_values(store: Store) -> Iterator[Damage]:
    for group in store.manifest.columns:
        for extent in group.extents:
            unfilled = store.parts.array(extent, group.embedded) == 0
            for dataset, column in group.datasets():
                wrong = unfilled & are_known(store.parts, extent, dataset, column)
                if wrong.any():
                    told = "have a value and are told to have none"
                    yield _of_rows(extent, wrong, told, group.published_name(column))


def _of_rows(extent: Extent, wrong: np.ndarray, problem: str, dataset: str) -> Damage:
    rows = tuple((extent.row + int(i), extent.row + int(i) + 1) for i in np.flatnonzero(wrong)[:100])
    return Damage(f"{PARTS}/{extent.part}", f"{int(wrong.sum())} rows {problem}", dataset, rows)


def _bad_ledger(folder: Path, *, compare: bool = True) -> Iterator[Damage]:
    for problem in _findings(folder, compare=compare):
        yield Damage(LEDGER, problem)


def _findings(folder: Path, *, compare: bool = True) -> Findings:
    """What is wrong with the ledger, by itself and, with `compare`, beside the master."""
    if not (folder / LEDGER).exists():
        return Findings(("is missing; `pixelmill repair` rebuilds it",))
    try:
        with open_read_only(folder) as ledger:
            if ledger.is_empty():
                return Findings()  # it knows nothing yet, and the next writer brings it level
            found = ledger.check()
            return ledger.compare(lambda: Store(folder)) if compare and not list(found) else found
    except StoreDamaged:
        return Findings()  # told of with the parts
    except LedgerDamaged as error:
        return Findings((f"cannot be used ({error})",))


def _recovered_manifest(folder: Path, actions: list[str]) -> Manifest:
    """The master's manifest; published anew if there is a later one, or the master cannot be read."""
    try:
        master = _told_by_master(folder)
    except StoreError as error:
        later = _last_recorded(folder, error)
    else:
        found = latest(folder, master)
        if found is None:
            return master
        later = found
    manifest = publish(folder, later)
    actions.append(f"rebuilt {MASTER} from the copy of its manifest ({manifest.rows} rows)")
    return manifest


def _last_recorded(folder: Path, why: StoreError) -> Manifest:
    """The last manifest that was written, parts there or not: the copy, or that of the last revision with a name."""
    records = (read_manifest_copy(folder), read_revision(folder, max(numbers(folder), default=0)))
    found = max((record for record in records if record), key=lambda record: record.revision, default=None)
    if found is None:
        raise StoreDamaged(
            f"Neither {MASTER} nor the copy of its manifest in {folder} can be read. Restore one of them from a backup."
        ) from why
    return found


def _without_parts(folder: Path, manifest: Manifest, bad: set[str], actions: list[str]) -> Manifest:
    if not bad:
        return manifest

    def sound(extents: tuple[Extent, ...]) -> tuple[Extent, ...]:
        return tuple(e for e in extents if e.part not in bad)

    for name in sorted(bad):
        actions.append(f"dropped the damaged part {PARTS}/{name}")
        damaged = folder / PARTS / name
        if damaged.exists():
            damaged.rename(damaged.with_name(f"{name}.damaged"))
    _joined_anew(folder, [e for g in manifest.columns for e in g.extents if e.part in bad])
    matrices = tuple(m.model_copy(update={"extents": sound(m.extents)}) for m in manifest.matrices)
    columns = tuple(g.model_copy(update={"extents": sound(g.extents)}) for g in manifest.columns)
    parts = {name: part for name, part in manifest.parts.items() if name not in bad}
    identity, location = sound(manifest.identity), sound(manifest.location)
    stripped = manifest.model_copy(
        update={"matrices": matrices, "columns": columns, "parts": parts, "identity": identity, "location": location}
    )
    return with_rows_from_ledger(folder, stripped, actions)


def _joined_anew(folder: Path, lost: Sequence[Extent]) -> None:
    """Let the next run join again what is known of rows that lose values of columns; by a ledger that cannot be used,
    and is made anew, it joins all."""
    if lost and (folder / LEDGER).exists():
        with suppress(LedgerDamaged), Ledger(folder) as ledger:
            ledger.contents.look_again(chain.from_iterable(range(extent.row, extent.end) for extent in lost))


def _rebuilt_ledger(folder: Path, manifest: Manifest, actions: list[str]) -> None:
    store = Store(folder, manifest)
    actions += ledger_repair.mend(folder, store, _findings(folder))
    with Ledger(folder) as ledger:
        ledger.catch_up(store)
