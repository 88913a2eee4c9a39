"""A place to hand over: what is put there is there whole, is seen by others, and goes away again; trouble is told in
words. The same for a folder and for S3, by a real server."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixelmill.errors import StoreError
from pixelmill.sources.fsspec import filesystem_files
from pixelmill.travel import handover
from pixelmill.travel.handover import FolderHandover, Handover, ObjectHandover, handover_at
from tests.support.s3 import S3, forget_connections

BUCKET = "s3://handover"
PUT = "import sys; from pixelmill.travel.handover import handover_at as at; at(sys.argv[1]).put('1/rows-0-a', b'x' * 10**6)"


@pytest.fixture
def bucket(s3_server: S3) -> Iterator[S3]:
    """An S3 server with an empty bucket to hand over in."""
    files().mkdir("handover")
    yield s3_server
    files().rm("handover", recursive=True)


def files() -> Any:
    return filesystem_files(BUCKET)._fs


class Contract:
    """What holds of every place."""

    def test_put_get_names_remove(self, place: str) -> None:
        """Names with slashes, content of any bytes; what was put again is what was put last; gone is None."""
        here, there = handover_at(place), handover_at(f"{place}/")
        assert here.get("store/1/orders") is None
        assert list(here.names("store/1")) == list(here.names("")) == []
        for name, data in {
            "1/shard-0": b"a",
            "1/shard-10": bytes(range(256)),
            "1/b/c": b"",
            "12/shard-0": b"d",
        }.items():
            here.put(f"store/{name}", data)
        assert there.get("store/1/shard-10") == bytes(range(256))
        assert there.get("store/1/b/c") == b""
        assert list(there.names("store/1")) == ["store/1/b/c", "store/1/shard-0", "store/1/shard-10"]
        assert len(list(there.names("store"))) == len(list(there.names(""))) == 4
        here.put("store/1/shard-0", b"once more")
        assert there.get("store/1/shard-0") == b"once more"
        there.remove("store/1/shard-0")
        there.remove("store/1/shard-0")
        assert here.get("store/1/shard-0") is None
        here.clear("store/1")
        here.clear("store/1")
        assert list(here.names("")) == ["store/12/shard-0"]

    def test_another_process_hands_over(self, place: str) -> None:
        """Who has the place alone, and the environment, can hand over, and the run finds it."""
        subprocess.run([sys.executable, "-c", PUT, place], check=True)
        here = handover_at(place)
        assert [len(here.get(name) or b"") for name in here.names("1")] == [10**6]

    def test_never_half_of_one(self, place: str) -> None:
        """Who looks again and again while others are put in its place sees one of them whole, under no other name."""
        here, done = handover_at(place), threading.Event()
        seen: list[bytes | None] = []
        here.put("1/alive", bytes([0]) * 300_000)

        def look() -> None:
            there = handover_at(place)
            while not done.is_set():
                assert list(there.names("1")) == ["1/alive"]
                seen.append(there.get("1/alive"))

        looker = threading.Thread(target=look)
        looker.start()
        for number in range(20):
            here.put("1/alive", bytes([number]) * 300_000)
        done.set()
        looker.join()
        assert seen
        assert {len(set(data)) for data in seen if data is not None} == {1}
        assert {len(data or b"") for data in seen} == {300_000}

    def test_pieces_of_one(self, place: str) -> None:
        """What is asked for is read, from wherever it begins; what is not there is None."""
        here = handover_at(place)
        here.put("1/rows", bytes(range(256)))
        with here.opened("1/rows") as file:
            assert file
            assert (file.size, file.part(250, 300), file.read(3)) == (256, bytes(range(250, 256)), b"\0\1\2")
        with here.opened("1/none") as file:
            assert file is None

    @pytest.mark.parametrize("after", [b"two", None], ids=["replaced", "removed"])
    def test_one_that_is_another_while_pieces_are_read(self, place: str, after: bytes | None) -> None:
        """Nobody takes pieces of two for one."""
        here, there = handover_at(place), handover_at(place)
        here.put("1/rows", b"one")
        opened = here.opened("1/rows")
        file = opened.__enter__()
        assert file
        assert file.part(0, 1) == b"o"
        there.remove("1/rows") if after is None else there.put("1/rows", after)
        with pytest.raises(StoreError, match="replaced while it was read"):
            opened.__exit__(None, None, None)


class TestFolder(Contract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "runs")

    def test_empty_folders_go_as_well(self, tmp_path: Path) -> None:
        """The last that is taken away takes its folders with it, but for the place itself; what a dead worker left
        half-written is never listed, and goes when all is cleared."""
        place = FolderHandover(tmp_path / "runs")
        place.put("store/1/rows-0-a", b"x")
        place.remove("store/1/rows-0-a")
        assert list((tmp_path / "runs").iterdir()) == []
        place.put("store/1/rows-0-a", b"x")
        (tmp_path / "runs/store/1/.rows-1-b.0123abcd.tmp").write_bytes(b"half")
        assert list(place.names("store")) == ["store/1/rows-0-a"]
        place.clear("store/1")
        assert list((tmp_path / "runs").iterdir()) == []

    def test_what_is_half_written_goes_once_it_is_old(self, tmp_path: Path) -> None:
        """With its folder, where nothing else lies there; what somebody may still be at stays."""
        place = FolderHandover(tmp_path / "runs")
        place.put("1/a", b"x")
        for name, age in {"1/.b.0123abcd.tmp": 7200, "2/.c.0123abcd.tmp": 7200, "1/.d.0123abcd.tmp": 60}.items():
            path = tmp_path / "runs" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"half")
            os.utime(path, (time.time() - age,) * 2)
        place.clear_halves(3600)
        left = {path.relative_to(tmp_path / "runs").as_posix() for path in (tmp_path / "runs").rglob("*")}
        assert left == {"1", "1/a", "1/.d.0123abcd.tmp"}

    def test_a_folder_that_goes_meanwhile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who removes the last one beside it takes the folder away before the new one is in it: it is made again."""
        place = FolderHandover(tmp_path / "runs")
        real, times = handover.make_folder_durably, iter(range(9))

        def gone_again(folder: Path) -> None:
            real(folder)
            if next(times) == 0:
                folder.rmdir()

        monkeypatch.setattr(handover, "make_folder_durably", gone_again)
        place.put("store/1/a", b"x")
        assert place.get("store/1/a") == b"x"

    def test_others_can_read_it(self, tmp_path: Path) -> None:
        """A worker may be another user: what it hands over is no secret of its own."""
        place = FolderHandover(tmp_path / "runs")
        place.put("1/a", b"x")
        assert stat.S_IMODE((tmp_path / "runs/1/a").stat().st_mode) == 0o644

    @pytest.mark.parametrize("act", ["put", "get", "names", "remove", "clear"])
    def test_a_place_that_cannot_be_used(self, act: str, tmp_path: Path) -> None:
        """It is told which setting names it: a file where a folder should be, and (not for root) a closed folder."""
        (tmp_path / "file").write_text("x")
        folder = FolderHandover(tmp_path / ("file" if act in ("put", "names", "clear") else "runs"))
        (tmp_path / "runs/1/a").mkdir(parents=True)
        acts: dict[str, Any] = {
            "put": lambda: folder.put("1/a", b"x"), "get": lambda: folder.get("1/a"),
            "names": lambda: list(folder.names("")), "remove": lambda: folder.remove("1/a"),
            "clear": lambda: folder.clear(""),
        }  # fmt: skip
        with pytest.raises(StoreError, match=r"^Expected to .*\[run\] handover\.$"):
            acts[act]()

    @pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
    def test_a_place_of_somebody_else(self, tmp_path: Path) -> None:
        """A folder that another user can only look at: the reason is the permission."""
        place = FolderHandover(tmp_path / "runs")
        place.put("1/a", b"x")
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == os.getuid() and folder.is_relative_to("/tmp/pytest-of-root"):
                folder.chmod(0o755)
        os.seteuid(65534)
        try:
            assert place.get("1/a") == b"x"
            for act in (lambda: place.put("1/b", b"x"), lambda: place.remove("1/a"), lambda: place.clear("1")):
                with pytest.raises(StoreError, match=r"Permission denied.*\[run\] handover"):
                    act()
        finally:
            os.seteuid(0)


