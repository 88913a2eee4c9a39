"""What is committed is what everybody reads, row for row."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill import __version__
from pixelmill.errors import StoreDamaged, StoreError, UnknownModel
from pixelmill.store import locations
from pixelmill.store.additions import Committed
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.rows import ShardRows, Vectors
from pixelmill.store.verify import verify
from tests.support.stores import (
    DIMS,
    SOURCE,
    check_plain,
    file_of,
    path_of,
    provenance,
    record_files,
    rows_by_content,
    sha256,
    shard_rows,
    size,
    vector,
)

NUMBERS = st.lists(st.integers(0, 19), unique=True, max_size=8)
STEPS = st.one_of(
    st.tuples(
        st.just("commit"), NUMBERS, st.sets(st.sampled_from("abc"), min_size=1), st.sets(st.integers(0, 19), max_size=3)
    ),
    st.tuples(st.just("move"), NUMBERS),
    st.tuples(st.just("remove"), NUMBERS),
    st.tuples(st.just("compact")),
    st.tuples(st.just("reopen")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=9))
def test_any_sequence_reads_right_in_plain_h5py(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """After any commits, moves, removals, compactions and reopenings, plain h5py and the reader give every row's own
    vectors, size and path, and no row has changed its number."""
    with TemporaryDirectory() as scratch:
        model = StoreModel(Path(scratch) / "store")
        for name, *arguments in steps:
            getattr(model, name)(*arguments)
            model.check()
        model.writer.close()


class StoreModel:
    """A store beside plain dicts that say what it should hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = StoreWriter(folder)
        self.matrices: dict[str, Matrix] = {}
        self.embedded: dict[bytes, dict[str, bool]] = {}
        self.paths: dict[bytes, str] = {}
        self.sizes: dict[bytes, tuple[int, int]] = {}
        self.rows: dict[bytes, int] = {}

    def commit(self, numbers: list[int], models: set[str], bad: set[int]) -> None:
        for model in sorted(models - self.matrices.keys()):
            dtype = "float16" if model == "b" else "float32"
            self.matrices[model] = self.writer.matrix(provenance(model), dtype)
        record_files(self.writer, numbers)
        self.writer.commit(shard_rows(numbers, [self.matrices[m] for m in sorted(models)], bad=sorted(bad)))
        for number in numbers:
            content = sha256(number)
            known = self.embedded.setdefault(content, {})
            self.paths.setdefault(content, path_of(number))
            if number not in bad:
                known.update(dict.fromkeys(models, True))
                self.sizes[content] = size(content)

    def move(self, numbers: list[int]) -> None:
        rows = rows_by_content(self.folder)
        for number in numbers:
            if (row := rows.get(sha256(number))) is not None:
                for path in (path_of(number), f"moved/{number}"):
                    self.writer.ledger.scans.mark_path_gone(f"{SOURCE}/{path}")
                moved = file_of(number, f"moved/{number}.png")
                self.writer.ledger.scans.record(self.writer.ledger.scans.begin(), [moved])
                self.writer.ledger.contents.record_read([(moved, row)])
                self.paths[sha256(number)] = moved.path
        self.writer.update_locations(sorted(rows.values()))

    def remove(self, numbers: list[int]) -> None:
        rows = rows_by_content(self.folder)
        for number in numbers:
            if sha256(number) in rows:
                for path in (path_of(number), f"moved/{number}.png"):
                    self.writer.ledger.scans.mark_path_gone(f"{SOURCE}/{path}")
                self.paths[sha256(number)] = ""
        self.writer.update_locations(sorted(rows.values()))

    def compact(self) -> None:
        compact(self.writer)

    def reopen(self) -> None:
        self.writer.close()
        self.writer = StoreWriter(self.folder)

    def check(self) -> None:
        # A content that comes back is published where it was last said to be, until locations are updated.
        check_plain(self.folder, self.embedded)
        assert verify(self.folder) == []
        rows = rows_by_content(self.folder)
        assert rows.items() >= self.rows.items()
        self.rows = rows
        store = Store(self.folder)
        for content, row in rows.items():
            assert (store.widths[row], store.heights[row]) == self.sizes.get(content, (0, 0))


