"""Facts through a run: of new stores by themselves, of older ones when they are asked for, by whatever worker."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelmill.embedding import facts as facts_module
from pixelmill.embedding.facts import FACTS_GROUP, FACTS_NAME, gathered
from pixelmill.images.facts import FACTS, facts_of
from pixelmill.run.answer import ShardAnswer, merged
from pixelmill.run.direct import run_here
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.results import ShardReport
from pixelmill.run.steps import preview
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, ShardRows
from pixelmill.store.verify import verify
from pixelmill.travel.messages import MessageRefused
from tests.support.exifs import WRITTEN, exif
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.stores import file_of, sha256

CALLS = []


class Counted(BlockMeans):
    """A model that counts what it is asked for."""

    def encode_image(self, pixels):  # type: ignore[no-untyped-def]
        CALLS.append(len(pixels))
        return super().encode_image(pixels)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Of five pictures in shards of two: one with EXIF, a copy of it, and one that cannot be decoded."""
    monkeypatch.setattr(STAND_INS, "kind", Counted)
    CALLS.clear()
    (tmp_path / "weights").write_bytes(b"first")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number}.jpg", exif=exif() if number == 1 else b"")
    (tmp_path / "photos/copy.jpg").write_bytes((tmp_path / "photos/1.jpg").read_bytes())
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", shard_size=2, batch_size=2, threads=1,
    )  # fmt: skip


def row_of(store: Store, name: str) -> int:
    return [bytes(path).decode() for path in store.paths].index(name)


def check(folder: Path) -> None:
    """Each row that was decoded has the facts of its file, as plain h5py reads them, and the others have none."""
    store = Store(folder)
    with h5py.File(folder / "vectors.h5") as file:
        shown = {fact.name: file[f"columns/{fact.name}"][:] for fact in FACTS}
        for fact in FACTS:
            assert file[f"columns/{fact.name}"].attrs["kind"] == fact.kind
    for row, (source, path) in enumerate(zip(store.sources, store.paths, strict=True)):
        file_path = Path(source.decode()) / path.decode()
        if path == b"broken.jpg":
            assert (shown["format"][row], shown["bytes"][row]) == (b"", -(2**63))
            continue
        with Image.open(file_path) as picture:
            expected, _ = facts_of(file_path.read_bytes(), "JPEG", picture.convert("RGB"), 1)
        given = {name: value[row] for name, value in shown.items()}
        assert {n: v.decode() if isinstance(v, bytes) else v for n, v in given.items()} == pytest.approx(
            expected, nan_ok=True
        )
    assert verify(folder) == []


def test_a_new_store_has_facts(job: Job) -> None:
    """They come with the vectors; what a camera wrote stands in its columns, and a second run makes nothing."""
    report = run_here(job)
    assert report.facts
    assert (report.facts.made, report.facts.pending) == (3, 0)
    check(job.store)
    store = Store(job.store)
    row = next(row for row, path in enumerate(store.paths) if path in (b"1.jpg", b"copy.jpg"))
    assert {name: store.columns[name][row] for name in WRITTEN} == pytest.approx(WRITTEN)
    calls = len(CALLS)
    again = run_here(job)
    assert again.facts
    assert (again.facts.made, again.facts.pending, len(CALLS)) == (0, 0, calls)


def test_an_older_store_stays_as_it_is_until_it_is_asked(job: Job) -> None:
    """Without columns it keeps the format of before; `--facts` fills them, and calls no model."""
    (Path(job.sources[0]) / "1.txt").write_text("a caption")
    run_here(job.model_copy(update={"facts": False, "beside": False}))
    assert run_here(job).facts is None
    assert Store(job.store).manifest.format_version == 1
    vectors, calls = Store(job.store)["one"].read(), len(CALLS)
    asked = job.model_copy(update={"facts": True})
    told = preview(asked)
    assert told.facts
    assert (told.facts.pending, told.models["one"].pending) == (3, 0)
    report = run_here(asked)
    assert report.facts
    assert (report.facts.made, report.facts.pending, report.models["one"].embedded) == (3, 0, 0)
    assert len(CALLS) == calls
    assert "a caption" in Store(job.store).columns["caption"]
    np.testing.assert_array_equal(Store(job.store)["one"].read(), vectors)
    check(job.store)
    # From then on it keeps them up.
    pixels = np.random.default_rng(9).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(Path(job.sources[0]) / "new.jpg")
    report = run_here(job)
    assert report.facts
    assert (report.facts.made, report.models["one"].embedded) == (1, 1)
    check(job.store)


