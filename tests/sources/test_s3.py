"""Images in S3, by a real server in a process of its own: listed page by page, read at once, and only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixelmill.errors import SourceError
from pixelmill.run.beside import read_beside
from pixelmill.run.job import Job
from pixelmill.run.scan import scan_sources
from pixelmill.search.sheet import thumbnail
from pixelmill.sources import fsspec as filesystem
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import is_there, modified_ns, read_image
from pixelmill.sources.source import parse_source
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.web.originals import OriginalGone, locate, read_original
from tests.sources.conftest import Run, places
from tests.support.archives import content, pack_parquet, pack_tar, pack_zip, shard
from tests.support.s3 import S3

BUCKET = "s3://photos"


@pytest.fixture
def s3(s3_server: S3) -> Iterator[S3]:
    """The server with an empty bucket."""
    files().mkdir("photos")
    s3_server.requests()
    yield s3_server
    files().rm("photos", recursive=True)


def files() -> Any:
    """The same file system that Pixelmill asks, to put objects into it."""
    return filesystem.filesystem_files(BUCKET)._fs


def put(*numbers: int, folder: str = "2026") -> None:
    files().pipe({f"photos/{folder}/{number:04}.png": content(number) for number in numbers})


def test_a_second_run_reads_nothing(go: Run, job: Job, s3: S3) -> None:
    """All objects are read once; the second run lists, and asks for no object."""
    put(*range(20))
    files().pipe({"photos/2026/notes.txt": b"no picture", "photos/.hidden/a.png": content(1), "photos/empty": b""})
    calls, report = go(BUCKET)
    assert (calls, report.images.seen, report.sources) == (20, 20, {BUCKET: 20})
    assert len(s3.reads()) == 20
    assert places(job) == {f"{BUCKET}/2026/{number:04}.png" for number in range(20)}
    calls, report = go(BUCKET)
    assert (calls, report.images.seen, report.images.new) == (0, 20, 0)
    assert s3.reads() == []
    assert verify(job.store) == []


def test_what_changed_alone_is_read(go: Run, job: Job, s3: S3) -> None:
    """New, changed, moved and removed objects are told apart; no other is read, but for the self-check's eight."""
    put(*range(20))
    go(f"{BUCKET}/2026/")
    s3.requests()
    put(100)
    files().pipe("photos/2026/0015.png", content(115))
    files().mv("photos/2026/0016.png", "photos/2026/moved.png")
    files().rm("photos/2026/0017.png")
    s3.requests()
    calls, report = go(f"{BUCKET}/2026")
    images = report.images
    assert (calls, images.new, images.changed, images.moved, images.removed) == (2, 1, 1, 1, 1)
    assert {Path(path).stem for path in s3.reads()} == {"0100", "0015", "moved", *(f"{n:04}" for n in range(8))}


def test_more_than_a_page(s3: S3) -> None:
    """A listing of several answers (of 50 objects here, by others 1,000) is whole, in order, and asks no more."""
    names = [f"{number:05}.png" for number in range(110)]
    files().pipe({f"photos/many/{name}": b"x" for name in names})
    s3.requests()
    assert [found.path for found in discover([f"{BUCKET}/many"])] == names
    lists = [path for method, path in s3.requests() if "list-type=2" in path and "continuation-token" in path]
    assert len(lists) == 2


def test_names_of_objects(go: Run, job: Job, s3: S3) -> None:
    """Keys with spaces, marks of addresses, other scripts and double slashes are read as they are spelled; those
    without an extension are images if their bytes are."""
    keys = ["a b.png", "q?x=1#y%20.png", "ü/日本.png", "d//e.png", "0a1b2c3d", "x.seg.png"]
    files().pipe({f"photos/{key}": content(number) for number, key in enumerate(keys)})
    assert go(BUCKET)[0] == len(keys)
    assert places(job) == {f"{BUCKET}/{key}" for key in keys}
    store = Store(job.store)
    for row in range(len(store)):
        original = read_original(locate(store, [row])[row], max_bytes=10**6)
        assert original.data in {content(n) for n in range(len(keys))}