def test_attributes_say_what_made_a_matrix(writer: StoreWriter, folder: Path) -> None:
    """Each matrix has the attributes of the design, with the values of its provenance, and the root names the format."""
    made = provenance("a")
    writer.matrix(made, "float32")
    with h5py.File(folder / "vectors.h5") as file:
        attributes = dict(file["vectors/a"].attrs)
        assert file.attrs["format"] == "pixelmill"
        assert file.attrs["format_version"] == 1
        assert {"pixelmill_version", "published_at"} <= set(file.attrs)
    design = "dim backend architecture pretrained weights_sha256 image_size mean std interpolation precision decode "
    assert set(f"{design} normalized fingerprint versions".split()) <= set(attributes)
    assert attributes["dim"] == 3
    assert not attributes["normalized"]
    assert attributes["fingerprint"] == made.fingerprint
    np.testing.assert_array_equal(attributes["mean"], [0.25, 0.5, 0.75])


def test_a_new_model_touches_no_other(writer: StoreWriter, folder: Path) -> None:
    """Filling a new matrix leaves every part and every extent of the others as they were."""
    a = writer.matrix(provenance("a"), "float32")
    writer.commit(shard_rows(range(10), [a]))
    before, files = Store(folder).manifest, {p.name: p.read_bytes() for p in (folder / "parts").iterdir()}
    b = writer.matrix(provenance("b"), "float32")
    writer.commit(shard_rows(range(10), [b]))
    after = Store(folder).manifest
    assert after.matrix(a.provenance.fingerprint) == before.matrix(a.provenance.fingerprint)
    assert (after.identity, after.location, after.rows) == (before.identity, before.location, 10)
    assert files.items() <= {p.name: p.read_bytes() for p in (folder / "parts").iterdir()}.items()
    check_plain(folder, {sha256(n): {"a": True, "b": True} for n in range(10)})