class TestS3(Contract):
    @pytest.fixture
    def place(self, bucket: S3) -> str:
        return f"{BUCKET}/here"

    @pytest.mark.slow
    def test_a_large_one(self, place: str) -> None:
        """One beyond a single request, which S3 puts together from parts, arrives at once."""
        data = os.urandom(2**20) * 101
        handover_at(place).put("1/rows", data)
        assert handover_at(place).get("1/rows") == data

    def test_a_bucket_that_is_not_there(self, s3_server: S3) -> None:
        """It is told of, by all that is done there: no orders is something else than no place."""
        none = handover_at("s3://nobucket/here")
        for act in (lambda: none.put("a", b""), lambda: none.get("a"), lambda: none.names("a").__next__(),
                    lambda: none.remove("a")):  # fmt: skip
            with pytest.raises(StoreError, match=r"at s3://nobucket/here\. .*bucket.*\[run\] handover"):
                act()

    @pytest.mark.parametrize("act", ["pipe_file", "cat_file", "rm_file", "call_s3", "info"])
    def test_a_network_that_fails_for_a_moment(self, place: str, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each question is asked again, and nothing is told; where it fails on and on, what the last one said is."""
        monkeypatch.setattr(handover, "DELAYS", (0.0, 0.0, 0.0))
        here, real = handover_at(place), getattr(files(), f"_{act}")
        fails = iter([True, True, True, False, False])

        def failing(*args: Any, **how: Any) -> Any:
            if next(fails):
                raise OSError("Slow down")
            return real(*args, **how)

        with monkeypatch.context() as patch:
            patch.setattr(files(), f"_{act}", failing)
            use(here, act)
            fails = iter([True] * 9)
            with pytest.raises(StoreError, match="Slow down"):
                use(here, act)
        assert len(list(fails)) == 5

    def test_credentials_that_are_missing(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are told of at once: asking again would find none either."""
        monkeypatch.setattr(handover, "DELAYS", (1000.0,))
        with monkeypatch.context() as patch:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.delenv(name)
            forget_connections()
            with pytest.raises(StoreError, match="credentials"):
                handover_at(place).put("a", b"x")
        forget_connections()


def _looked_at(place: Any) -> None:
    with place.opened("1/a"):
        pass


def use(place: Handover, act: str) -> None:
    acts: dict[str, Any] = {
        "pipe_file": lambda: place.put("1/a", b"x"), "cat_file": lambda: place.get("1/a"),
        "rm_file": lambda: place.remove("1/a"), "call_s3": lambda: list(place.names("1")),
        "info": lambda: _looked_at(place),
    }  # fmt: skip
    acts[act]()


def test_an_address_where_nothing_can_be_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP, an unknown protocol, and one whose package is missing: the reason, and how to get it."""
    for place, said in {"https://a/b": "takes none", "nothing://a/b": "fsspec"}.items():
        with pytest.raises(StoreError, match=rf"{said}.*\[run\] handover"):
            handover_at(place)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(StoreError, match=r"pixelmill\[s3\]"):
        ObjectHandover("s3://bucket/a")