def test_shards_of_all_kinds(go: Run, job: Job, s3: S3, tmp_path: Path) -> None:
    """Zip, tar and Parquet in a bucket, by a pattern: an unchanged one is not opened again, a removed one takes its
    images with it."""
    pack_zip(tmp_path / "a.zip", shard(range(10)))
    pack_tar(tmp_path / "b.tar", shard(range(10, 20)))
    pack_parquet(tmp_path / "c.parquet", shard(range(20, 30)))
    for name in ("a.zip", "b.tar", "c.parquet"):
        files().pipe(f"photos/shards/{name}", (tmp_path / name).read_bytes())
    pattern = f"{BUCKET}/shards/*"
    calls, report = go(pattern)
    assert (calls, report.images.seen, report.images.quarantined) == (30, 30, 0)
    assert f"{BUCKET}/shards/b.tar/000010.png" in places(job)
    s3.requests()
    assert go(pattern)[0] == 0
    assert s3.reads() == []
    files().rm("photos/shards/b.tar")
    _, report = go(pattern)
    assert (report.images.removed, report.images.seen) == (10, 20)
    assert verify(job.store) == []


def test_one_object_and_a_list(go: Run, job: Job, s3: S3) -> None:
    """An object named alone, and a list in the bucket whose names are those of objects beside it."""
    put(1, 2, 3)
    files().pipe("photos/2026/list.txt", f"0002.png\n{BUCKET}/2026/0003.png\ngone.png\n".encode())
    files().pipe("photos/2026/empty.png", b"")
    calls, report = go("S3://photos/2026/0001.png", f"@{BUCKET}/2026/list.txt", f"{BUCKET}/2026/empty.png")
    assert (calls, report.images.seen, report.images.quarantined) == (3, 4, 1)
    assert any("gone.png" in warning for warning in report.warnings)


def test_a_bucket_that_was_emptied(go: Run, job: Job, s3: S3) -> None:
    """A prefix with nothing in it any more is told of, and nothing is marked as removed; so is one that never was."""
    put(1, 2)
    files().pipe("photos/other/a.png", content(3))
    go(f"{BUCKET}/2026")
    files().rm("photos/2026", recursive=True)
    with pytest.raises(SourceError, match="photos/2026"):
        go(f"{BUCKET}/2026")
    files().pipe("photos/2026/notes.txt", b"x")
    _, report = go(f"{BUCKET}/2026")
    assert report.images.removed == 0
    assert any("2 are known from there" in warning for warning in report.warnings)
    with pytest.raises(SourceError, match="nobucket"):
        parse_source("s3://nobucket/a")


def test_the_gallery_shows_what_lies_elsewhere(go: Run, job: Job, s3: S3, tmp_path: Path) -> None:
    """Originals and thumbnails come from the bucket, and from shards in it, as long as they are what was embedded."""
    put(1)
    pack_tar(tmp_path / "b.tar", shard(range(10, 13)))
    files().pipe("photos/b.tar", (tmp_path / "b.tar").read_bytes())
    go(f"{BUCKET}/2026", f"{BUCKET}/b.tar")
    store = Store(job.store)
    for row in range(len(store)):
        original = read_original(locate(store, [row])[row], max_bytes=10**6)
        assert original.data in {content(n) for n in (0, 1, 10, 11, 12)}
        assert thumbnail(original.file)[:2] == b"\xff\xd8"
        assert is_there(original.file)
        assert modified_ns(original.file) > 0
    files().pipe("photos/2026/0001.png", content(9))
    row = next(r for r in range(len(store)) if store.sources[r].decode() == f"{BUCKET}/2026")
    located = locate(store, [row])[row]
    with pytest.raises(OriginalGone, match="has changed"):
        read_original(located, max_bytes=10**6)
    files().rm("photos/2026/0001.png")
    with pytest.raises(OriginalGone):
        read_original(located, max_bytes=10**6)
    assert not is_there(located.places[0].file)


def test_paranoid_reads_all_again(go: Run, job: Job, s3: S3) -> None:
    """Each object is hashed anew, and nothing is embedded."""
    put(*range(10))
    go(BUCKET)
    s3.requests()
    before = job.model_copy(update={"paranoid": True, "sources": (BUCKET,)})
    from pixelmill.run.steps import run

    assert run(before).images.changed == 0
    assert len(s3.reads()) == 10


