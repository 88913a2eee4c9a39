"""The morning report: what it counts, over real runs with a stand-in model, and how people get to read it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image

from pixelmill.cli.main import main
from pixelmill.embedding.timing import Timing
from pixelmill.report.bottleneck import advice
from pixelmill.report.build import build, close, dry_run_report
from pixelmill.report.history import ENOUGH, FAILING, LAST, MANY, MEASURED, SHRUNK, SLOW, comparable, notable, recorded
from pixelmill.report.markdown import as_markdown
from pixelmill.report.model import DryRunReport, ImageCounts, ModelReport, RunReport, SeenCount, read_report
from pixelmill.report.text import headline, sections, summary
from pixelmill.run.job import Job
from pixelmill.run.prepare import prepare
from pixelmill.run.results import ShardReport, WorkerReport
from pixelmill.run.room import Room
from pixelmill.run.scan import Scan, scan_sources
from pixelmill.run.schedule import Schedule
from pixelmill.run.steps import run
from pixelmill.store import quarantine as failures
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.store.rows import KINDS, Changes, FailureGroup
from pixelmill.store.settlement import FEW
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.shards import embed_shard

HTML = "<html>no picture</html>"
HOSTILE = [
    "a|b.png",
    "c`d``.png",
    "new\nline.png",
    "[x](e) <b>&amp;*_.png",
    "[/b].png",
    os.fsdecode(b"caf\xe9.png"),
    "\\|.png",
]


class Half(BlockMeans):
    """Makes nothing but NaN of pictures that are all black."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        made = super().encode_image(pixels)
        return torch.where(made.amax(dim=1, keepdim=True) < 0, torch.nan, made)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run over two empty sources with one model."""
    monkeypatch.setattr(
        STAND_INS, "kind", lambda spec, sha256: (Half if spec.name == "half" else BlockMeans)(spec, sha256)
    )
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", (0.0,))
    (tmp_path / "weights").write_bytes(b"weights")
    for name in ("photos", "scans"):
        (tmp_path / name).mkdir()
    return Job(
        sources=(str(tmp_path / "photos"), str(tmp_path / "scans")), store=tmp_path / "store",
        specs=(spec_of("one", tmp_path),), cache={"cache_dir": tmp_path / "cache"}, precision="float32",
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


@pytest.fixture
def put(job: Job) -> Callable[..., Path]:
    """Write a picture that no other is like, or the given bytes, below the folder of the sources."""
    numbers = iter(range(10**6))

    def write(path: str | Path, data: bytes | None = None) -> Path:
        file = job.store.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(next(numbers)) if data is None else data)
        return file

    return write


def picture(seed: int) -> bytes:
    buffer = BytesIO()
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(1, 256, (12, 12, 3), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def black() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (12, 12)).save(buffer, "png")
    return buffer.getvalue()


def with_models(job: Job, *names: str) -> Job:
    return job.model_copy(update={"specs": tuple(spec_of(name, job.store.parent) for name in names)})


def by_folder(job: Job, report: RunReport) -> dict[str, dict[str, int]]:
    """The counts by folder, below that of the sources, without the zeros."""
    return {
        os.path.relpath(str(count.folder), job.store.parent): {kind: n for kind in KINDS if (n := getattr(count, kind))}
        for count in report.folders
    }


def reasons(report: RunReport) -> list[tuple[str, int, int]]:
    return [(group.reason, group.new, group.known) for group in report.failures]


# By folder


def test_what_happened_is_told_by_the_folder_where_it_did(job: Job, put: Callable[..., Path]) -> None:
    """New, changed, moved, copied and deleted files of two sources each count once, where they are or were; all of it
    adds up to the counts of the run, and the next run tells of none of it."""
    for name in ("keep", "change", "move", "copy", "delete", "both", "both too"):
        put(f"photos/{name}/1.png")
    put("scans/flat.png")
    run(job)
    put("photos/new/2.png")
    put("scans/flat too.png")
    put("photos/change/1.png")
    root = job.store.parent
    (root / "photos/moved").mkdir()
    (root / "photos/move/1.png").rename(root / "photos/moved/1.png")
    (root / "photos/copied").mkdir()
    shutil.copy(root / "photos/copy/1.png", root / "photos/copied/1.png")
    (root / "photos/delete/1.png").unlink()
    report = run(job)
    assert by_folder(job, report) == {
        "photos/new": {"new": 1}, "scans": {"new": 1}, "photos/change": {"changed": 1}, "photos/moved": {"moved": 1},
        "photos/copied": {"duplicate": 1}, "photos/delete": {"removed": 1},
    }  # fmt: skip
    for kind in KINDS:
        told = sum(getattr(count, kind) for count in report.folders)
        assert told == getattr(report.images, kind) == (2 if kind == "new" else 1)
    assert run(job).folders == ()


def test_new_images_are_named_from_all_over_them(job: Job, put: Callable[..., Path]) -> None:
    """By row and path, those that changed too, and none that was refused; of very many a few, evenly."""
    put("photos/broken.jpg", HTML.encode())
    first = [put("photos/a.png"), put("scans/b.png")]
    assert {image.path for image in run(job).new_images} == set(map(str, first))
    changed = put("photos/a.png")
    copied = first[1].with_name("copy.png")
    copied.write_bytes(first[1].read_bytes())
    new = [put(f"photos/{number:03}.png") for number in range(3 * FEW)]
    report = run(job)
    store = Store(job.store)
    assert len(report.new_images) == FEW
    assert {image.path for image in report.new_images} <= {str(changed), *map(str, new)}
    assert all(os.path.join(*store.place(image.row)) == image.path for image in report.new_images)  # noqa: PTH118
    places = sorted(new.index(Path(image.path)) for image in report.new_images if image.path != str(changed))
    assert max(after - before for before, after in pairwise([0, *places, len(new)])) <= 6
    assert run(job).new_images == ()


def test_of_copies_that_go_the_first_counts_as_moved(job: Job, put: Callable[..., Path]) -> None:
    """Three copies become one elsewhere: one has moved, there; two are removed, in the folders that come last."""
    put("photos/stays.png")
    data = picture(100)
    for name in "abc":
        put(f"photos/{name}/1.png", data)
    run(job)
    for name in "abc":
        (job.store.parent / f"photos/{name}/1.png").unlink()
    put("scans/1.png", data)
    counts = by_folder(job, run(job))
    assert counts == {"photos/b": {"removed": 1}, "photos/c": {"removed": 1}, "scans": {"moved": 1}}


def test_a_run_that_died_leaves_its_folders_to_the_next(job: Job, put: Callable[..., Path]) -> None:
    """What was found and embedded, but not told, is told by the run that comes to its end."""
    put("photos/a/1.png")
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources)
        prepared = prepare(job, writer, scan.number)
        matrices, plan = list(prepared.matrices), prepared.plan
        embed_shard(job, writer, matrices, scan.number, plan.shards[0])
        writer.ledger.changes()
    put("photos/b/1.png")
    assert by_folder(job, run(job)) == {"photos/a": {"new": 1}, "photos/b": {"new": 1}}


# Failures


def test_files_with_a_fault_that_is_overlooked_are_counted(job: Job, put: Callable[..., Path]) -> None:
    """They are embedded, and the report says by fault how many there were, with a few of their paths, once."""
    for number in range(7):
        whole = picture(500 + number)
        put(f"photos/{number}.png", whole[:33] + b"\0\0\0\1tEXtxxxxx" + whole[33:])
    put("photos/whole.png")
    report = run(job)
    assert (report.models["one"].embedded, report.images.quarantined) == (8, 0)
    (told,) = [warning for warning in report.warnings if warning.startswith("PNG with damaged metadata")]
    assert ": 7 taken all the same" in told
    assert told.count(".png") == 5
    assert not any("PNG" in warning for warning in run(job).warnings)


def test_new_failures_are_told_apart_from_known_ones(job: Job, put: Callable[..., Path]) -> None:
    """A refused file is new once; beside it the next night stand those that came since, by reason, with examples."""
    put("photos/1.png")
    put("photos/page.jpg", HTML.encode())
    put("scans/empty.png", b"")
    first = run(job)
    assert sorted(group.new for group in first.failures) == [1, 1]
    assert first.models["one"].quarantined == first.images.quarantined == 2
    put("photos/page2.jpg", HTML.encode() + b" ")
    second = run(job)
    (html, new, known), (empty, *rest) = reasons(second)
    assert ("HTML" in html, new, known) == (True, 1, 1)
    assert ("empty" in empty, *rest) == (True, 0, 1)
    assert [Path(path).name for path in second.failures[0].examples] == ["page2.jpg", "page.jpg"]
    assert [new for _, new, _ in reasons(run(job))] == [0, 0]


def test_reasons_that_differ_in_numbers_are_one(job: Job, put: Callable[..., Path]) -> None:
    """Pictures that are cut off at many places are one line; numbers that all share stay."""
    limited = job.model_copy(update={"max_pixels": 100})
    for seed in range(2 * failures.EXAMPLES):
        put(f"photos/{seed}.png")
    ((reason, new, _),) = reasons(run(limited))
    assert (reason, new) == ("Expected at most 100 pixels. The image is 12 x 12 = 144.", 2 * failures.EXAMPLES)
    buffer = BytesIO()
    Image.new("RGB", (20, 30)).save(buffer, "png")
    put("photos/other.png", buffer.getvalue())
    report = run(limited)
    assert reasons(report) == [("Expected at most … pixels. The image is … x … = ….", 1, 2 * failures.EXAMPLES)]
    assert len(report.failures[0].examples) == failures.EXAMPLES
    assert report.failures[0].examples[0].endswith("other.png")


def test_a_model_that_refuses_an_image_counts_it_alone(job: Job, put: Callable[..., Path]) -> None:
    """A vector that is not finite is a failure of that model; the other one has embedded the image."""
    put("photos/1.png")
    put("photos/black.png", black())
    report = run(with_models(job, "one", "half"))
    assert [report.models[name].quarantined for name in ("one", "half")] == [0, 1]
    assert [report.coverage[f"vectors/{name}"] for name in ("one", "half")] == [1.0, 0.5]
    ((reason, new, _),) = reasons(report)
    assert reason.startswith("half in float32")
    assert (new, report.images.quarantined) == (1, 1)


def test_failures_of_a_run_that_died_are_new_in_the_next(job: Job, put: Callable[..., Path]) -> None:
    """Nobody has been told of them."""
    put("photos/1.png")
    run(job)
    put("photos/page.jpg", HTML.encode())
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources)
        prepared = prepare(job, writer, scan.number)
        matrices, plan = list(prepared.matrices), prepared.plan
        embed_shard(job, writer, matrices, scan.number, plan.shards[0])
    assert [new for _, new, _ in reasons(run(job))] == [1]


def test_reasons_without_end_are_summed_up() -> None:
    """The largest groups are told, the rest is one line; nothing is lost from the sum."""
    refused = [(b"/%d" % i, "decode", "x" * (i % 3000), i % 2 == 0) for i in range(6000)]
    groups = failures.grouped(refused)
    assert len(groups) == failures.SHOWN + 1
    assert groups[-1].reason is None
    assert (sum(group.new for group in groups), sum(group.known for group in groups)) == (3000, 3000)
    assert all(len(group.examples) <= failures.EXAMPLES for group in groups)


# Coverage


def test_coverage_is_of_the_images_that_are_there(job: Job, put: Callable[..., Path]) -> None:
    """Copies count once, refused images count, gone ones do not; a matrix that this run leaves alone is told as well."""
    assert run(job).coverage == {}
    first = put("photos/1.png")
    put("photos/2.png")
    shutil.copy(first, job.store.parent / "scans/copy.png")
    assert run(job).coverage == {"vectors/one": 1.0}
    put("photos/page.jpg", HTML.encode())
    put("photos/empty.jpg", b"")
    assert run(job).coverage == {"vectors/one": 0.5}
    put("photos/3.png")
    later = run(with_models(job, "second"))
    assert later.coverage == {"vectors/one": 0.4, "vectors/second": 0.6}
    assert "Also in the store: vectors/one covers 40%." in as_markdown(later)
    (job.store.parent / "photos/2.png").unlink()
    (job.store.parent / "photos/page.jpg").unlink()
    assert run(job).coverage == {"vectors/one": 2 / 3, "vectors/second": 2 / 3}


# The last nights


def test_the_last_nights_over_the_same_sources_stand_beside(job: Job, put: Callable[..., Path]) -> None:
    """At most `LAST` of them, newest first, each in its own numbers; runs over other folders are left out."""
    for number in range(LAST + 2):
        put(f"photos/{number}.png")
        report = run(with_models(job, "one", "second"))
        run(job.model_copy(update={"sources": (job.sources[1],)}))
    assert len(report.nights) == LAST
    assert {(night.new, night.embedded, night.pending) for night in report.nights} == {(1, 2, 0)}
    starts = [night.started for night in report.nights]
    assert starts == sorted(starts, reverse=True)
    assert report.started >= starts[0]
    assert report.sources == {job.sources[0]: LAST + 2, job.sources[1]: 0}


def made(
    speed: float = 10.0, read: int = 10 * MEASURED, new_failures: int = 0, pending: int = 0, model: str = "one",
    **changes: Any,
) -> RunReport:  # fmt: skip
    """A report of a run, as far as the comparison looks at it."""
    counts = ImageCounts(seen=1000, new=0, changed=0, moved=0, duplicate=0, removed=0, quarantined=0)
    did = ModelReport(
        embedded=max(read - new_failures, 0), pending=pending, quarantined=0, dim=12, device="cpu", precision="float32",
        decode="fast", images_per_second=speed, dataset="vectors/one",
    )  # fmt: skip
    worker = WorkerReport(images=read, seconds=read / speed, reading_seconds=0, models={})
    given: dict[str, Any] = {
        "sources": {"/photos": 1000}, "workers": {"inline": worker},
        "failures": (FailureGroup("decode", "damaged", new=new_failures),), **changes,
    }  # fmt: skip
    return RunReport(
        store="store", started="2026-11-25T02:00:00+00:00", seconds=1, images=counts, models={model: did}, **given
    )


LIKE = [made() for _ in range(ENOUGH)]


@pytest.mark.parametrize(
    ("report", "earlier", "words"),
    [
        (made(), LIKE, None),
        (made(speed=10 * SLOW - 0.1), LIKE, "Slow: 4.9 images/s; the last runs made 10.0"),
        (made(speed=10 * SLOW), LIKE, None),
        (made(speed=1, read=MEASURED - 1), LIKE, None),
        (made(speed=1), LIKE[1:], None),
        (made(speed=1), [made(read=MEASURED - 1)] * ENOUGH, None),
        (made(speed=1, model="two"), LIKE, None),
        (made(speed=1), [*LIKE, *[made(speed=1.5)] * (ENOUGH + 1)], None),
        (made(new_failures=MANY), LIKE, "Many failures: 10 new, 1.0% of the images read"),
        (made(new_failures=MANY - 1), LIKE, None),
        (made(new_failures=int(FAILING) * MANY), [made(new_failures=MANY)] * ENOUGH, None),
        (made(new_failures=int(FAILING) * MANY + 1), [made(new_failures=MANY)] * ENOUGH, "usual|Many failures: 31"),
        (made(new_failures=MANY, read=0, workers={}), LIKE, "Many failures: 10 new, 100.0%"),
        (made(sources={"/photos": int(1000 * SHRUNK) - 1}), LIKE[:1], "/photos has shrunk: 899 images"),
        (made(sources={"/photos": int(1000 * SHRUNK)}), LIKE, None),
        (made(sources={"/photos": 0}), LIKE, None),
        (made(sources={"/new": 1}), LIKE, None),
        (made(pending=3), [made(pending=2)], "Falling behind: 3 vectors are pending"),
        (made(pending=2), [made(pending=2)], None),
        (made(pending=2), [made()], None),
        (made(), [], None),
    ],
)  # fmt: skip
def test_a_night_that_stands_out_is_told_in_words(
    report: RunReport, earlier: list[RunReport], words: str | None
) -> None:
    """Each threshold from both sides: slow, failing, shrunk, falling behind; with too little to compare, nothing."""
    told = notable(report, earlier)
    assert (len(told) == 1 and any(word in told[0] for word in words.split("|"))) if words else told == []


def test_reports_of_other_sources_and_of_before_are_not_compared() -> None:
    """A report of other sources is compared with nothing; one of before there were reports is none."""
    same = made(sources={"/photos": 5})
    assert comparable(made(), [made(sources={}), made(sources={"/other": 5}), same]) == [same]
    assert read_report({"store": "golden", "warnings": []}) is None


# As people read it


@pytest.mark.parametrize("names", [("one",), ("one", "second")])
def test_a_night_with_nothing_new_says_so(job: Job, put: Callable[..., Path], names: tuple[str, ...]) -> None:
    """One sentence tells that everything is there, or but what is in quarantine; and how many models that holds for."""
    by = "one" if names == ("one",) else "2 models"
    assert headline(run(with_models(job, *names))) == "Nothing new. No image was found."
    for number in range(3):
        put(f"photos/{number}.png")
    assert headline(run(with_models(job, *names))) == f"3 new images. {3 * len(names)} vectors made in 1 s."
    assert headline(run(with_models(job, *names))) == f"Nothing new. All 3 images are embedded with {by}."
    put("photos/page.jpg", HTML.encode())
    report = run(with_models(job, *names))
    assert headline(report) == "1 new image."
    assert "4 images seen, 1 of them in quarantine (all new)." in summary(report)
    report = run(with_models(job, *names))
    assert headline(report) == f"Nothing new. 3 of 4 images are embedded with {by}; 1 in quarantine."
    assert "None is new; 1 known from earlier runs. All of them: pixelmill quarantine" in as_markdown(report)


def test_what_waits_is_told(job: Job, put: Callable[..., Path]) -> None:
    """A run past its deadline says how many vectors are left."""
    put("photos/1.png")
    assert headline(run(job.model_copy(update={"deadline": 1.0}))) == "No image changed. 1 vector pending."


def test_a_dry_run_reads_well(job: Job) -> None:
    """It says what a run would do, by model, and who would; with nothing to do it is one sentence."""
    measured, room = Schedule(4212, 2, (), measured=True), Room(3_450_000, 92_000_000_000)
    report = dry_run_report(job, Scan(1, 4212, 0), {"one": 312, "second": 4212}, measured, room)
    assert as_markdown(report).startswith("# A run would embed 4,212 of 4,212 images.\n")
    assert "| `one` | 312 |\n| `second` | 4,212 |" in as_markdown(report)
    assert next(sections(report)).note.endswith(
        " It takes about 3.5 MB of the 92.0 GB that are free on the store's disk."
    )
    nothing = dry_run_report(job, Scan(1, 5, 0), {"one": 0}, Schedule(0, 0, (), measured=True), Room(0, None))
    assert as_markdown(nothing) == "# Nothing to embed.\n"


def test_several_workers_have_a_line_each(job: Job, put: Callable[..., Path]) -> None:
    """What each worker did, with which models, and what the plan was; one worker alone has no such table."""
    put("photos/1.png")
    report = run(job)
    assert "## Workers" not in as_markdown(report)
    worker = report.workers["inline"]
    workers = {"gpu0": worker, "cpu": worker.model_copy(update={"models": {}})}
    shared = report.model_copy(update={"workers": workers, "plan": "1 image x 1 model"})
    assert "| `gpu0` | cpu | 1 |" in as_markdown(shared)
    assert "1 image x 1 model" in as_markdown(shared)


def test_what_was_embedded_twice_is_told(job: Job, put: Callable[..., Path]) -> None:
    """The sum of all shards, by its key and in words; where nothing was, in no word."""
    put("photos/1.png")
    report = run(job)
    assert report.as_json()["embedded_twice"] == 0
    assert "Embedded twice" not in as_markdown(report)
    done = [ShardReport(embedded_twice=twice) for twice in (1_200, 0, 34)]
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources)
        report = build(
            job, writer.snapshot(), writer.ledger, scan, writer.snapshot().manifest.matrices, Changes(), done,
            started=time.time(), seconds=1.0,
        )  # fmt: skip
    assert report.embedded_twice == 1_234
    assert "Embedded twice, and stored once: 1,234 vectors" in as_markdown(report)
    assert read_report(report.as_json()) == report


@pytest.mark.parametrize(
    ("timing", "devices", "words"),
    [
        (Timing(models={"one": 9.3}, wait=0.7), {"one": "cpu"}, "at work 93% of the time. A GPU or a smaller model"),
        (Timing(models={"one": 9.3}, wait=0.7), {"one": "cuda:0"}, "A larger batch_size or another GPU would help."),
        (
            Timing(models={"one": 1.7}, wait=8.3, decode=5),
            {"one": "cpu"},
            "17% of the time. More threads (now 2), cores",
        ),
        (Timing(models={"one": 1.7}, wait=8.3, read=5), {"one": "cpu"}, "A faster disk or network would help"),
        (Timing(), {}, ""),
    ],
)
def test_the_bottleneck_is_told_with_what_would_help(timing: Timing, devices: dict[str, str], words: str) -> None:
    """A sentence for each stage that may hold a run up, with the share of time that the models were at work."""
    told = advice(ShardReport(timing=timing, devices=devices, threads=2), [])
    assert words in told if words else told == ""


def tables(report: RunReport) -> list[list[list[str]]]:
    """The tables of the Markdown, as CommonMark with GFM tables reads them: rows of cells of text."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(as_markdown(report)):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline":
            kinds = {child.type for child in token.children or ()}
            assert kinds <= {"text", "code_inline", "softbreak", "text_special", "strong_open", "strong_close"}, kinds
            if found and token.level == 4:
                found[-1][-1].append("".join(child.content for child in token.children or ()))
    return found


