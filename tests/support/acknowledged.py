"""A run of many commits over files that arrive and move, what it acknowledges, and what must be true ever after."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from pixelmill.sources.found import FoundFile
from pixelmill.store.column_writer import begin
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Matrix
from pixelmill.store.master import MASTER, PARTS, read_manifest
from pixelmill.store.reader import Store
from pixelmill.store.rows import Changes
from pixelmill.store.verify import verify
from tests.support.stores import (
    FACT_NAMES,
    SOURCE,
    Columns,
    check_plain,
    facts_group,
    file_of,
    join_tags,
    known_in,
    provenance,
    read_plain,
    rounds_of,
    sha256,
    shard_rows,
)

SHARD = 3
"""New contents a commit."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a run has said is done: rows that are stored, of how many it has told that they are new, and the last round
    of tags that it has joined to them."""

    rows: int = 0
    settled: int = 0
    joined: int = 0


def work(folder: Path, commits: int, acknowledge: Callable[[Acknowledged], object]) -> None:
    """A run of `commits` commits of vectors and facts into a store in `folder`, with moved files, settlements, a column
    that is joined anew again and again, and compactions."""
    done = Acknowledged()
    with StoreWriter(folder) as writer:
        matrices, facts = matrices_of(writer), begin(writer, facts_group())
        for number in range(commits):
            _commit(writer, matrices, facts, number)
            acknowledge(done := replace(done, rows=(number + 1) * SHARD))
            if number % 3 == 0:
                join_tags(writer, round_after(number))
                acknowledge(done := replace(done, joined=round_after(number)))
            if number % 4 == 3:
                _settle(writer)
                acknowledge(done := replace(done, settled=done.rows))
            if number % 6 == 2:
                compact(writer, retention=-1)


def round_after(commit: int) -> int:
    """The round of tags that is joined after a commit."""
    return commit // 3 + 1


def matrices_of(writer: StoreWriter) -> list[Matrix]:
    return [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]


def files_after(commits: int) -> dict[int, FoundFile]:
    """Where each content is: some have moved on since they were first seen."""
    files = {number: file_of(number) for number in range(commits * SHARD)}
    return files | {number: file_of(number, f"moved/{number}.png") for number in map(_moved, range(2, commits, 4))}


def _moved(commit: int) -> int:
    return (commit - 1) * SHARD


def _bad(numbers: Collection[int]) -> list[int]:
    return [number for number in numbers if number % 10 == 7]


def _scan(writer: StoreWriter, files: Collection[FoundFile]) -> None:
    scan = writer.ledger.scans.begin()
    writer.ledger.scans.record(scan, files)
    writer.ledger.scans.mark_gone(scan, SOURCE)


def _commit(writer: StoreWriter, matrices: list[Matrix], facts: ColumnGroup, number: int) -> None:
    files = files_after(number + 1)
    _scan(writer, files.values())
    fresh = range(number * SHARD, (number + 1) * SHARD)
    given = shard_rows(fresh, matrices, bad=_bad(fresh), facts=facts)
    if number % 4 == 2:
        given.copies.append((files[_moved(number)], sha256(_moved(number))))
    writer.commit(given)


def _settle(writer: StoreWriter) -> Changes:
    told = writer.ledger.changes()
    writer.update_locations(told.stale_rows)
    writer.ledger.settle()
    return told


def contents(rows: int) -> dict[bytes, dict[str, bool]]:
    """What a store of `rows` rows holds."""
    return {sha256(n): dict.fromkeys("ab", n not in _bad([n])) for n in range(rows)}


def check(folder: Path, done: Acknowledged) -> None:
    """The store opens, is sound, and is a whole snapshot with all that was acknowledged."""
    if check_snapshot(folder, done):
        wrong = verify(folder)
        if done.rows == 0:  # the ledger may not be there yet
            wrong = [damage for damage in wrong if not damage.problem.startswith("is missing")]
        assert wrong == [], wrong


def check_snapshot(folder: Path, done: Acknowledged) -> bool:
    """What readers see is whole, and has all that was acknowledged; False where there is no store, rightly so."""
    if not (folder / MASTER).exists():
        assert done.rows == 0, "the store is gone"
        return False
    rows = len(Store(folder))
    assert rows in (done.rows, done.rows + SHARD), f"{rows} rows, {done.rows} acknowledged"
    if set(Store(folder).models) == {"a", "b"}:
        check_plain(folder, contents(rows))
        columns = read_plain(folder)
        check_facts(columns)
        check_tags(columns, done)
    else:
        assert rows == 0
    return True


def check_facts(columns: Columns) -> None:
    """Every row that was decoded has all its facts, which `check_plain` has compared, and no other row any."""
    good = [bool(width) for width in columns["images/width"]]
    for name in FACT_NAMES & columns.keys() if any(good) else ():
        assert known_in(columns[name]) == good, name
    assert not any(good) or columns.keys() >= FACT_NAMES


def check_tags(columns: Columns, done: Acknowledged) -> None:
    """All rows have the tags of one round, the last that was acknowledged or the one that was being joined, but for
    those that came after it."""
    rounds = rounds_of(columns)
    (found,) = set(rounds[:1]) or {0}
    assert found in (done.joined, done.joined + 1), f"round {found}, {done}"
    joined = rounds.count(found) if found else 0
    assert rounds == [found] * joined + [0] * (len(rounds) - joined)
    assert joined >= (done.joined and 3 * SHARD * (done.joined - 1) + SHARD), f"{joined} tags, {done}"


def check_next_run(folder: Path, commits: int, done: Acknowledged) -> None:
    """A run over everything completes the store, and tells of what was not told before: of that, once."""
    files, total = files_after(commits), commits * SHARD
    with StoreWriter(folder) as writer:
        matrices, facts = matrices_of(writer), begin(writer, facts_group())
        _scan(writer, files.values())
        given = shard_rows(range(total), matrices, bad=_bad(range(total)), facts=facts)
        given.contents = [replace(content, file=files[n]) for n, content in enumerate(given.contents)]
        writer.commit(given)
        told = _settle(writer)
        assert told.new in (total - done.settled, total - done.settled - 4 * SHARD), f"{told}, {done}"
        assert writer.ledger.changes() == Changes()
        assert writer.ledger.contents.row_count() == total
        assert writer.ledger.quarantine.rows("") == _bad(range(total))
        join_tags(writer, round_after(commits))
        revision = writer.snapshot().manifest.revision
        assert join_tags(writer, round_after(commits)) == 0
        writer.commit(given)
        assert writer.snapshot().manifest.revision == revision, "what is there was written again"
    check_plain(folder, contents(total), paths={sha256(n): file.path for n, file in files.items()})
    columns = read_plain(folder)
    check_facts(columns)
    assert rounds_of(columns) == [round_after(commits)] * total
    assert verify(folder) == []


def check_nothing_half_written(folder: Path) -> None:
    """No temporary file, and no part that the master does not name."""
    assert not list(folder.rglob("*.tmp"))
    found = {part.name for part in (folder / PARTS).glob("*")}
    if found:
        manifest = read_manifest(folder)
        assert found <= {*manifest.parts, *(retired.file for retired in manifest.retired)}


def check_nothing_is_kept_for_ever(folder: Path) -> None:
    """What an error did leave behind is gone after the next compaction but one."""
    with StoreWriter(folder) as writer:
        compact(writer, retention=-1)
        compact(writer, retention=-1)
    assert not list(folder.rglob("*.tmp"))
    assert {part.name for part in (folder / PARTS).glob("*")} == read_manifest(folder).used_parts()
