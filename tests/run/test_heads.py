"""A run fills the heads of its settings before it delivers, says so in its report, and reads no image for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from pixelmill.deliver.delivery import Delivery
from pixelmill.heads.head import FileHead, ZeroShotHead
from pixelmill.report.attention import end_of
from pixelmill.report.markdown import as_markdown
from pixelmill.report.model import read_report
from pixelmill.report.text import headline
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.steps import run
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.checkpoints import TinyModels, make_tiny_models
from tests.support.delivered import rows_in
from tests.support.models import BlockMeans, spec_of
from tests.support.numbered import OTHERS, content
from tests.support.searchable import paint

LABELS = ("red", "green", "a blue thing")
PROMPTS = ("a photo of a {}.", "{}!")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three pictures, a head over their vectors, and a delivery of its columns."""
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    for name, number in zip("abc", OTHERS, strict=False):
        (tmp_path / "photos" / f"{name}.png").write_bytes(content(number))
    delivery = Delivery(
        name="search", to=f"parquet:{tmp_path / 'out'}", models=("one",), columns=("tone", "tone.score")
    )
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        facts=False, heads={"tone": head(tmp_path)}, deliveries=(delivery,),
    )  # fmt: skip


def head(folder: Path, seed: int = 1) -> FileHead:
    weight = np.random.default_rng(seed).standard_normal((2, 12)).astype(np.float32)
    save_file({"weight": weight}, folder / "tone.safetensors", metadata={"labels": '["warm", "cold"]'})
    return FileHead(kind="file", model="one", file=folder / "tone.safetensors")


def test_each_run_fills_what_is_new_and_delivers_it(job: Job, tmp_path: Path) -> None:
    """A night without changes fills nothing; a new picture is filled; what is delivered has the columns of by then."""
    report = run(job)
    (told,) = report.heads
    assert (told.name, told.kind, told.model, told.rows, told.pending) == ("tone", "file", "one", 3, 0)
    assert list(report.steps)[-4:] == ["heads", "deliver", "report", "rest"]
    assert "| `tone` | file | `one` | 3 |" in as_markdown(report)
    store = Store(job.store)
    delivered = rows_in(tmp_path / "out", "search")
    assert {row: line["tone"] for row, line in delivered.items()} == dict(enumerate(store.columns["tone"]))
    assert {row: line["tone_score"] for row, line in delivered.items()} == dict(enumerate(store.columns["tone.score"]))
    assert read_report(json.loads(json.dumps(report.as_json()))) == report
    again, revision = run(job), Store(job.store).manifest.revision
    assert (again.heads[0].rows, revision) == (0, store.manifest.revision)
    assert "## Heads" not in as_markdown(again)
    (tmp_path / "photos" / "x.png").write_bytes(content(OTHERS[5]))
    assert run(job).heads[0].rows == 1
    assert "" not in Store(job.store).columns["tone"]
    assert verify(job.store) == []


def test_another_head_embeds_nothing(job: Job, tmp_path: Path) -> None:
    """Its columns are made anew for all pictures, without a model call, and delivered; the report says so."""
    run(job)
    head(tmp_path, seed=2)
    before, seen = Store(job.store).columns["tone.score"], BlockMeans.seen
    report = run(job)
    assert (report.heads[0].rows, report.heads[0].is_anew, report.models["one"].embedded) == (3, True, 0)
    assert BlockMeans.seen - seen <= 3, "the self-check of a run embeds a few again"
    assert report.deliveries[0].sent == 3
    assert headline(report) == "No image changed. 3 rows filled by heads."
    assert (Store(job.store).columns["tone.score"] != before).all()
    assert "| `tone` | file | `one` | 3 | yes |" in as_markdown(report)


def test_a_head_that_fails_is_what_a_morning_looks_at(job: Job, tmp_path: Path) -> None:
    """The night goes on, the columns stay, and the report says which head it was, and why."""
    run(job)
    (tmp_path / "tone.safetensors").write_bytes(b"none")
    (tmp_path / "photos" / "x.png").write_bytes(content(OTHERS[5]))
    report = run(job)
    (line,) = report.attention
    assert line.startswith(
        "The head tone could not be filled, and what it had made stays as it is. Expected a safetensors"
    )
    assert end_of(report, missing_source=job.missing_source, most=job.max_failure_rate).kind == "warnings"
    assert (report.ended, report.models["one"].embedded) == ("done", 1)
    assert list(Store(job.store).columns["tone"])[3] == ""