def test_no_name_breaks_the_markdown(job: Job, put: Callable[..., Path]) -> None:
    """Folders, files, models and warnings with pipes, backticks, newlines, HTML, links and bytes that are no UTF-8: each
    table keeps its rows and columns, nothing is markup, and every name can be told."""
    for name in HOSTILE:
        put(Path("photos", name, "1.png"))
        put(Path("scans", name), HTML.encode() + name.encode(errors="surrogateescape"))
    report = run(with_models(job, "a|b`<i>"))
    more = tuple(f"/photos/{name}: <b>no</b> *such* _file_" for name in HOSTILE)
    report = report.model_copy(update={"warnings": (*report.warnings, *more)})
    as_markdown(report).encode()
    models, *_, folders, failed = tables(report)
    assert [len(row) for row in models] == [8, 8]
    assert models[1][0] == r"a\x7cb\x60<i>"
    assert [len(row) for row in folders] == [2] * (len(HOSTILE) + 3), "header, scans and scans/["
    assert [len(row) for row in failed] == [3, 3]
    shown = "".join(row[0] for row in folders)
    for name in (r"a\x7cb", r"c\x60d\x60\x60", r"new\nline", "[x](e) <b>&amp;*_.png", r"caf\udce9"):
        assert name in shown
    text = as_markdown(report)
    assert text.count("\n- /photos/") == len(HOSTILE)
    assert "<b>no" not in text