def test_keys_are_in_no_file_of_the_store(go: Run, job: Job, s3: S3) -> None:
    """What lets in comes from the environment, and stays there."""
    put(1)
    _, report = go(BUCKET)
    assert "hunter2" not in str(report)
    for file in job.store.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without s3fs, the reason says which extra brings it."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(SourceError, match=r"pixelmill\[s3\]"):
        filesystem.filesystem_files("s3://bucket/a")


def test_reading_goes_on_where_the_server_comes_back(s3: S3) -> None:
    """An object that is gone when it is read is gone, and no reason to refuse it."""
    put(1)
    (found,) = discover([BUCKET])
    files().rm("photos/2026/0001.png")
    with pytest.raises(FileNotFoundError):
        read_image(FoundFile(*found), max_bytes=10**6)


@pytest.mark.slow
def test_a_killed_run_reads_the_rest_alone(s3: S3, tmp_path: Path) -> None:
    """Kill -9 in the middle of a run by the command: what was acknowledged is kept, and the next run reads only what is
    missing, and the self-check's eight."""
    pack_tar(tmp_path / "b.tar", shard(range(100, 160)))
    put(*range(60))
    files().pipe("photos/b.tar", (tmp_path / "b.tar").read_bytes())
    (tmp_path / "pixelmill.toml").write_text("[run]\nshard_size = 10\nbatch_size = 4\n")
    command = [sys.executable, "-m", "pixelmill", "run", f"{BUCKET}/2026", f"{BUCKET}/b.tar", "--store", "store"]
    s3.requests()
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as run:
        while run.poll() is None and not _rows(tmp_path / "store"):
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
    kept = _rows(tmp_path / "store")
    assert 0 < kept < 120
    s3.requests()
    subprocess.run(command, cwd=tmp_path, check=True, timeout=240)
    assert _rows(tmp_path / "store") == 120
    assert len([p for p in s3.reads() if p.endswith((".png", ".tar"))]) <= 120 - kept + 8
    assert verify(tmp_path / "store") == []


def _rows(store: Path) -> int:
    try:
        return len(Store(store))
    except OSError:
        return 0


@pytest.mark.parametrize("pattern", ["*/*.png", "**/*.png"])
def test_a_folder_that_cannot_be_listed_under_a_pattern(
    go: Run, job: Job, s3: S3, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """Nothing is marked as removed, and the report says that the listing failed."""
    put(1, 2, folder="one")
    put(3, 4, folder="two")
    files().pipe("photos/two/deep/x.png", content(5))
    assert go(f"{BUCKET}/{pattern}")[0] == (4 if pattern == "*/*.png" else 5)
    known = places(job)
    real = files().ls

    def failing(folder: str, **how: Any) -> Any:
        if folder.endswith("two"):
            raise OSError(5, "Slow down")
        return real(folder, **how)

    def failing_too(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Slow down")

    with monkeypatch.context() as patch:
        patch.setattr(files(), "ls", failing)
        patch.setattr(files(), "call_s3", failing_too)
        _, report = go(f"{BUCKET}/{pattern}")
    assert report.images.removed == 0
    assert places(job) == known
    assert any("Slow down" in warning for warning in report.warnings), report.warnings


def test_companions_beside_objects(s3: S3, tmp_path: Path) -> None:
    """A listing tells of them as well: they are read once, and again where their etag is another."""
    put(0, 1)
    files().pipe(
        {"photos/2026/0000.txt": b"zero", "photos/2026/0001.png.json": b'{"n": 1}', "photos/2026/x.txt": b"no"}
    )
    (tmp_path / "store").mkdir()
    with Ledger(tmp_path / "store") as ledger:

        def said() -> list[str]:
            scan_sources(ledger, [BUCKET], beside=True)
            s3.requests()
            read_beside(ledger)
            return sorted(Path(path).name for path in s3.reads())

        assert said() == ["0000.txt", "0001.png.json"]
        assert said() == []
        files().pipe("photos/2026/0000.txt", b"null")
        assert said() == ["0000.txt"]
        assert ledger.beside.names() == {"caption": 1, "n": 1}
        files().rm("photos/2026/0001.png.json")
        assert said() == []
        assert ledger.beside.names() == {"caption": 1}