def test_without_facts_none_are_made(job: Job) -> None:
    """Nor where the store has some: they wait."""
    run_here(job)
    pixels = np.random.default_rng(9).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(Path(job.sources[0]) / "new.jpg")
    assert run_here(job.model_copy(update={"facts": False})).facts is None
    report = run_here(job)
    assert report.facts
    assert (report.facts.made, report.models["one"].embedded) == (1, 0)
    check(job.store)


def test_what_was_embedded_is_not_refused_for_its_facts(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture whose facts cannot be made by now keeps its vector; it is in quarantine for its facts alone, and is not
    tried again."""
    run_here(job.model_copy(update={"facts": False}))
    asked = job.model_copy(update={"facts": True, "max_pixels": 10})
    report = run_here(asked)
    assert report.facts
    assert (report.facts.made, report.facts.pending) == (0, 0)
    assert (report.models["one"].pending, report.models["one"].quarantined) == (0, 1)
    with StoreWriter(job.store) as writer:
        told = [q for q in writer.ledger.quarantine.entries() if q.model == FACTS_NAME]
    assert len(told) == 4, "a copy as well"
    assert all("Expected at most 10 pixels" in q.reason for q in told)


def test_another_version_is_made_when_it_is_asked_for(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer program leaves the facts of the store as they are; asked, it makes its own beside, and they take over."""
    run_here(job)
    newer = ColumnGroup.model_validate(FACTS_GROUP.model_dump() | {"version": "2"})
    for module in ("embedding.facts", "embedding.inputs", "embedding.shard", "run.facts", "run.orders", "run.preview",
                   "run.room", "run.steps",
                   "run.told", "run.worker"):  # fmt: skip
        monkeypatch.setattr(f"pixelmill.{module}.FACTS_GROUP", newer)
    assert run_here(job).facts is None
    assert {group.version for group in Store(job.store).manifest.columns} == {"1"}
    report = run_here(job.model_copy(update={"facts": True}))
    assert report.facts
    assert report.facts.made == 3
    assert [(group.version, group.serving) for group in Store(job.store).manifest.columns] == [("2", True)]
    check(job.store)


def answered(rows: ShardRows) -> ShardRows:
    sent = ShardAnswer("store-1", 7, 0, rows, ShardReport())
    return ShardAnswer.of(sent.message(), "store-1", [FACTS_GROUP]).rows


def facts_like(number: int) -> dict[str, float | int | str]:
    values = {"float64": number + 0.5, "int64": number, "text": f"Kamera ü {number}"}
    return {fact.name: values[fact.kind] for fact in FACTS}


def rows_with(*numbers: int) -> ShardRows:
    contents = [Content(file_of(number), sha256(number), 4, 3) for number in numbers]
    return ShardRows(contents, facts=gathered([(i, facts_like(number)) for i, number in enumerate(numbers)]))


def test_facts_travel() -> None:
    """They arrive as they were made; those of several passes become one, each content once."""
    both = merged([rows_with(3, 1), rows_with(1, 2)])
    assert both.facts
    arrived = answered(both).facts
    assert arrived
    assert [c.file.path for c in both.contents] == [file_of(n).path for n in (3, 1, 2)]
    assert arrived.index.tolist() == [0, 1, 2]
    assert np.array(arrived.values["bytes"]).tolist() == [3, 1, 2]
    assert [bytes(v).decode() for v in arrived.values["camera"]] == [f"Kamera ü {n}" for n in (3, 1, 2)]


def test_facts_that_no_worker_makes_are_refused() -> None:
    """Of a content that is not there, twice of one, of another kind, too long."""
    for spoil in (
        lambda facts: {"index": facts.index + 7},
        lambda facts: {"index": np.zeros_like(facts.index)},
        lambda facts: {"values": {**facts.values, "bytes": np.array([0.5, 1.5])}},
        lambda facts: {"values": {**facts.values, "sharpness": np.array([np.inf, 1.5])}},
        lambda facts: {"values": {**facts.values, "camera": [b"x" * 2000, b""]}},
        lambda facts: {"values": {**facts.values, "camera": [b""]}},
    ):
        rows = rows_with(1, 2)
        assert rows.facts
        fields = {"fingerprint": rows.facts.fingerprint, "index": rows.facts.index, "values": rows.facts.values}
        rows.facts = facts_module.Facts(**{**fields, **spoil(rows.facts)})
        with pytest.raises(MessageRefused, match="fact"):
            answered(rows)
    with pytest.raises(MessageRefused, match="facts that were not asked for"):
        ShardAnswer.of(ShardAnswer("s", 7, 0, rows_with(1), ShardReport()).message(), "s", [])
