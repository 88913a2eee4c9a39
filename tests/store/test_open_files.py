"""A store of many parts in a process that may have few files open: it is read whole, or refused in words."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pixelmill.descriptors import admit_files
from pixelmill.errors import StoreError
from pixelmill.store.column_writer import begin
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.export import export
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.stores import (
    check_aligned,
    facts_group,
    join_tags,
    known_in,
    provenance,
    read_own,
    record_files,
    rounds_of,
    shard_rows,
)

PARTS = 25


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of that many parts."""
    folder = tmp_path_factory.mktemp("many") / "store"
    with StoreWriter(folder) as writer:
        matrices, facts = matrices_of(writer), begin(writer, facts_group())
        record_files(writer, range(PARTS))
        for number in range(PARTS):
            writer.commit(shard_rows([number], matrices, facts=facts))
        join_tags(writer, 1)
    assert len(Store(folder).manifest.used_parts()) == PARTS + 1
    return folder


@pytest.fixture
def many(made: Path, folder: Path) -> Path:
    return Path(shutil.copytree(made, folder))


def matrices_of(writer: StoreWriter) -> list[Matrix]:
    return [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]


def limited(do: Callable[[], object], spare: int) -> None:
    """Do something in a process of its own that has `spare` descriptors left."""

    def child() -> None:
        limit = len(list(Path("/proc/self/fd").iterdir())) + spare
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(limit)]  # no gaps among the numbers
        for descriptor in taken[-spare:] if spare else ():
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, max(taken) + 1))
        do()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_many_parts_are_read_with_few_descriptors(many: Path, tmp_path: Path) -> None:
    """Reader, verify, export and a compaction need a dozen descriptors, whatever the number of parts; each row is the
    right one, none is filled with NaN for want of a file."""

    def use() -> None:
        store = Store(many)
        columns = read_own(store)
        assert len(check_aligned(columns)) == PARTS
        assert not any(np.isnan(columns[f"vectors/{model}"]).any() for model in "ab")
        assert all(known_in(columns["columns/light"]))
        assert rounds_of(columns) == [1] * PARTS
        assert verify(many) == []
        assert export(store, store.concatenated(["a", "b"]), tmp_path / "out.npy").shape == (PARTS, 8)
        with StoreWriter(many) as writer:
            assert compact(writer).parts_after == 1
            assert len(check_aligned(read_own(writer.snapshot()))) == PARTS

    limited(use, spare=16)


def test_no_descriptor_at_all_is_no_damage(many: Path) -> None:
    """Without a descriptor left, nothing is taken for damaged, least of all by repair, which drops what is."""

    def use() -> None:
        for try_it in (verify, repair, Store, lambda _: opened["a"].read(), lambda _: opened.columns["tag"]):
            with pytest.raises(StoreError, match="Too many open files"):
                try_it(many)

    opened = Store(many)
    before = sorted(path.name for path in (many / "parts").iterdir())
    limited(use, spare=0)
    assert sorted(path.name for path in (many / "parts").iterdir()) == before
    assert verify(many) == []


@pytest.mark.parametrize("spare", range(1, 12))
def test_few_descriptors_cost_nothing_that_is_stored(spare: int, many: Path) -> None:
    """However few there are, a commit and a repair are done, or end in words and leave the store as it was."""

    def use() -> None:
        for try_it in (_commit, repair):
            with suppress(StoreError):
                try_it(many)

    def _commit(folder: Path) -> None:
        with StoreWriter(folder) as writer:
            writer.commit(shard_rows([PARTS], matrices_of(writer)))

    limited(use, spare)
    assert verify(many) == []
    assert len(Store(many)) >= PARTS
    assert not np.isnan(Store(many)["a"].read()).any()


def test_a_command_takes_the_descriptors_that_it_may_have() -> None:
    """The soft limit is raised to the hard one; a high one is left alone."""

    def use() -> None:
        for soft, hard, wanted in ((100, 200, 200), (150, 150, 150)):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            admit_files()
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)

    process = multiprocessing.get_context("fork").Process(target=use)
    process.start()
    process.join()
    assert process.exitcode == 0
