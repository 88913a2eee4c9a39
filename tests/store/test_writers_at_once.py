"""Whole runs of several processes over one store at once: nothing is lost, nothing is there twice, nobody is blocked."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from pixelmill.report.model import RunReport
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.store import commit as committing
from pixelmill.store import master, parts
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Part
from pixelmill.store.quarantine import Quarantine
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.models import BlockMeans, spec_of
from tests.support.numbered import BROKEN, content, expected_vector, is_fact
from tests.support.stores import (
    check_aligned,
    check_parts,
    check_plain,
    known_in,
    provenance,
    read_own,
    read_plain,
    record_files,
    sha256,
    shard_rows,
)

FORK = multiprocessing.get_context("fork")
FILES = {
    "a": [0, 1, 2, 3, 4, 5],
    "b": [3, 4, 7, 8, 9, 10],
    "c": [10, 11, 12, 13, 0],
}
"""Which pictures lie in which folder, by number; some lie in two."""
WEIGHTS = hashlib.sha256(b"weights").hexdigest()
RUNS = (
    (("a", "b"), ("one",)),
    (("b", "c"), ("second",)),
    (("a",), ("one", "second")),
    (("",), ("second", "third")),
)
"""What each of the four runs takes: folders ('' is all of them, by their parent) and models."""
SECONDS = 100


def numbers_in(folders: tuple[str, ...]) -> set[int]:
    return {n for folder in folders for name, numbers in FILES.items() if folder in ("", name) for n in numbers}


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The four jobs, with stand-ins for models; parts are compacted when there are more than five, and runs do not take
    turns, as where one's lock does not reach another's machine."""
    for folder, numbers in FILES.items():
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "photos" / folder / f"{number}.png").write_bytes(content(number))
    (tmp_path / "weights").write_bytes(b"weights")
    monkeypatch.setattr("pixelmill.store.compact.PART_LIMIT", 5)
    monkeypatch.setattr("pixelmill.run.steps.turn", lambda *_: nullcontext())
    return [job(tmp_path, folders, models) for folders, models in RUNS]


def job(place: Path, folders: tuple[str, ...], models: tuple[str, ...]) -> Job:
    return Job(
        sources=tuple(str(place / "photos" / folder) for folder in folders), store=place / "store",
        specs=tuple(spec_of(model, place) for model in models), cache=CacheSpec(cache_dir=place / "cache"),
        batch_size=2, shard_size=2, device="cpu", precision="float32",
        max_pixels=10**6, max_aspect=100.0, max_bytes=10**6,
    )  # fmt: skip


def at_once(*targets: Callable[[], Any]) -> list[Any]:
    """What the targets return, each in a process of its own; all start at the same moment."""
    ready = FORK.Barrier(len(targets))
    started = [start(target, ready.wait) for target in targets]
    return [finished(*one) for one in started]


