"""Files come, change, move, are touched and go between runs; runs die, are cut off and pass others, clocks jump, stores are
put back from backups. A plain dict says what each run must count and store, and plain h5py what the store holds."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from pixelmill.forgetting.chosen import Which
from pixelmill.forgetting.forget import forget
from pixelmill.joining.table import Table
from pixelmill.report.model import RunReport
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.scan import scan_sources
from pixelmill.run.steps import run
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.reader import Store
from pixelmill.store.rows import KINDS
from pixelmill.store.verify import verify
from tests.support.crash import crashing
from tests.support.models import BlockMeans, spec_of
from tests.support.numbered import BROKEN, NUMBER_OF, OTHERS, content, expected_vector, is_fact
from tests.support.stores import Columns, VectorOf, check_aligned, known_in, read_plain

PATHS = st.sampled_from(NAMES := ["a.png", "b.png", "sub/c.png", "sub/d.png", "z.png"])
CONTENTS = st.integers(0, 6)
MODELS = st.sampled_from([("one",), ("second",), ("one", "second")])
FACTS = st.sampled_from([None, None, True, False])
"""Whether a run is asked for facts, asked for none, or does as the store has it."""
STORE_STEPS, COMPACT_STEPS, FORGET_STEPS = 98, 24, 24
"""A run of this machine takes at most so many durable steps, and a compaction, and forgetting most of its own."""
FORGOTTEN = -1


@dataclass
class Held:
    """What a store holds: contents by number, those that each generation (model, weights) embedded, which is served; those
    that have facts, if the store has begun with them."""

    known: set[int] = field(default_factory=set)
    done: defaultdict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    served: dict[str, str] = field(default_factory=dict)
    facts: set[int] | None = None

    @property
    def all(self) -> tuple[object, ...]:
        """To compare: a generation that has embedded nothing is none."""
        return self.known, {key: contents for key, contents in self.done.items() if contents}, self.served, self.facts

    def begins(self, facts: bool | None, seen: bool) -> bool:
        """Whether a run has facts in the store, when it has seen images: it has them already, is asked for them, or the
        store is new."""
        return self.facts is not None or (seen and (facts or (facts is None and not self.known)))


@dataclass
class Known:
    """What the store knows of the folders: it goes back in time with the store."""

    held: Held = field(default_factory=Held)
    told: dict[str, int] = field(default_factory=dict)
    """The photos at the end of the last whole run over them."""
    steady: set[str] = field(default_factory=set)
    """Those of them that have held the same since."""
    others: set[int] = field(default_factory=set)
    """The files of the other folder at the end of the last run over it."""
    settled: set[int] = field(default_factory=set)
    """The contents that were known at the end of the last whole run."""
    unfinished: bool = False
    """Whether a run that died, or was cut off, has seen photos since."""
    counted: Counter[str] | None = None
    """What others have told of the photos since the last whole run over them; None if they had no reason to."""
    changed: bool = False
    """Whether photos came, changed or went since others told of some."""

    def without(self, numbers: set[int]) -> Known:
        """The same, but for some contents."""
        held, told = self.held, {path: number for path, number in self.told.items() if number not in numbers}
        done = {key: contents - numbers for key, contents in held.done.items()}
        facts = None if held.facts is None else held.facts - numbers
        known = Held(held.known - numbers, defaultdict(set, done), held.served, facts)
        return replace(self, held=known, told=told, steady=self.steady & told.keys(), settled=self.settled - numbers)


class Collection(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.photos, self.store = self.folder / "photos", self.folder / "store"
        self.other, self.copy = self.folder / "other", self.folder / "backup"
        self.photos.mkdir()
        self.other.mkdir()
        self.ahead = 0.0
        real = time.time
        self.patches = ExitStack()
        self.patches.enter_context(mock.patch("time.time", side_effect=lambda: real() + self.ahead))
        self.clock = 10**18
        self.files: dict[str, int] = {}
        self.others: set[int] = set()
        self.known = Known()
        self.backup: Known | None = None
        self.round = 0
        self.train(0)
        self.relabel()

    def teardown(self) -> None:
        self.patches.close()
        shutil.rmtree(self.folder)

    @rule(number=st.integers(0, 1))
    def train(self, number: int) -> None:
        """Other weights, for all models: the next runs fill another generation."""
        file = self.folder / "weights"
        file.write_bytes(b"weights %d" % number)
        self.touch(file)
        self.weights = hashlib.sha256(file.read_bytes()).hexdigest()

    @rule()
    def relabel(self) -> None:
        """Another label for every content, in the table that each run joins."""
        self.round += 1
        lines = [f"{sha256.hex()},{label(number, self.round)}" for sha256, number in NUMBER_OF.items()]
        file = self.folder / "labels.csv"
        file.write_text("\n".join(["sha256,label", *lines]))
        self.touch(file)

    def touch(self, file: Path, since: int = 0) -> None:
        self.clock += 1
        os.utime(file, ns=(self.clock + since, self.clock + since))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), since=st.sampled_from([0, 10**17, -(10**17), -(10**18)]))
    def restore_times(self, data: st.DataObject, since: int) -> None:
        """Other times for the same bytes, later or earlier ones: `touch`, a restored backup, rsync without -t."""
        for path in data.draw(st.sets(st.sampled_from(sorted(self.files)), min_size=1)):
            self.touch(self.photos / path, since)

    @rule(seconds=st.sampled_from([-3e8, -90_000.0, 90_000.0, 3e8]))
    def jump(self, seconds: float) -> None:
        """The machine's clock is put right, or wrong."""
        self.ahead += seconds

    @precondition(lambda self: (self.store / "ledger.sqlite").exists())
    @rule()
    def back_up(self) -> None:
        """Copy the whole store."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.store, self.copy)
        self.backup = deepcopy(self.known)

    @precondition(lambda self: self.backup)
    @rule()
    def put_back(self) -> None:
        """Put the whole store back: it knows what it knew then, and the photos are what they are now."""
        shutil.rmtree(self.store)
        shutil.copytree(self.copy, self.store)
        self.known = deepcopy(self.backup or Known())
        self.known.changed = True
        self.known.steady = {path for path in self.known.steady if self.files.get(path) == self.known.told[path]}
        self.check_store(paths=False)

    def becomes(self, path: str, number: int | None) -> None:
        """A photo holds another content now, or is gone."""
        self.known.changed |= self.files.get(path) != number
        if self.files.get(path) != number:
            self.known.steady.discard(path)
        if number is None:
            del self.files[path]
        else:
            self.files[path] = number

    @rule(path=PATHS, number=CONTENTS)
    def write(self, path: str, number: int) -> None:
        """Add a file, change it, or write the same content again."""
        file = self.photos / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content(number))
        self.touch(file)
        self.becomes(path, number)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=PATHS, copy=st.booleans())
    def move_or_copy(self, data: st.DataObject, to: str, copy: bool) -> None:
        """To a free name or over another file, keeping the times, as `mv` and `cp -p` do."""
        source = data.draw(st.sampled_from(sorted(self.files)))
        if source == to:
            return
        (self.photos / to).parent.mkdir(exist_ok=True)
        (shutil.copy2 if copy else os.replace)(self.photos / source, self.photos / to)
        self.becomes(to, self.files[source])
        if not copy:
            self.becomes(source, None)

    def rename(self, source: str, to: str) -> None:
        (self.photos / source).rename(self.photos / to)
        self.becomes(to, self.files[source])
        self.becomes(source, None)

    def remove(self, path: str) -> None:
        (self.photos / path).unlink()
        self.becomes(path, None)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.remove(data.draw(st.sampled_from(sorted(self.files))))

    @precondition(lambda self: self.store.exists())
    @rule(step=st.none() | st.integers(0, COMPACT_STEPS))
    def compact(self, step: int | None) -> None:
        """A compaction changes nothing that is read, nor does one that dies at any step."""
        with crashing(step), StoreWriter(self.store) as writer:
            compact(writer, retention=0)
        self.check_store()

    @precondition(lambda self: self.known.told and not self.known.unfinished and self.known.counted is None)
    @rule(numbers=st.sets(CONTENTS, min_size=1, max_size=2), step=st.none() | st.integers(0, FORGET_STEPS))
    def forget(self, numbers: set[int], step: int | None) -> None:
        """Contents are forgotten, at once or when the next one ends what died: nothing else changes. A file that holds
        one still counts as new for the next run, and is embedded again."""
        rows = [row for row, number in enumerate(numbers_of(read_plain(self.store))) if number in numbers]
        which, thumbnails = Which(f"row IN ({', '.join(map(str, rows or [-1]))})"), self.folder / "thumbnails"
        with crashing(step):
            forget(self.store, which, thumbnails=thumbnails)
        forget(self.store, None, thumbnails=thumbnails)
        if numbers.isdisjoint(numbers_of(read_plain(self.store))):
            self.known = self.known.without(numbers)
        self.check_store(paths=False)

    # An empty folder counts as not mounted: what a run that died saw in it stays, which the dict does not tell.
    @precondition(lambda self: self.files or not self.known.unfinished)
    @rule(models=MODELS, facts=FACTS)
    def run(self, models: tuple[str, ...], facts: bool | None = None) -> None:
        """The report counts what the dict says, the store holds it, and nothing is embedded, made or joined twice."""
        before = BlockMeans.seen
        report = run(self.job(models, facts))
        embedded = self.check_report(report, models)
        assert BlockMeans.seen - before == embedded + checked(report)
        self.check_facts(report, facts)
        self.finish(models, facts)

    @precondition(lambda self: self.files)
    @rule(models=MODELS, after=st.integers(0, 6))
    def cut_off(self, models: tuple[str, ...], after: int) -> None:
        """A run whose deadline comes after so many photos: what it has embedded stays, what waits is pending, and no
        photo that is what it was loses its path."""
        asked = iter(range(after))
        with mock.patch("pixelmill.run.worker.past", side_effect=lambda _deadline: next(asked, None) is None):
            before, seen = self.known.held, BlockMeans.seen
            report = run(self.job(models).model_copy(update={"deadline": 1e12}))
        self.known.held = self.read(read_plain(self.store))
        self.check_between(before, models)
        embedded = sum(model.embedded for model in report.models.values())
        assert BlockMeans.seen - seen == embedded + checked(report)
        for model, made in report.models.items():
            waiting = self.good() - self.known.held.done[model, self.weights]
            assert len(waiting) <= made.pending <= len(self.files)
        self.count(report, of_others=0)
        self.known.unfinished = True
        self.check_store(paths=False)

    @precondition(lambda self: self.store.exists() and len(self.others) < len(OTHERS))
    @rule(models=MODELS, more=st.integers(0, 2), during=st.booleans())
    def run_over_another_folder(self, models: tuple[str, ...], more: int, during: bool) -> None:
        """A whole run over the other folder, also while one over the photos has just looked at them and dies then."""
        for number in OTHERS[len(self.others) : len(self.others) + more]:
            (self.other / f"{number}.png").write_bytes(content(number))
            self.others.add(number)
        if during and self.files:
            with StoreWriter(self.store) as writer:
                scan_sources(writer.ledger, [str(self.photos)])
                report = self.over_another_folder(models)
            self.known.unfinished = True
        else:
            report = self.over_another_folder(models)
        self.count(report, of_others=len(self.others - self.known.others))
        self.known.others |= self.others
        self.check_store(paths=False)

    def over_another_folder(self, models: tuple[str, ...]) -> RunReport:
        job = self.job(models).model_copy(update={"sources": (str(self.other),)})
        before, seen = self.known.held, BlockMeans.seen
        report = run(job)
        self.known.held = held = self.read(read_plain(self.store))
        assert held.known == before.known | self.others
        begun = before.begins(None, bool(self.others))
        assert held.facts == ((before.facts or set()) | self.others if begun else None)
        for key in {*before.done, *held.done}:
            assert held.done[key] == before.done[key] | (self.others if key in self.generations(models) else set())
        self.check_served(before, self.steady_contents() | self.others)
        missing = sum(len(self.others - before.done[key]) for key in self.generations(models))
        assert BlockMeans.seen - seen == missing + checked(report)
        return report

    def count(self, report: RunReport, *, of_others: int) -> None:
        """Take in what a run has told of the photos that was not a whole one over them."""
        told = Counter({kind: getattr(report.images, kind) for kind in KINDS})
        told["new"] -= of_others
        assert min(told.values()) >= 0
        if self.known.counted is None and any(told.values()):
            self.known.counted, self.known.changed = Counter(), False
        if self.known.counted is not None:
            self.known.counted += told

    def steady_contents(self) -> set[int]:
        return {self.known.told[path] for path in self.known.steady}

    @precondition(lambda self: self.files or not self.known.unfinished)
    @rule(models=MODELS, step=st.integers(0, STORE_STEPS), facts=FACTS)
    def die(self, models: tuple[str, ...], step: int, facts: bool | None = None) -> None:
        """A run that dies at any step leaves a sound store, somewhere between what was there and what it would have
        made; what it has stored is not embedded again, and it takes nothing from the counts of the next."""
        before = self.known.held
        report = None
        with crashing(step) as steps:
            report = run(self.job(models, facts))
        if report:
            assert not steps.died
            self.check_report(report, models)
            self.check_facts(report, facts)
            self.finish(models, facts)
            return
        for _ in range(2):  # as it lies there; and when the next writer has published to the end what was begun
            if (self.store / "vectors.h5").exists():
                self.known.held = self.read(read_plain(self.store))
            self.check_between(before, models)
            StoreWriter(self.store).close()
        self.known.unfinished |= bool(self.files)
        self.check_store(paths=False)

    def check_between(self, before: Held, models: tuple[str, ...]) -> None:
        assert before.known <= self.known.held.known <= before.known | set(self.files.values())
        if before.facts is not None:
            assert self.known.held.facts is not None
            assert before.facts <= self.known.held.facts
        assert (self.known.held.facts or set()) <= (before.facts or set()) | self.good()
        for key in {*before.done, *self.known.held.done}:
            most = before.done[key] | (self.good() if key in self.generations(models) else set())
            assert before.done[key] <= self.known.held.done[key] <= most
        self.check_served(before, set(self.files.values() or self.known.told.values()) | self.known.others)

    def check_served(self, before: Held, live: set[int]) -> None:
        """A generation that took over has all of what is live that the one before it had."""
        for model in {*before.served, *self.known.held.served}:
            now = self.known.held.served[model]
            assert now in (before.served.get(model), self.weights)
            if model in before.served:
                assert before.done[model, before.served[model]] & live <= self.known.held.done[model, now]

    def generations(self, models: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(model, self.weights) for model in models]

    def good(self) -> set[int]:
        """The contents that are there now and can be decoded."""
        return set(self.files.values()) - BROKEN

    def is_complete(self, model: str, held: Held) -> bool:
        """Whether the generation of these weights has what is served of the files that are there."""
        live = set(self.files.values() or self.known.told.values()) | self.known.others
        return held.done[model, held.served[model]] & live <= self.known.held.done[model, self.weights]

    def check_report(self, report: RunReport, models: tuple[str, ...]) -> int:
        """The counts are those of the dict; returns how many vectors were made."""
        self.check_counts(report)
        wanted = {key[0]: self.good() - self.known.held.done[key] for key in self.generations(models)}
        for model, contents in wanted.items():
            assert (model in report.models) >= bool(contents)
            if model in report.models:
                assert report.models[model].embedded == len(contents)
                assert report.models[model].pending == 0
                live = set((self.files or self.known.told).values()) | self.known.others
                covered = live & (self.known.held.done[model, self.weights] | self.good())
                if contents or self.known.held.done[model, self.weights]:  # else it has no matrix of these weights
                    coverage = report.coverage[report.models[model].dataset]
                    assert coverage == (len(covered) / len(live) if live else 0.0)
        return sum(map(len, wanted.values()))

    def check_facts(self, report: RunReport, facts: bool | None) -> None:
        """Those are made that the store lacks of the files that are there, and no others."""
        held = self.known.held
        if facts is False or not held.begins(facts, bool(self.files)):
            assert report.facts is None
        elif report.facts:
            assert (report.facts.made, report.facts.pending) == (len(self.good() - (held.facts or set())), 0)

    def check_counts(self, report: RunReport) -> None:
        """As the dict says; if others have told of a part since, all together. They cannot know whether what waits is
        what it was, and so take for a copy what may turn out to have moved."""
        expected, counted = self.expected_counts(), self.known.counted
        if counted is None:
            assert report.images.model_dump() == expected
            folders = {str(count.folder): {kind: getattr(count, kind) for kind in KINDS} for count in report.folders}
            assert folders == self.expected_folders()
        elif not self.known.changed:
            total = counted + Counter({kind: getattr(report.images, kind) for kind in KINDS})
            assert (total["new"], total["changed"]) == (expected["new"], expected["changed"])
            assert total["moved"] + total["duplicate"] == expected["moved"] + expected["duplicate"]
            assert expected["removed"] <= total["removed"] <= expected["removed"] + expected["moved"]

    def finish(self, models: tuple[str, ...], facts: bool | None) -> None:
        """A run came to its end: the dict takes in what it has done, and the store holds that; of each file that is
        there it has the label that the table says now."""
        if self.known.held.begins(facts, bool(self.files)):
            self.known.held.facts = (self.known.held.facts or set()) | (set() if facts is False else self.good())
        self.known.held.known |= set(self.files.values())
        for model, weights in self.generations(models):
            self.known.held.done[model, weights] |= self.good()
            if model not in self.known.held.served and self.files:
                self.known.held.served[model] = weights
            if model in self.known.held.served and self.has_matrix(model) and self.is_complete(model, self.known.held):
                self.known.held.served[model] = weights
        if self.files or not self.known.told:
            self.known.told = dict(self.files)
            self.known.counted, self.known.steady = None, set(self.known.told)
        self.known.settled, self.known.unfinished = set(self.known.held.known), False
        self.check_store()
        if self.files:
            columns = read_plain(self.store)
            labels = dict(zip(numbers_of(columns), columns["columns/label"].tolist(), strict=True))
            for number in {*self.files.values()} & labels.keys():
                assert labels[number].decode() == label(number, self.round)

    def has_matrix(self, model: str) -> bool:
        made = [m.provenance for m in Store(self.store).manifest.matrices]
        return any(p.model == model and p.weights_sha256 == self.weights for p in made)

    def expected_counts(self) -> dict[str, int]:
        counts = dict.fromkeys(("seen", *KINDS, "quarantined"), 0)
        if self.known.told and not self.files:
            return counts
        for kind, _ in self.expected_events():
            counts[kind] += 1
        counts["seen"] = len(self.files)
        counts["quarantined"] = sum(number in BROKEN for number in self.files.values())
        return counts

    def expected_folders(self) -> dict[str, dict[str, int]]:
        """The same counts by folder."""
        folders: dict[str, dict[str, int]] = {}
        for kind, path in self.expected_events():
            counts = folders.setdefault(str((self.photos / path).parent), dict.fromkeys(KINDS, 0))
            counts[kind] += 1
        return folders

    def expected_events(self) -> list[tuple[str, str]]:
        """What happened to which path."""
        now, told = self.files, self.known.told
        if told and not now:
            return []
        events = [("changed", path) for path in now if path in told and now[path] != told[path]]
        gone = sorted(path for path in told if path not in now)
        for number in sorted(set(now.values())):
            arrivals = sorted(path for path in now if now[path] == number and path not in told)
            if not arrivals:
                continue
            if any(now[path] == number for path in now if path in told):
                events += [("duplicate", path) for path in arrivals]
                continue
            events += [("duplicate", path) for path in arrivals[1:]]
            events.append(("moved" if number in self.known.settled else "new", arrivals[0]))
            moved = [path for path in gone if told[path] == number] if number in self.known.settled else []
            gone = [path for path in gone if path not in moved[:1]]
        return events + [("removed", path) for path in gone]

    def check_store(self, *, paths: bool = True) -> None:
        """Plain h5py finds each content once, its vectors right and NaN elsewhere, and its path where it is now."""
        if not (self.store / "ledger.sqlite").exists():  # died before there was one
            return
        assert verify(self.store) == []
        columns = read_plain(self.store)
        assert self.read(columns).all == self.known.held.all
        for number, path in zip(numbers_of(columns), columns["images/path"], strict=True):
            if number in OTHERS or number in self.steady_contents():
                assert path, "a file that is what it was has lost its path"
            holders = [holder for holder in self.known.told if self.known.told[holder] == number]
            if paths and not self.known.unfinished and number not in OTHERS:
                assert os.fsdecode(path) in (holders or [""])

    def read(self, columns: Columns) -> Held:
        """What the store holds, by plain h5py; every row of every generation is checked."""
        held = Held(set(numbers_of(columns)) - {FORGOTTEN})
        images = {name: values for name, values in columns.items() if name.startswith("images/")}
        for matrix in Store(self.store).manifest.matrices:
            made, values = matrix.provenance, columns[matrix.published_name]
            check_aligned({**images, matrix.published_name: values}, vector_by(made.weights_sha256))
            embedded = np.flatnonzero(np.isfinite(values).all(axis=1))
            held.done[made.model, made.weights_sha256] = {numbers_of(columns)[row] for row in embedded}
            if matrix.serving:
                held.served[made.model] = made.weights_sha256
        values = {name: of for name, of in columns.items() if name.startswith("columns/")}
        check_aligned({**images, **values}, fits=self.fits)
        if "columns/bytes" in columns:
            made = [columns[f"columns/{name}"] for name in ("bytes", "format", "sharpness", "entropy")]
            (filled,) = {tuple(known_in(values)) for values in made}
            held.facts = {number for number, has in zip(numbers_of(columns), filled, strict=True) if has}
        return held

    def fits(self, row: bytes, name: str, value: object) -> bool:
        """Whether a column may say that of a picture; a label, that of some round."""
        if name == "label":
            return value in {label(NUMBER_OF[row], number).encode() for number in range(1, self.round + 1)}
        return is_fact(row, name, value)

    def job(self, models: tuple[str, ...], facts: bool | None = None) -> Job:
        specs: list[Any] = [spec_of(name, self.folder) for name in models]
        return Job(
            sources=(str(self.photos),), store=self.store, specs=tuple(specs), batch_size=2, shard_size=2,
            cache=CacheSpec(cache_dir=self.folder / "cache"), device="cpu", precision="float32",
            max_pixels=10**6, max_aspect=100.0, max_bytes=10**6, facts=facts,
            tables=(Table(path=str(self.folder / "labels.csv"), key="sha256"),),
        )  # fmt: skip


def label(number: int, round_number: int) -> str:
    """What the table says of a content in a round."""
    return f"{number} in round {round_number}"


def checked(report: RunReport) -> int:
    """How many images a run embedded again to compare."""
    return sum(check.compared for check in report.self_check.values())


def numbers_of(columns: Columns) -> list[int]:
    """The content of each row, by its number; FORGOTTEN where there is none any more."""
    return [NUMBER_OF.get(row.tobytes(), FORGOTTEN) for row in columns["images/sha256"]]


def vector_by(weights: str) -> VectorOf:
    return lambda sha256, model, _: expected_vector(NUMBER_OF[sha256], model, weights)


TestCollection = Collection.TestCase
TestCollection.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestCollectionForLong(Collection.TestCase):  # type: ignore[name-defined, misc, valid-type, unused-ignore]
    """The same, over many more and longer histories."""

    settings = settings(max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def night() -> Iterator[Collection]:
    """Files came, changed, moved, were copied and deleted since the last run, and the weights are new."""
    night = Collection()
    for number, path in enumerate(NAMES[:4]):
        night.write(path, number)
    night.run(("one",))
    night.train(1)
    night.rename("a.png", "moved.png")
    night.remove("b.png")
    night.write("sub/c.png", 4)
    night.write("z.png", 5)
    night.write("copy.png", 3)
    night.relabel()
    yield night
    night.teardown()


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=[pytest.mark.slow] if step % 10 else []) for step in range(STORE_STEPS)]
)
def test_a_night_that_dies_is_counted_once(step: int, night: Collection) -> None:
    """A run that dies at this step takes nothing from what the next one counts, which embeds only what is missing; and
    the one after that does nothing."""
    counts = night.expected_counts()
    assert [counts[kind] for kind in KINDS] == [1] * 5
    night.die(("one", "second"), step)
    assert not night.known.unfinished or night.expected_counts() == counts
    night.run(("one", "second"))
    assert [night.expected_counts()[kind] for kind in KINDS] == [0] * 5
    before, revision = BlockMeans.seen, Store(night.store).manifest.revision
    night.run(("one", "second"))
    assert (BlockMeans.seen, Store(night.store).manifest.revision) == (before, revision)


def test_facts_that_are_asked_for_later_come_through_deaths() -> None:
    """A store that was begun without facts has none until a run is asked for them; should that die while it makes them,
    the next one makes the others, and calls no model."""
    night = Collection()
    for number, path in enumerate(NAMES):
        night.write(path, number)
    night.run(("one",), False)
    night.run(("one",))
    assert night.known.held.facts is None
    seen = BlockMeans.seen
    for step in range(0, 60, 12):
        night.relabel()
        night.die(("one",), step, True)
        night.run(("one",), False)
    night.run(("one",), True)
    assert night.known.held.facts == night.good()
    assert BlockMeans.seen == seen
    night.teardown()


def test_a_night_has_no_more_steps(night: Collection) -> None:
    """The run of the test above takes no more steps than were tried."""
    with crashing(None) as steps:
        night.run(("one", "second"))
    assert 30 < steps.count <= STORE_STEPS


def test_a_new_photo_that_was_stored_but_never_told_of_is_new_when_it_is() -> None:
    """A run stores it and dies, it is touched, another run over another folder comes to its end: it has not moved."""
    night = Collection()
    night.write("a.png", 0)
    night.die(("one",), 70)
    night.touch(night.photos / "a.png")
    night.write("sub/c.png", 5)
    night.die(("one",), 18)
    night.run_over_another_folder(during=False, models=("one",), more=0)
    report = run(night.job(("one",)))
    assert (report.images.new, report.images.moved) == (1, 0)
    night.teardown()


def test_a_touched_photo_keeps_its_path_through_all_that_may_come_before_it_is_read(night: Collection) -> None:
    """The steps that the machine takes at random, once for sure: touched photos, a deadline, a run over another folder, a
    store put back, and a whole run in the end, which tells nothing."""
    night.run(("one",))
    night.back_up()
    for path in night.files:
        night.touch(night.photos / path, -(10**17))
    night.cut_off(("one", "second"), 0)
    night.run_over_another_folder(("one",), 2, True)
    night.cut_off(("one",), 2)
    night.put_back()
    night.jump(-3e8)
    night.run_over_another_folder(("one",), 1, False)
    night.run(("one",))
    assert [night.expected_counts()[kind] for kind in KINDS] == [0] * 5


def test_a_check_from_before_the_clock_was_put_back_is_not_tonights(night: Collection) -> None:
    """A run that embeds nothing compares nothing, and says so, though a check of the future is on record."""
    night.run(("one",))
    night.write("new.png", 0)
    night.run(("one",))
    night.jump(-3e8)
    night.run(("one",))


def test_a_copy_of_a_touched_photo_is_embedded_with_it() -> None:
    """A photo waits to be read again, and a copy of it in another shard to be read at all: one new model takes it once."""
    night = Collection()
    night.write("b.png", 0)
    night.write("sub/c.png", 1)
    night.run(("one",))
    night.touch(night.photos / "b.png")
    shutil.copy2(night.photos / "b.png", night.photos / "z.png")
    night.becomes("z.png", 0)
    night.run(("second",))
    night.teardown()