def test_a_run_without_heads_leaves_their_columns(job: Job) -> None:
    """As one without tables leaves theirs; and its report tells of no such step."""
    run(job)
    report = run(job.model_copy(update={"heads": {}}))
    assert (report.heads, "heads" in report.steps) == ((), False)
    assert "tone" in Store(job.store).columns


def test_heads_do_not_travel_to_workers(job: Job) -> None:
    """Only the run itself fills them; in the parameters of a flow a job is whole."""
    assert b"tone.safetensors" not in RunOrders(job, "store", 1).message()
    assert Job.model_validate_json(job.model_dump_json()) == job


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("upstream"))


def upstreams_open_clip(path: Path, pictures: list[Path]) -> np.ndarray:
    """As open_clip's README reckons it, with several prompts as its zero_shot_classifier."""
    import open_clip

    module, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(path))
    return reckoned(module.eval(), open_clip.get_tokenizer("tiny-clip"), preprocess, pictures)


def upstreams_clip(path: Path, pictures: list[Path]) -> np.ndarray:
    """As CLIP's README reckons it, with several prompts as its notebook."""
    import clip

    module, preprocess = clip.load(str(path), device="cpu")
    return reckoned(module, lambda texts: clip.tokenize(texts, context_length=16), preprocess, pictures)


def reckoned(module: Any, tokenize: Any, preprocess: Any, pictures: list[Path]) -> np.ndarray:
    with torch.inference_mode():
        classes = []
        for label in LABELS:
            texts = module.encode_text(tokenize([prompt.format(label) for prompt in PROMPTS])).float()
            mean = (texts / texts.norm(dim=-1, keepdim=True)).mean(dim=0)
            classes.append(mean / mean.norm())
        pixels = torch.stack([preprocess(Image.open(one).convert("RGB")) for one in pictures])
        images = module.encode_image(pixels).float()
        images = images / images.norm(dim=-1, keepdim=True)
        found: np.ndarray = (module.logit_scale.exp() * images @ torch.stack(classes).T).softmax(dim=-1).numpy()
        return found


def test_zero_shot_is_upstreams_own(tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From files to scores: the softmax over cosines times the model's scale, of clip and of open_clip by their own
    calls, though the vectors were made in a night before; a model without a text tower is told; a night with one new picture
    loads no text tower."""
    photos = [
        paint(tmp_path / "photos" / f"{n}.png", colour, stripe=9 * n)
        for n, colour in enumerate([(220, 30, 30), (30, 200, 40), (30, 40, 220), (240, 240, 10), (5, 5, 5)])
    ]
    job = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", device="cpu", decode="reference",
        specs=(tiny.openai_clip, tiny.open_clip, tiny.torchvision), precision="float32", threads=1,
        cache=CacheSpec(cache_dir=tmp_path / "weights", mirrors={"*": str(tiny.folder)}),
    )  # fmt: skip
    run(job)
    models = {"by_clip": tiny.openai_clip, "by_open_clip": tiny.open_clip, "by_resnet": tiny.torchvision}
    heads = {
        name: ZeroShotHead(kind="zero_shot", model=spec.name, labels=LABELS, prompts=PROMPTS)
        for name, spec in models.items()
    }
    report = run(job.model_copy(update={"heads": heads}))
    assert [told.rows for told in report.heads] == [5, 5, 0]
    assert "resnet18 knows pictures only" in report.heads[2].problem
    store = Store(job.store)
    order = [photos.index(tmp_path / "photos" / path.decode()) for path in store.paths]
    for name, upstream in {"by_clip": upstreams_clip, "by_open_clip": upstreams_open_clip}.items():
        expected = upstream(tiny.file_of(models[name]), photos)[order]
        np.testing.assert_allclose(store.columns[f"{name}.score"], expected.max(axis=1), rtol=1e-4)
        assert list(store.columns[name]) == [LABELS[n] for n in expected.argmax(axis=1)]
    assert [told.rows for told in run(job.model_copy(update={"heads": heads})).heads] == [0, 0, 0]
    monkeypatch.setattr("pixelmill.search.encoder.QueryEncoder.texts", lambda *_: pytest.fail("a text tower is loaded"))
    paint(tmp_path / "photos" / "5.png", (220, 30, 30), stripe=3)
    assert [told.rows for told in run(job.model_copy(update={"heads": heads})).heads] == [1, 1, 0]