def test_same_shard_twice_changes_nothing(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """Committing a shard again publishes no snapshot, adds no row, leaves no file behind and changes none, and the log
    of the ledger does not grow. Every vector is counted as one that was there."""
    record_files(writer, range(9))
    shard = shard_rows(range(6), matrices, bad=[2])
    shard.copies = [(file_of(8), sha256(1))]
    first = writer.commit(shard)
    assert first == Committed(writer.snapshot().manifest)
    before = hashes(folder)
    assert writer.commit(shard) == Committed(first.manifest, dropped=10)
    assert hashes(folder) == before
    assert len(writer.ledger.quarantine.rows("")) == 1


def test_what_is_there_already_is_left_out_and_counted(writer: StoreWriter, matrices: list[Matrix]) -> None:
    """By image and model: of a shard that was embedded twice in part, only what is new is added."""
    record_files(writer, range(6))
    writer.commit(shard_rows(range(4), matrices, only={"b": [3]}))
    told = writer.commit(shard_rows(range(2, 6), matrices))
    assert told.dropped == 3
    assert [len(writer.snapshot()[model].rows) for model in "ab"] == [6, 4]


def test_a_copy_of_nothing_stays_pending_and_is_told(writer: StoreWriter, matrices: list[Matrix]) -> None:
    """As of a content that only looked like a stored one: its file is planned again, and the others are copies."""
    record_files(writer, range(6))
    writer.commit(shard_rows([0], matrices))
    shard = shard_rows([1], matrices)
    shard.copies = [(file_of(2), sha256(0)), (file_of(3), sha256(1)), (file_of(4), sha256(77))]
    assert writer.commit(shard).unknown == (file_of(4),)
    images = writer.ledger.worklist.images(1)
    assert {file.path for file, row in images if row is None} == {path_of(4), path_of(5)}


def hashes(folder: Path) -> dict[str, str]:
    """Every file of a store with its sha256, but for the memory that the ledger's connections share."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_retried_image_fills_its_row(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """A refused image keeps a row of NaN without a size; once it succeeds, that row gets vectors and size."""
    writer.commit(shard_rows(range(5), matrices, bad=[1, 3]))
    check_plain(folder, {sha256(n): dict.fromkeys("ab", n not in (1, 3)) for n in range(5)})
    assert Store(folder).widths[[1, 3]].tolist() == [0, 0]
    writer.ledger.quarantine.release()
    writer.commit(shard_rows([3], matrices))
    check_plain(folder, {sha256(n): dict.fromkeys("ab", n != 1) for n in range(5)})
    assert (Store(folder).widths[3], Store(folder).heights[3]) == size(sha256(3))


def test_pieces_of_a_part_map_right(writer: StoreWriter, folder: Path) -> None:
    """Where a master uses only some rows of a part, from the start, the middle or the end, HDF5 gives those very rows."""
    a = writer.matrix(provenance("a"), "float32")
    writer.commit(shard_rows([3, 4, 8], [a]))
    writer.commit(shard_rows(range(12), [a]))  # its rows 3, 4 and 8 are known: the part is used in three pieces
    check_plain(folder, {sha256(n): {"a": True} for n in range(12)})
    pieces = [e for e in Store(folder).manifest.matrices[0].extents if e.row >= 3]
    assert sorted((e.offset, e.rows) for e in pieces) == [(0, 3), (5, 3), (9, 3)]


def test_a_content_twice_in_a_shard_is_refused(writer: StoreWriter, matrices: list[Matrix]) -> None:
    """A shard that would give one content two rows is refused, and nothing is stored."""
    twice = shard_rows([1], matrices)
    twice.contents *= 2
    with pytest.raises(ValueError, match="once"):
        writer.commit(twice)
    assert len(writer.snapshot()) == 0


def test_vectors_never_go_beside_another_image(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """A ledger that takes a row for another image than the store is found out before anything is written."""
    writer.commit(shard_rows(range(4), matrices[:1]))
    writer.ledger.contents.record_rows([(sha256(77), 2)])
    parts = set((folder / "parts").iterdir())
    with pytest.raises(StoreDamaged, match="repair"):
        writer.commit(shard_rows([77], matrices))
    assert set((folder / "parts").iterdir()) == parts
    assert [d.file for d in verify(folder)] == ["ledger.sqlite"]


def test_a_vector_too_large_for_float16_is_refused(writer: StoreWriter, matrices: list[Matrix]) -> None:
    """A finite vector never becomes infinite by being stored."""
    large = shard_rows([1], matrices[1:])
    fingerprint = matrices[1].provenance.fingerprint
    large.vectors[fingerprint] = Vectors(np.array([0]), np.full((1, DIMS["b"]), 7e4, np.float32))
    with pytest.raises(StoreError, match="float32"):
        writer.commit(large)


@pytest.mark.parametrize("move", ["rename", "copy", "symlink"])
def test_a_moved_store_opens_and_goes_on(
    move: str, writer: StoreWriter, folder: Path, matrices: list[Matrix], tmp_path: Path
) -> None:
    """A store reads right from another folder, through a link, from another working directory, and grows there."""
    writer.commit(shard_rows(range(5), matrices))
    writer.close()
    elsewhere = tmp_path / "deep" / "elsewhere"
    elsewhere.parent.mkdir()
    {
        "rename": folder.rename,
        "copy": lambda to: shutil.copytree(folder, to),
        "symlink": lambda to: to.symlink_to(folder),
    }[move](elsewhere)
    with StoreWriter(elsewhere) as again:
        again.commit(shard_rows(range(3, 8), matrices))
    os.chdir("/")
    check_plain(elsewhere, {sha256(n): {"a": True, "b": True} for n in range(8)})
    assert verify(elsewhere) == []


def test_a_linked_master_finds_its_parts(
    writer: StoreWriter, folder: Path, matrices: list[Matrix], tmp_path: Path
) -> None:
    """Plain h5py reads a relative path to the store from inside another folder."""
    writer.commit(shard_rows(range(5), matrices))
    (tmp_path / "work").mkdir()
    os.chdir(tmp_path / "work")
    with h5py.File("../store/vectors.h5") as file:
        assert not np.isnan(file["vectors/a"][:]).any()


def test_part_names_are_relative(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """No dataset of the master names an absolute path."""
    writer.commit(shard_rows(range(5), matrices))
    with h5py.File(folder / "vectors.h5") as file:
        names = {piece.file_name for piece in file["vectors/a"].virtual_sources()}
    assert len(names) == 1
    assert all(name.startswith("parts/") for name in names)


def test_paths_that_are_no_utf8_are_kept(writer: StoreWriter, folder: Path) -> None:
    """The bytes of a file name come back exactly, whatever they are."""
    one = shard_rows([1], [])
    name = os.fsdecode(b"a\xff\xfe\nb c.png")
    one.contents[0] = replace(one.contents[0], file=file_of(1, name))
    writer.commit(one)
    with h5py.File(folder / "vectors.h5") as file:
        assert file["images/path"][0] == b"a\xff\xfe\nb c.png"
    assert Store(folder).paths[0] == b"a\xff\xfe\nb c.png"


def test_without_a_store_the_reader_says_so(tmp_path: Path) -> None:
    """Reading a folder that is no store, or a model that it lacks, tells what was expected."""
    with pytest.raises(StoreError, match="Expected a store"):
        Store(tmp_path)
    with StoreWriter(tmp_path / "store") as writer:
        writer.matrix(provenance("a"), "float32")
        with pytest.raises(UnknownModel, match="The store has: a"):
            writer.snapshot()["ab"]


def test_a_newer_format_is_refused_by_name(writer: StoreWriter, folder: Path) -> None:
    """A store of a newer format is refused with the version to install."""
    content = (folder / "vectors.h5").read_bytes()
    start = f"pixelmill format 1 made by {__version__} ".encode()
    assert content.startswith(start)
    (folder / "vectors.h5").write_bytes(b"pixelmill format 9 made by 9.1 " + content[len(start) :])
    with pytest.raises(StoreError, match=r"install pixelmill 9\.1"):
        Store(folder)


def test_a_lost_master_is_not_overwritten(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """Where parts lie without a master, a writer asks for `repair` instead of starting over."""
    writer.commit(shard_rows(range(3), matrices))
    (folder / "vectors.h5").unlink()
    with pytest.raises(StoreError, match="repair"):
        StoreWriter(folder)


def test_a_snapshot_stays_as_it_was(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """An opened snapshot gives the same rows after later commits and a compaction."""
    writer.commit(shard_rows(range(4), matrices))
    snapshot = Store(folder)
    writer.commit(shard_rows(range(4, 9), matrices))
    compact(writer)
    expected = np.stack([vector(sha256(n), "a", 3) for n in range(4)])
    np.testing.assert_array_equal(snapshot["a"].read(), expected)
    np.testing.assert_array_equal(np.concatenate([block for _, block in snapshot["a"].blocks(3)]), expected)
    assert len(snapshot.paths) == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_no_part(
    code: int, writer: StoreWriter, folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full or fails at any write of a commit, the snapshot stays, no part is left, and a retry works."""
    writer.commit(shard_rows(range(3), matrices))
    real, expected = os.fsync, {sha256(n): {"a": True, "b": True} for n in range(3)}
    for k in range(12):
        calls = iter(range(1000))

        def failing(descriptor: int, calls: object = calls, k: int = k) -> None:
            if next(calls) == k:  # type: ignore[call-overload]
                raise OSError(code, os.strerror(code))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            writer.commit(shard_rows(range(3, 6), matrices))
        except StoreError as error:
            assert "intact" in str(error) or "free" in str(error)  # noqa: PT017 - not every write is there to fail
            monkeypatch.setattr(os, "fsync", real)
            published = len(Store(folder))
            check_plain(folder, expected if published == 3 else {sha256(n): {"a": True, "b": True} for n in range(6)})
            assert not list(folder.rglob("*.tmp"))
            if published == 6:
                break
        else:
            break
    assert k >= 3, "several writes were made to fail"
    writer.commit(shard_rows(range(3, 6), matrices))
    check_plain(folder, {sha256(n): {"a": True, "b": True} for n in range(6)})


def test_readers_need_few_descriptors(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """Reading every column and matrix keeps no descriptor, however many parts there are."""
    for n in range(30):
        writer.commit(shard_rows([n], matrices))
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = Store(folder)
    values = [store["a"].read(), store["b"].read(), store.widths, store.sha256(), store.paths]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    del store, values


def test_an_empty_shard_is_no_commit(writer: StoreWriter) -> None:
    """Nothing to store publishes nothing."""
    before = writer.snapshot().manifest
    assert writer.commit(ShardRows()) == Committed(before)


def test_paths_of_many_blocks_move(
    writer: StoreWriter, folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locations are rewritten a block at a time; rows of untouched blocks and neighbours in a block keep theirs."""
    monkeypatch.setattr(locations, "LOCATION_BLOCK", 4)
    record_files(writer, range(18))
    writer.commit(shard_rows(range(18), matrices[:1]))
    expected = {sha256(n): path_of(n) for n in range(18)}
    for n in (2, 9, 17):
        moved = file_of(n, f"moved/{n}.png")
        writer.ledger.scans.mark_path_gone(file_of(n).absolute)
        writer.ledger.scans.record(writer.ledger.scans.begin(), [moved])
        writer.ledger.contents.record_read([(moved, n)])
        expected[sha256(n)] = moved.path
    assert writer.update_locations(range(18)) == 3
    assert writer.update_locations(range(18)) == 0
    check_plain(folder, {sha256(n): {"a": True} for n in range(18)}, paths=expected)
    compact(writer)
    check_plain(folder, {sha256(n): {"a": True} for n in range(18)}, paths=expected)