def test_many_warnings_are_cut() -> None:
    """A disk that fails a million times does not make a report of a million lines."""
    report = DryRunReport(store="store", images=SeenCount(seen=0), models={}, plan="", warnings=("x",) * 1000)
    assert as_markdown(report).count("\n- x") == 20
    assert as_markdown(report).endswith("- … and 980 more.\n")


def test_paths_of_a_failing_disk_do_not_swell_what_is_kept(job: Job, put: Callable[..., Path], tmp_path: Path) -> None:
    """Of many paths that cannot be read the first are named, after what concerns a whole source; the rest are counted."""
    put("photos/a.png")
    run(job)
    (tmp_path / "photos" / "a.png").unlink()
    missing = tmp_path / "list.txt"
    missing.write_text("\n".join(f"{tmp_path}/scans/{i}.png" for i in range(200)))
    report = run(job.model_copy(update={"sources": (f"@{missing}", *job.sources)}))
    assert len(report.warnings) < 60
    assert all("mounted?" in warning for warning in report.warnings[:2])
    assert re.fullmatch(r"… and 1\d\d more that could not be read\.", report.warnings[-1])


# pixelmill report


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert int(stop.value.code or 0) == code
    return capsys.readouterr().out


def test_the_last_report_can_be_read_in_a_terminal(
    job: Job, put: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """`pixelmill report` shows the last run's with all its tables, whatever the files are called; --json gives what
    `run --json` gave, word by word."""
    run(job)
    for name in HOSTILE:
        put(Path("photos", name, "1.png"))
        put(Path("scans", name), HTML.encode() + name.encode(errors="surrogateescape"))
    report = run(job)
    assert json.loads(output(capsys, "report", str(job.store), "--json")) == json.loads(json.dumps(report.as_json()))
    shown = output(capsys, "report", str(job.store))
    assert shown.startswith(f"{job.store}: {headline(report)}\n{summary(report)}\n")
    for section in sections(report):
        assert f"\n{section.title}\n" in shown
    assert "photos/[/b].png" in shown
    assert r"photos/new\nline.png" in shown
    assert "scans/[/b].png" in output(capsys, "quarantine", str(job.store))


def test_a_store_without_a_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that no run has told of, or that is none, is an error in words."""
    with StoreWriter(tmp_path / "store"):
        pass
    output(capsys, "report", str(tmp_path / "store"), code=1)
    output(capsys, "report", str(tmp_path / "nothing"), code=1)
    assert not (tmp_path / "nothing").exists()


# Reports of older programs


@pytest.mark.parametrize("kept", sorted((Path(__file__).parent / "golden").glob("*.json")), ids=lambda path: path.stem)
def test_reports_of_older_programs_are_read(kept: Path) -> None:
    """What an older program kept reads as a report with the same values, and still tells all that it told."""
    raw = json.loads(kept.read_text())
    report = read_report(raw)
    assert report is not None
    told = report.as_json()
    for night in told["nights"]:
        assert night.pop("ended") == "done"
    for did in told["workers"].values():
        assert (did.pop("waited_reading"), did.pop("waited_decoding")) == (0, 0)
    for model in told["models"].values():
        assert (model.pop("precision_origin"), model.pop("precision_measured")) == ("", None)
    assert {key: value for key, value in told.items() if key in raw} == raw
    assert headline(report)
    assert {section.title for section in sections(report)} >= {"Models"}
    assert comparable(report, [report]) == [report]


def test_what_the_next_program_adds_does_not_hide_a_report(job: Job) -> None:
    """A report with keys that this program does not know is read without them."""
    report = run(job)
    assert read_report({**report.as_json(), "weather": "rain"}) == report


def test_how_a_precision_was_found_is_told(job: Job, put: Callable[..., Path]) -> None:
    """Measured for a new matrix: how fast each was beside float32, how near its vectors, over how many pictures in which
    batches. The next night keeps it, measures nothing and says so; one that is asked for goes without saying."""
    job = job.model_copy(update={"precision": "auto", "batch_size": 40})
    put("photos/1.png")
    put("photos/2.png")
    first = run(job)
    model = first.models["one"]
    assert model.precision_origin == "measured"
    found = model.precision_measured
    assert found is not None
    assert (found.precision, found.pictures, found.batch_size) == (model.precision, 2, 40)
    (tried,) = found.tried
    assert tried.precision == "bfloat16"
    note = next(sections(first)).note
    assert f"cosine at least {tried.least_cosine:.5f}; over 2 pictures in batches of 40." in note
    assert f"{tried.speed:.1f} times float32's pace" in note
    put("photos/3.png")
    second = run(job)
    kept = second.models["one"]
    assert (kept.precision_origin, kept.precision_measured, kept.precision) == ("kept", None, model.precision)
    assert "nothing was measured in this run" in next(sections(second)).note
    put("photos/4.png")
    third = run(job.model_copy(update={"precision": model.precision}))
    assert third.models["one"].precision_origin == "asked"
    assert "measured" not in next(sections(third)).note


def test_building_a_report_writes_nothing(job: Job, put: Callable[..., Path]) -> None:
    """The ledger is the same before and after; closing the run is what settles it."""
    put("photos/1.png")
    run(job)
    put("photos/2.png")
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources)
        prepared = prepare(job, writer, scan.number)
        matrices, plan = list(prepared.matrices), prepared.plan
        done = [embed_shard(job, writer, matrices, scan.number, shard) for shard in plan.shards]
        changes = writer.ledger.changes()
        before = list(sqlite3.connect(writer.ledger.path).iterdump())
        report = build(
            job, writer.snapshot(), writer.ledger, scan, matrices, changes, done, started=time.time(), seconds=1.0
        )
        assert list(sqlite3.connect(writer.ledger.path).iterdump()) == before
        close(writer.ledger, scan, report, time.time())
        assert recorded(writer.ledger, 1) == [report]
