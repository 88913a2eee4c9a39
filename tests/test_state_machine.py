"""Files come, change, move and go between runs, and runs die; a plain dict says what each must count and store."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.preprocess import Preprocessing, normalize, pixels
from pixelmill.job import CacheSpec, Job
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.report.model import RunReport
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.folders import KINDS
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.crash import crashing
from tests.support.library_run import run
from tests.support.stores import Columns, VectorOf, check_aligned, read_plain

PATHS = st.sampled_from(NAMES := ["a.png", "b.png", "sub/c.png", "sub/d.png", "z.png"])
CONTENTS = st.integers(0, 6)
MODELS = st.sampled_from([("one",), ("second",), ("one", "second")])
BROKEN = {5, 6}
"""The contents that cannot be decoded."""
STORE_STEPS, COMPACT_STEPS = 56, 16
"""A run of this machine takes at most so many durable steps, and a compaction."""


class BlockMeans(EmbeddingModel):
    """The mean colour of each quarter of the picture, times a factor of its own that follows from name and weights: 12
    dims. Counts what it is given."""

    seen = 0

    def __init__(self, spec: ModelSpec, sha256: str) -> None:
        half = (0.5, 0.5, 0.5)
        upstream = Compose([Resize(8), CenterCrop(8), ToTensor(), Normalize(half, half)])
        super().__init__(spec, torch.nn.Identity(), Preprocessing(8, 8, half, half), upstream, weights_sha256=sha256)

    @property
    def factor(self) -> float:
        return len(self.spec.name) + int(self.weights_sha256[:2] or "0", 16) / 64

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        BlockMeans.seen += len(pixels)
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1) * self.factor


def content(number: int) -> bytes:
    """The bytes of a picture by its number; a few of them are broken."""
    from io import BytesIO

    random = np.random.default_rng(number)
    buffer = BytesIO()
    Image.fromarray(random.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()[:60] + b"broken" if number in BROKEN else buffer.getvalue()


NUMBER_OF = {hashlib.sha256(content(number)).digest(): number for number in range(7)}


@dataclass
class Held:
    """What a store holds: contents by number, those that each generation (model, weights) embedded, which is served."""

    known: set[int] = field(default_factory=set)
    done: defaultdict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    served: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> tuple[object, ...]:
        """To compare: a generation that has embedded nothing is none."""
        return self.known, {key: contents for key, contents in self.done.items() if contents}, self.served


class Collection(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.photos, self.store = self.folder / "photos", self.folder / "store"
        self.photos.mkdir()
        self.patch = mock.patch("pixelmill.work.load_file", lambda spec, file, **_: BlockMeans(spec, file.sha256))
        self.patch.start()
        self.clock = 10**18
        self.files: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.settled: set[int] = set()
        """The contents that were known at the end of the last run."""
        self.unfinished = False
        """Whether a run that died has seen files since."""
        self.held = Held()
        self.train(0)

    def teardown(self) -> None:
        self.patch.stop()
        shutil.rmtree(self.folder)

    @rule(number=st.integers(0, 1))
    def train(self, number: int) -> None:
        """Other weights, for all models: the next runs fill another generation."""
        file = self.folder / "weights"
        file.write_bytes(b"weights %d" % number)
        self.touch(file)
        self.weights = hashlib.sha256(file.read_bytes()).hexdigest()

    def touch(self, file: Path) -> None:
        self.clock += 1
        os.utime(file, ns=(self.clock, self.clock))

    @rule(path=PATHS, number=CONTENTS)
    def write(self, path: str, number: int) -> None:
        """Add a file, change it, or write the same content again."""
        file = self.photos / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content(number))
        self.touch(file)
        self.files[path] = number

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=PATHS, copy=st.booleans())
    def move_or_copy(self, data: st.DataObject, to: str, copy: bool) -> None:
        """To a free name or over another file, keeping the times, as `mv` and `cp -p` do."""
        source = data.draw(st.sampled_from(sorted(self.files)))
        if source == to:
            return
        (self.photos / to).parent.mkdir(exist_ok=True)
        (shutil.copy2 if copy else os.replace)(self.photos / source, self.photos / to)
        self.files[to] = self.files[source] if copy else self.files.pop(source)

    def rename(self, source: str, to: str) -> None:
        (self.photos / source).rename(self.photos / to)
        self.files[to] = self.files.pop(source)

    def remove(self, path: str) -> None:
        (self.photos / path).unlink()
        del self.files[path]

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

    # An empty folder counts as not mounted: what a run that died saw in it stays, which the dict does not tell.
    @precondition(lambda self: self.files or not self.unfinished)
    @rule(models=MODELS)
    def run(self, models: tuple[str, ...]) -> None:
        """The report counts what the dict says, the store holds it, and nothing is embedded twice."""
        before = BlockMeans.seen
        report = run(self.job(models))
        embedded = self.check_report(report, models)
        checked = sum(check.compared for check in report.self_check.values())
        assert BlockMeans.seen - before == embedded + checked
        self.finish(models)

    @precondition(lambda self: self.files or not self.unfinished)
    @rule(models=MODELS, step=st.integers(0, STORE_STEPS))
    def die(self, models: tuple[str, ...], step: int) -> None:
        """A run that dies at any step leaves a sound store, somewhere between what was there and what it would have
        made; what it has stored is not embedded again, and it takes nothing from the counts of the next."""
        before = self.held
        report = None
        with crashing(step) as steps:
            report = run(self.job(models))
        if report:
            assert not steps.died
            self.check_report(report, models)
            self.finish(models)
            return
        if (self.store / "vectors.h5").exists():
            self.held = self.read(read_plain(self.store))
        self.check_between(before, models)
        self.unfinished |= bool(self.files)
        self.check_store(paths=False)

    def check_between(self, before: Held, models: tuple[str, ...]) -> None:
        assert before.known <= self.held.known <= before.known | set(self.files.values())
        for key in {*before.done, *self.held.done}:
            most = before.done[key] | (self.good() if key in self.generations(models) else set())
            assert before.done[key] <= self.held.done[key] <= most
        for model in {*before.served, *self.held.served}:
            assert self.held.served[model] in (before.served.get(model), self.weights)
            if model in before.served and self.held.served[model] != before.served[model]:
                assert self.is_complete(model, before)

    def generations(self, models: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(model, self.weights) for model in models]

    def good(self) -> set[int]:
        """The contents that are there now and can be decoded."""
        return set(self.files.values()) - BROKEN

    def is_complete(self, model: str, held: Held) -> bool:
        """Whether the generation of these weights has what is served of the files that are there."""
        live = set(self.files.values() or self.told.values())
        return held.done[model, held.served[model]] & live <= self.held.done[model, self.weights]

    def check_report(self, report: RunReport, models: tuple[str, ...]) -> int:
        """The counts are those of the dict; returns how many vectors were made."""
        assert report.images.model_dump() == self.expected_counts()
        folders = {str(count.folder): {kind: getattr(count, kind) for kind in KINDS} for count in report.folders}
        assert folders == self.expected_folders()
        wanted = {key[0]: self.good() - self.held.done[key] for key in self.generations(models)}
        for model, contents in wanted.items():
            assert (model in report.models) >= bool(contents)
            if model in report.models:
                assert report.models[model].embedded == len(contents)
                assert report.models[model].pending == 0
                live = set((self.files or self.told).values())
                covered = live & (self.held.done[model, self.weights] | self.good())
                coverage = report.coverage[report.models[model].dataset]
                assert coverage == (len(covered) / len(live) if live else 0.0)
        return sum(map(len, wanted.values()))

    def finish(self, models: tuple[str, ...]) -> None:
        """A run came to its end: the dict takes in what it has done, and the store holds that."""
        self.held.known |= set(self.files.values())
        for model, weights in self.generations(models):
            self.held.done[model, weights] |= self.good()
            if model not in self.held.served and self.files:
                self.held.served[model] = weights
            if model in self.held.served and self.has_matrix(model) and self.is_complete(model, self.held):
                self.held.served[model] = weights
        if self.files or not self.told:
            self.told = dict(self.files)
        self.settled, self.unfinished = set(self.held.known), False
        self.check_store()

    def has_matrix(self, model: str) -> bool:
        made = [m.provenance for m in Store(self.store).manifest.matrices]
        return any(p.model == model and p.weights_sha256 == self.weights for p in made)

    def expected_counts(self) -> dict[str, int]:
        counts = dict.fromkeys(("seen", *KINDS, "quarantined"), 0)
        if self.told and not self.files:
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
        now, told = self.files, self.told
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
            events.append(("moved" if number in self.settled else "new", arrivals[0]))
            moved = [path for path in gone if told[path] == number] if number in self.settled else []
            gone = [path for path in gone if path not in moved[:1]]
        return events + [("removed", path) for path in gone]

    def check_store(self, *, paths: bool = True) -> None:
        """Plain h5py finds each content once, its vectors right and NaN elsewhere, and its path where it is now."""
        if not (self.store / "ledger.sqlite").exists():  # died before there was one
            return
        assert verify(self.store) == []
        columns = read_plain(self.store)
        assert self.read(columns).all == self.held.all
        for number, path in zip(numbers_of(columns), columns["images/path"], strict=True) if paths else ():
            holders = [holder for holder in self.told if self.told[holder] == number]
            assert self.unfinished or os.fsdecode(path) in (holders or [""])

    def read(self, columns: Columns) -> Held:
        """What the store holds, by plain h5py; every row of every generation is checked."""
        held = Held(set(numbers_of(columns)))
        images = {name: values for name, values in columns.items() if name.startswith("images/")}
        for matrix in Store(self.store).manifest.matrices:
            made, values = matrix.provenance, columns[matrix.published_name]
            check_aligned({**images, matrix.published_name: values}, vector_by(made.weights_sha256))
            embedded = np.flatnonzero(np.isfinite(values).all(axis=1))
            held.done[made.model, made.weights_sha256] = {numbers_of(columns)[row] for row in embedded}
            if matrix.serving:
                held.served[made.model] = made.weights_sha256
        return held

    def job(self, models: tuple[str, ...]) -> Job:
        specs: list[Any] = [spec_of(name, self.folder) for name in models]
        return Job(
            sources=(str(self.photos),), store=self.store, specs=tuple(specs), batch_size=2, shard_size=2,
            cache=CacheSpec(cache_dir=self.folder / "cache"), device="cpu", precision="float32",
            max_pixels=10**6, max_aspect=100.0, max_bytes=10**6,
        )  # fmt: skip


def numbers_of(columns: Columns) -> list[int]:
    """The content of each row, by its number."""
    return [NUMBER_OF[row.tobytes()] for row in columns["images/sha256"]]


def vector_by(weights: str) -> VectorOf:
    return lambda sha256, model, _: expected_vector(NUMBER_OF[sha256], model, weights)


def spec_of(name: str, folder: Path) -> ModelSpec:
    return ModelSpec(
        name=name, backend="timm", architecture=name, pretrained="", dim=12, image_size=8, parameters=0, licence="none",
        weights=WeightsSource(f"file:{folder}/weights"),
    )  # fmt: skip


@cache
def expected_vector(number: int, model: str, weights: str = "") -> np.ndarray:
    picture = decode_image(content(number), DecodeOptions(), shortest=None)
    fresh = BlockMeans(spec_of(model, Path()), weights)
    seen = BlockMeans.seen
    batch = torch.from_numpy(np.array(pixels(np.array(picture.image), picture.frame, fresh.preprocessing))[None])
    vector: np.ndarray = fresh.encode_image(normalize(batch, fresh.preprocessing, torch.float32))[0].numpy()
    BlockMeans.seen = seen
    return vector


TestCollection = Collection.TestCase
TestCollection.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
class TestCollectionForLong(Collection.TestCase):  # type: ignore[name-defined, misc, valid-type, unused-ignore]
    """The same, over many more and longer histories."""

    settings = settings(max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))


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
    assert not night.unfinished or night.expected_counts() == counts
    night.run(("one", "second"))
    assert [night.expected_counts()[kind] for kind in KINDS] == [0] * 5
    before = BlockMeans.seen
    night.run(("one", "second"))
    assert BlockMeans.seen == before


def test_a_night_has_no_more_steps(night: Collection) -> None:
    """The run of the test above takes no more steps than were tried."""
    with crashing(None) as steps:
        night.run(("one", "second"))
    assert 30 < steps.count <= STORE_STEPS