def start(target: Callable[[], Any], first: Callable[[], Any] = lambda: None) -> tuple[BaseProcess, Connection]:
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=answered, args=(target, first, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def answered(target: Callable[[], Any], first: Callable[[], Any], answer: Connection) -> None:
    torch.set_num_threads(1)  # threads of the parent's pools do not exist in this process
    first()
    answer.send(target())
    answer.close()
    os._exit(0)  # what other tests want done at the end of the parent (Prefect's threads) is not this process's to do


def finished(process: BaseProcess, answer: Connection) -> Any:
    assert answer.poll(SECONDS), "a process hangs"
    try:
        result = answer.recv()
    finally:
        process.join(SECONDS)
    assert process.exitcode == 0
    return result


def run_of(one: Job) -> Callable[[], RunReport]:
    return lambda: run(one)


def check_collection(store: Path) -> None:
    """The store holds each content once, of each model exactly what its runs were given, and the facts of all that can
    be decoded, row for row."""
    numbers = {hashlib.sha256(content(n)).digest(): n for n in numbers_in(("",))}
    wanted = {
        model: set().union(*(numbers_in(f) for f, models in RUNS if model in models)) for _, ms in RUNS for model in ms
    }

    def vector_of(row: bytes, model: str, _: int) -> np.ndarray:
        return expected_vector(numbers[row], model, WEIGHTS)

    for columns in (read_plain(store), read_own(Store(store))):
        rows = check_aligned(columns, vector_of, is_fact)
        assert set(rows) == set(numbers)
        for name in ("format", "bytes", "sharpness"):
            assert known_in(columns[f"columns/{name}"]) == [numbers[row] not in BROKEN for row in rows]
        for model, given in wanted.items():
            embedded = {numbers[rows[i]] for i in np.flatnonzero(np.isfinite(columns[f"vectors/{model}"]).all(axis=1))}
            assert embedded == given - BROKEN
    assert verify(store) == []


def check_again(jobs: list[Job]) -> None:
    """Doing it all again makes no model call and finds nothing new."""
    before = BlockMeans.seen
    for one in jobs:
        counts = run(one).images
        assert (counts.new, counts.changed, counts.moved, counts.duplicate, counts.removed) == (0, 0, 0, 0, 0)
    assert BlockMeans.seen == before


def test_four_whole_runs_at_once(jobs: list[Job]) -> None:
    """Four runs over overlapping sources and models, the store being new, end as if each had been alone: every content
    has one row, every cell its vector, every part file is named, each new image was told, and nothing is left to do."""
    reports = at_once(*map(run_of, jobs))
    for (folders, _), report in zip(RUNS, reports, strict=True):
        assert all(model.pending == 0 for model in report.models.values())
        assert report.images.quarantined == len(numbers_in(folders) & BROKEN)
    assert sum(report.images.new for report in reports) >= len(numbers_in(("",)))
    check_parts(jobs[0].store)
    check_collection(jobs[0].store)
    check_again(jobs)


PLACES: Mapping[str, tuple[Any, str]] = {
    "before vectors.h5": (master, "master_bytes"),
    "before manifest.json": (master, "sealed"),
    "inside ledger": (Quarantine, "record"),
}


@pytest.mark.parametrize(
    "place", ["before vectors.h5", *(pytest.param(place, marks=pytest.mark.slow) for place in list(PLACES)[1:])]
)
def test_a_run_killed_while_it_holds_the_lock(place: str, jobs: list[Job]) -> None:
    """Three runs wait for one that holds the lock in the midst of a commit; it is killed with SIGKILL, and they go on
    at once. The next run does what it left."""
    store, held = jobs[0].store, FORK.Event()
    victim, _ = start(lambda: run_and_hold(jobs[3], place, held))
    assert held.wait(SECONDS)
    rows = len(Store(store))
    others = [start(run_of(one)) for one in jobs[:3]]
    time.sleep(1)
    assert all(process.is_alive() for process, _ in others)
    assert len(Store(store)) == rows
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    killed = time.monotonic()
    for one in others:
        finished(*one)
    assert time.monotonic() - killed < SECONDS
    run(jobs[3])
    check_collection(store)
    with StoreWriter(store) as writer:
        for orphan in (*(store / "parts").iterdir(), *store.rglob(".*.tmp")):
            os.utime(orphan, (time.time() - 2 * 24 * 3600,) * 2)
        compact(writer)
    check_parts(store)
    check_collection(store)
    check_again(jobs)


def run_and_hold(one: Job, place: str, held: Any) -> None:
    """A run that stops for good at a place within its eighth snapshot, or its second commit to the ledger."""
    owner, name = PLACES[place]
    original, calls = getattr(owner, name), []

    def stop(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == (2 if owner is Quarantine else 8):
            held.set()
            time.sleep(10 * SECONDS)
        return original(*arguments)

    with mock.patch.object(owner, name, stop):
        run(one)


def test_four_processes_make_one_store(folder: Path) -> None:
    """Four processes that make the same new store at the same moment, and commit at once, make one; again and again."""
    for _ in range(3):
        ids = at_once(*(lambda own=own: first_commit(folder, own) for own in range(4)))
        assert len(set(ids)) == 1
        check_plain(folder, {sha256(n): {"a": True} for n in (0, 1, 10, 11, 12, 13)})
        check_parts(folder)
        with StoreWriter(folder) as writer:
            assert writer.ledger.changes().new == 6
        shutil.rmtree(folder)


def first_commit(folder: Path, own: int) -> str:
    with StoreWriter(folder) as writer:
        numbers = [0, 1, 10 + own]
        matrix = writer.matrix(provenance("a"), "float32")
        record_files(writer, numbers)
        return writer.commit(shard_rows(numbers, [matrix])).manifest.store_id


def test_a_writer_that_slept_for_days(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that sleeps for days between writing a part and naming it (a laptop's lid, SIGSTOP) may find that a
    compaction has deleted the part: it writes it again, and publishes nothing that is not there."""
    write_part = parts.write_part

    def slept(folder_of_parts: Path, datasets: Any) -> Part:
        part = write_part(folder_of_parts, datasets)
        monkeypatch.setattr(committing, "write_part", write_part)
        os.utime(folder_of_parts / part.file, (time.time() - 3 * 24 * 3600,) * 2)
        with StoreWriter(folder) as other:
            assert compact(other).deleted == 1
        return part

    with StoreWriter(folder) as writer:
        matrix = writer.matrix(provenance("a"), "float32")
        monkeypatch.setattr(committing, "write_part", slept)
        writer.commit(shard_rows(range(3), [matrix]))
    check_plain(folder, {sha256(n): {"a": True} for n in range(3)})
    check_parts(folder)
    assert verify(folder) == []
