"""Images in zip, tar and Parquet archives: found, read one by one, and not looked at again while the archive stays."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixelmill.errors import ImageRejected, SourceError
from pixelmill.run.job import Job
from pixelmill.sources import archives
from pixelmill.sources.braces import expanded
from pixelmill.sources.discover import discover
from pixelmill.sources.files import FileChanged
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.store.ledger import Ledger
from pixelmill.store.readonly import ledger_of
from pixelmill.store.verify import verify
from tests.sources.conftest import Run, places
from tests.support.archives import content, pack_parquet, pack_tar, pack_zip, shard
from tests.support.image_server import Faults, ImageServer

Pack = Callable[[Path, Mapping[str, bytes]], None]


PACKERS = {"zip": pack_zip, "tar": pack_tar, "parquet": pack_parquet}


@pytest.fixture(params=PACKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read_all(*sources: str) -> dict[str, bytes]:
    return {file.path: read_image(file, max_bytes=10**7) for file in discover(list(sources))}


def test_every_member_is_read(tmp_path: Path, kind: str) -> None:
    """More members than one batch or row group holds, each with its own bytes, in any order and by its name alone."""
    packed = shard(range(150))
    PACKERS[kind](tmp_path / f"a.{kind}", packed)
    found = list(discover([str(tmp_path / f"a.{kind}")]))
    assert [read_image(file, max_bytes=10**6) for file in found] == list(packed.values())
    assert all(file.source == str(tmp_path / f"a.{kind}") for file in found)
    for i in np.random.default_rng(0).permutation(150):
        unplaced = FoundFile(found[i].source, found[i].path, 0, 0, 0)
        assert read_image(unplaced, max_bytes=10**6) == list(packed.values())[i]


def test_an_unchanged_archive_is_not_opened(
    go: Run, job: Job, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run asks the file system for the archive's size and times, and that is all."""
    archive = tmp_path / f"a.{kind}"
    PACKERS[kind](archive, shard(range(20)))
    assert go(str(archive))[0] == 20
    assert len(places(job)) == 20

    def never(*_: object) -> None:
        raise AssertionError("the archive was opened")

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_opened", never)
        calls, report = go(str(archive))
    assert (calls, report.images.seen, report.images.new, report.images.removed) == (0, 20, 0, 0)
    assert verify(job.store) == []


def test_a_changed_archive(go: Run, job: Job, tmp_path: Path, kind: str) -> None:
    """New members are embedded, vanished ones removed, changed ones changed; those that are the same are not embedded
    again, wherever they lie now."""
    archive = tmp_path / f"a.{kind}"
    PACKERS[kind](archive, shard(range(10)))
    go(str(archive))
    members = {**shard([0, 1, 2, 3]), "000004.png": content(44), **shard([5, 6, 7, 8]), "new.png": content(99)}
    PACKERS[kind](archive, members)
    os.utime(archive, ns=(1, 1))
    calls, report = go(str(archive))
    assert (calls, report.images.removed, report.images.seen) == (2, 1, 10)
    assert {place.rpartition("/")[2] for place in places(job)} == set(members)
    assert verify(job.store) == []


def test_shards_by_a_pattern(go: Run, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that come are added, those that go take their images with them; the others are not opened. Pictures that
    fit are taken, texts are skipped, and what does not fit stays as it was."""
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(3):
        pack_tar(shards / f"{number:04}.tar", shard(range(10 * number, 10 * number + 10)))
    (shards / "beside.png").write_bytes(content(500))
    (shards / "notes.txt").write_text("no picture")
    assert go(str(shards / "beside.png"))[0] == 1
    pattern = str(shards / "*.tar")
    assert go(pattern)[0] == 30
    (shards / "0001.tar").unlink()
    pack_tar(shards / "0003.tar", shard(range(30, 40)))
    opened, real = list[str](), archives._opened
    monkeypatch.setattr(archives, "_opened", lambda address, status: (opened.append(address), real(address, status))[1])
    calls, report = go(pattern)
    assert (calls, report.images.removed, report.images.seen) == (10, 10, 30)
    names = {Path(address).name for address in opened}
    assert names == {"0000.tar", "0003.tar"}, "the first for the self-check, which reads again what was stored first"
    assert str(shards / "beside.png") in places(job)
    assert len(places(job)) == 31
    calls, report = go(str(shards / "*"))
    assert (calls, report.images.seen) == (0, 31)


def test_archives_in_a_list(go: Run, job: Job, tmp_path: Path) -> None:
    """A list may name archives; one that is gone takes its images with it, while others of the list are there."""
    for number in range(2):
        pack_zip(tmp_path / f"{number}.zip", shard(range(5 * number, 5 * number + 5)))
    (tmp_path / "list.txt").write_text("0.zip\n1.zip\n")
    assert go(f"@{tmp_path / 'list.txt'}")[0] == 10
    (tmp_path / "0.zip").unlink()
    _, report = go(f"@{tmp_path / 'list.txt'}")
    assert report.images.removed == 5
    pack_zip(tmp_path / "0.zip", shard(range(5)))
    calls, report = go(f"@{tmp_path / 'list.txt'}")
    assert (calls, report.images.seen) == (0, 10)


def test_a_damaged_archive_loses_nothing(go: Run, job: Job, tmp_path: Path, kind: str) -> None:
    """One that is cut off is told of by its name, and what was in it stays on record; whole again, it is looked at. Of a
    zip and a tar the members before are read."""
    archive = tmp_path / f"a.{kind}"
    PACKERS[kind](archive, shard(range(10)))
    whole = archive.read_bytes()
    go(str(archive))
    archive.write_bytes(whole[: len(whole) * 2 // 3])
    _, report = go(str(archive))
    assert report.images.removed == 0
    assert len(places(job)) == 10
    assert any(warning.startswith(str(archive)) for warning in report.warnings)
    if kind != "parquet":
        assert 5 < report.images.seen < 10
    PACKERS[kind](archive, shard(range(11)))
    calls, report = go(str(archive))
    assert (calls, report.images.seen) == (1, 11)


def test_an_archive_that_changes_between_listing_and_reading(tmp_path: Path, kind: str, job: Job) -> None:
    """The bytes of another archive are never taken for those that were listed: to be tried again."""
    archive = tmp_path / f"a.{kind}"
    PACKERS[kind](archive, shard(range(10)))
    found = list(discover([str(archive)]))
    PACKERS[kind](archive, {**shard([77]), **shard(range(1, 9))})
    os.utime(archive, ns=(1, 1))
    for file in found:
        try:
            data = read_image(file, max_bytes=10**6)
        except (FileChanged, FileNotFoundError):
            continue
        assert kind == "zip", "which knows a checksum of each"
        assert data == shard(range(10))[file.path]


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_what_is_not_taken(tmp_path: Path, pack: Pack) -> None:
    """Texts, hidden files, those of desktops, and names that point out of the archive."""
    names = [
        "a.json",
        "a.txt",
        ".b.png",
        "__MACOSX/._c.png",
        ".hidden/d.png",
        "../e.png",
        "x/../../f.png",
        "_SUCCESS",
        "README",
    ]
    good = ["./g.png", "/h.png", "i/j.png", "0a1b2c", "ü.png", "a.seg.png"]
    pack(tmp_path / f"a.{pack.__name__[5:]}", {name: content(1) for name in names + good})
    found = read_all(str(tmp_path / f"a.{pack.__name__[5:]}"))
    assert sorted(found) == sorted(["g.png", "h.png", "i/j.png", "0a1b2c", "ü.png", "a.seg.png"])
    assert set(found.values()) == {content(1)}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links_in_tars(tmp_path: Path, format: int) -> None:
    """Headers before the header move a member; links and folders are no images."""
    name = "/".join(["long" * 10] * 2) + ".png" if format == tarfile.USTAR_FORMAT else "long" * 60 + ".png"
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as archive:
        for number, path in enumerate([name, "short.png"]):
            info = tarfile.TarInfo(path)
            info.size = len(content(number))
            archive.addfile(info, io.BytesIO(content(number)))
        for kind, path in [
            (tarfile.SYMTYPE, "link.png"),
            (tarfile.LNKTYPE, "hard.png"),
            (tarfile.DIRTYPE, "folder.png"),
        ]:
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, "short.png"
            archive.addfile(info)
    expected = {name: content(0), "short.png": content(1), "hard.png": content(1)}
    assert read_all(str(tmp_path / "a.tar")) == expected


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_compression_in_zips(tmp_path: Path, compression: int) -> None:
    pack_zip(tmp_path / "a.zip", shard(range(3)), compression)
    assert read_all(str(tmp_path / "a.zip")) == shard(range(3))


def test_members_that_are_refused(go: Run, job: Job, tmp_path: Path) -> None:
    """Empty, too large, damaged and encrypted ones are in quarantine by their names; the others are embedded."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.png", content(1))
        archive.writestr("empty.png", b"")
        archive.writestr("bomb.png", b"\0" * 5_000_000, zipfile.ZIP_DEFLATED)
        archive.writestr("damaged.png", content(2))
        archive.writestr("secret.png", content(3))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(content(2)) + 40] ^= 0xFF
    entry = data.rindex(b"secret.png") - 46
    data[entry + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert go(str(tmp_path / "a.zip"))[0] == 1
    with Ledger(job.store) as ledger:
        reasons = {Path(entry.path).name: entry.reason for entry in ledger.quarantine.entries()}
    assert reasons.keys() == {"empty.png", "bomb.png", "damaged.png", "secret.png"}
    assert "at most 1,000,000" in reasons["bomb.png"]
    assert "damaged" in reasons["damaged.png"]
    assert "encrypted" in reasons["secret.png"]


def test_columns_of_parquet(tmp_path: Path) -> None:
    """Several columns of images, plain bytes, and paths that occur twice or point elsewhere. A null is no image."""
    pq.write_table(
        pa.table(
            {
                "left": [{"bytes": content(0), "path": "same.png"}, {"bytes": content(1), "path": "same.png"}],
                "right": pa.array([content(2), None], pa.binary()),
                "vector": pa.array([b"\1\2", b"\3\4"], pa.binary()),
                "text": ["a", "b"],
            }
        ),
        tmp_path / "a.parquet",
    )
    found = {file.path: file for file in discover([str(tmp_path / "a.parquet")])}
    assert list(found) == ["left/00000000/same.png", "left/00000001/same.png", "right/00000000"]
    assert [read_image(file, max_bytes=10**6) for file in found.values()] == [
        content(0),
        content(1),
        content(2),
    ]
    pq.write_table(pa.table({"image": [{"bytes": content(0), "path": "../../etc/passwd"}]}), tmp_path / "b.parquet")
    (file,) = discover([str(tmp_path / "b.parquet")])
    assert file.path == "00000000/passwd"


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(number: int, path: str | None = None) -> dict[str, object]:
    return {"bytes": content(number), "path": path}


@pytest.mark.parametrize(
    ("kind", "rows", "names"),
    [
        (pa.large_binary(), [content(0), None, content(1)], ["00000000", "00000002"]),
        (pa.binary_view(), [content(0), None, content(1)], ["00000000", "00000002"]),
        (pa.binary(len(content(0))), [content(0), None, content(0)], ["00000000", "00000002"]),
        (pa.dictionary(pa.int32(), pa.binary()), [content(0), None, content(0)], ["00000000", "00000002"]),
        (pa.binary(), [None] * 50 + [content(0)], ["00000050"]),
        (pa.list_(pa.binary()), [[content(0), None], [], None, [content(1)]], ["00000000-0000", "00000003-0000"]),
        (pa.large_list(pa.binary_view()), [[content(0)], [content(1)]], ["00000000-0000", "00000001-0000"]),
        (pa.list_(pa.binary(), 2), [[content(0), content(1)], None], ["00000000-0000", "00000000-0001"]),
        (pa.list_(pa.list_(IMAGE)), [[[image(0)], [], [image(1, "b.png")]]], ["00000000-0000-0000", "00000000-0002-0000/b.png"]),
        (pa.map_(pa.string(), pa.binary()), [[("x", content(0))], None], ["00000000-0000"]),
        (IMAGE, [None, image(0, "a.png"), image(1)], ["00000001/a.png", "00000002"]),
        (
            pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string()), ("caption", pa.string())]),
            [image(0, "a/b.png")], ["00000000/b.png"],
        ),
        (pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]), [image(0, "b.png")], ["00000000/b.png"]),
        (pa.list_(IMAGE), [[image(0), None], None, [], [image(1, "b.png")]], ["00000000-0000", "00000003-0000/b.png"]),
        (
            pa.list_(pa.struct([("text", pa.string()), ("picture", IMAGE)])),
            [[{"text": "a", "picture": image(0)}, {"text": "b", "picture": None}], None], ["00000000-0000"],
        ),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("statistics", [True, False])
def test_what_columns_may_be(
    tmp_path: Path, kind: pa.DataType, rows: list[object], names: list[str], statistics: bool
) -> None:
    """Bytes and structs of them in every type that Arrow has, in lists and maps, and where some are not there: each
    image that is there is found and read, by its place and by its name, and nothing else."""
    pq.write_table(
        pa.table({"a.b": pa.array(rows, kind), "label": range(len(rows))}), tmp_path / "a.parquet",
        write_statistics=statistics, row_group_size=3,
    )  # fmt: skip
    found = list(discover([str(tmp_path / "a.parquet")]))
    assert [file.path for file in found] == names
    for file in (*found, *(FoundFile(file.source, file.path, 0, 0, 0) for file in found)):
        assert read_image(file, max_bytes=10**6) in (content(0), content(1))
    assert len({read_image(file, max_bytes=10**6) for file in found}) == len({str(row) for row in _flat(rows)})


def _flat(value: object) -> Iterator[bytes]:
    """The bytes in a value, however deep."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))


def test_parquet_of_empty_row_groups(tmp_path: Path) -> None:
    """Before, between and after those that hold something."""
    table = pa.table({"image": pa.array([image(0), None, image(1)], IMAGE)})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for rows in (table[:0], table[:1], table[:0], table[1:], table[:0]):
            writer.write_table(rows)
    assert list(read_all(str(tmp_path / "a.parquet")).values()) == [content(0), content(1)]


def test_a_list_of_images_beside_an_image(go: Run, job: Job, tmp_path: Path) -> None:
    """As vision-language datasets have them; rows that name a file instead of holding it are told of."""
    columns = {
        "image": pa.array([image(0), {"bytes": None, "path": "elsewhere.png"}, None], IMAGE),
        "images": pa.array([[image(1), image(2)], None, [image(3)]], pa.list_(IMAGE)),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    calls, report = go(str(tmp_path / "a.parquet"))
    assert (calls, report.images.seen, report.images.quarantined) == (4, 4, 0)
    assert {place.split(".parquet/")[1] for place in places(job)} == {
        "image/00000000", "images/00000000-0000", "images/00000000-0001", "images/00000002-0000",
    }  # fmt: skip
    assert any("1 rows of image name a file" in warning for warning in report.warnings)
    assert go(str(tmp_path / "a.parquet"))[0] == 0


def test_archives_of_older_records_are_listed_again(go: Run, job: Job, tmp_path: Path) -> None:
    """Ones that were listed before more kinds of members were found are looked into once more, and read no more."""
    import sqlite3

    pack_tar(tmp_path / "a.tar", {**shard([0, 1]), "2.img": content(2)})
    go(str(tmp_path / "a.tar"))
    with sqlite3.connect(job.store / "ledger.sqlite") as db:
        db.execute("DELETE FROM files WHERE path LIKE '%2.img'")
        status = (tmp_path / "a.tar").stat()
        db.execute("UPDATE archives SET images = 2, tag = ?", (status.st_ctime_ns,))
    calls, report = go(str(tmp_path / "a.tar"))
    assert (calls, report.images.seen) == (0, 3)


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_members_are_judged_by_content(tmp_path: Path, pack: Pack) -> None:
    """WebDataset names a member by a key of its own: `.img`, `.image`, in capitals, with several extensions, with none;
    what is no image by its content is not taken for one, nor what is one and is called like a text."""
    good = ["0.img", "0.image", "0.JPG", "0.seg.png", "0.PNG", "0.left.img", "0.data", "0", "0.bin"]
    other = {"1.img": b"no picture at all", "1": b"text", "1.json": content(1), "1.data": bytes(600), "1.cls": b"7"}
    name = f"a.{pack.__name__[5:]}"
    pack(tmp_path / name, {**dict.fromkeys(good, content(0)), **other})
    assert sorted(read_all(str(tmp_path / name))) == sorted(good)


def test_archives_without_images_say_so(go: Run, tmp_path: Path) -> None:
    """How many members were looked at: nothing is left out without a word, and nothing failed."""
    for pack in (pack_zip, pack_tar):
        name = tmp_path / f"a.{pack.__name__[5:]}"
        pack(name, {"a.json": b"{}", "b.data": b"no picture", "c": b"text"})
        _, report = go(str(name))
        assert (report.images.seen, report.warnings, report.failure) == (0, (), "")
        assert report.notable[0].startswith("None of the 3 files")


def members_of(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return archive.getmembers()


def test_a_tar_without_its_end(go: Run, job: Job, tmp_path: Path) -> None:
    """One whose writer was never closed is whole: read, told of once, and not opened again."""
    archive = tmp_path / "a.tar"
    pack_tar(archive, shard(range(3)))
    last = members_of(archive)[-1]
    os.truncate(archive, last.offset_data + -(-last.size // 512) * 512)
    calls, report = go(str(archive))
    assert (calls, report.models["one"].pending) == (3, 0)
    assert any("without the blocks that end a tar" in warning for warning in report.warnings)
    calls, report = go(str(archive))
    assert (calls, report.images.seen, report.warnings) == (0, 3, ())


@pytest.mark.parametrize("fault", ["header", "header of zeros", "first header", "cut in data", "size below zero"])
def test_whole_members_of_a_damaged_tar(go: Run, job: Job, tmp_path: Path, fault: str) -> None:
    """They are read, before and after what is damaged; of the rest the run tells, every time."""
    archive = tmp_path / "a.tar"
    pack_tar(archive, shard(range(6)), tarfile.USTAR_FORMAT)
    at = members_of(archive)
    data = bytearray(archive.read_bytes())
    lost = at[0 if fault == "first header" else 3]
    match fault:
        case "header" | "first header":
            data[lost.offset + 148 : lost.offset + 156] = b"garbage!"
        case "header of zeros":
            data[lost.offset : lost.offset + 512] = bytes(512)
        case "cut in data":
            del data[lost.offset_data + 100 :]
        case _:
            data[lost.offset : lost.offset + 512] = _header_of_size(lost, -1024)
    archive.write_bytes(data)
    left, pending = (3, 1) if fault == "cut in data" else (5, 0)
    calls, report = go(str(archive))
    assert (calls, report.models["one"].pending) == (left, pending)
    assert {Path(place).name for place in places(job)} <= {member.name for member in at} - {lost.name}
    for _ in range(2):
        assert any(warning.startswith(f"{archive}: ") for warning in report.warnings)
        calls, report = go(str(archive))
        assert (calls, report.images.seen) == (0, left + pending)


def _header_of_size(member: tarfile.TarInfo, size: int) -> bytes:
    block = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size.to_bytes(12, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("between", [b"", bytes(5 * 512), b"garbage" * 512])
def test_several_tars_in_one(go: Run, tmp_path: Path, between: bytes) -> None:
    """Joined, or with something after their end, they give what each of them holds; more than that is told of."""
    for number in range(2):
        pack_tar(tmp_path / f"{number}.tar", shard(range(3 * number, 3 * number + 3)))
    joined = (tmp_path / "0.tar").read_bytes() + between + (tmp_path / "1.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(joined)
    calls, report = go(str(tmp_path / "a.tar"))
    assert calls == 6
    assert any("zeros lie between" in warning for warning in report.warnings)
    (tmp_path / "b.tar").write_bytes((tmp_path / "0.tar").read_bytes() + b"garbage" * 512)
    calls, report = go(str(tmp_path / "b.tar"))
    assert (calls, report.images.seen) == (0, 3)
    assert any("after its end are no tar" in warning for warning in report.warnings)


def test_members_of_one_name_are_told_of(go: Run, tmp_path: Path) -> None:
    for pack in (pack_zip, pack_tar):
        name = tmp_path / f"a.{pack.__name__[5:]}"
        pack(name, shard(range(2)))
        if pack is pack_tar:
            with tarfile.open(name, "a") as archive:
                info = tarfile.TarInfo("000001.png")
                info.size = len(content(9))
                archive.addfile(info, io.BytesIO(content(9)))
        else:
            with zipfile.ZipFile(name, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("000001.png", content(9))
        _, report = go(str(name))
        assert any("1 members have names of others" in warning for warning in report.warnings)


def test_a_time_that_is_none(tmp_path: Path) -> None:
    """A member of a tar that is dated never, or beyond all years, is a member."""
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for number, when in enumerate(("nan", "1e400", "-1e300")):
            info = tarfile.TarInfo(f"{number}.png")
            info.size, info.pax_headers = len(content(number)), {"mtime": when}
            archive.addfile(info, io.BytesIO(content(number)))
    assert list(read_all(str(tmp_path / "a.tar")).values()) == [content(n) for n in range(3)]


def pack_stream(path: Path, files: Mapping[str, bytes]) -> None:
    """A zip as programs write it that cannot go back: sizes stand behind each member."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, data in files.items():
            archive.writestr(name, data)
    path.write_bytes(pipe.data)


def pack_zip64(path: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)


@pytest.mark.parametrize("fault", ["no table", "damaged table", "cut", "garbage behind", "damaged header"])
@pytest.mark.parametrize("pack", [pack_zip, pack_stream, pack_zip64])
def test_a_zip_without_a_table_of_contents(go: Run, job: Job, tmp_path: Path, pack: Pack, fault: str) -> None:
    """Its whole members are found by their own headers, and the run says what is the matter."""
    archive = tmp_path / "a.zip"
    pack(archive, {**shard(range(4)), "notes.txt": b"no picture"})
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        at, third = opened.start_dir, opened.infolist()[2].header_offset
    left = 4
    match fault:
        case "no table":
            del data[at:]
        case "damaged table":
            data[at : at + 4] = b"PK??"
        case "cut":
            left = 2
            del data[third + 100 :]
        case "garbage behind":
            data += b"garbage" * 20_000
        case _:
            left = 3
            data[third : third + 4] = b"PK??"
            del data[at:]
    archive.write_bytes(data)
    calls, report = go(str(archive))
    pending = int(fault == "cut" and pack is not pack_stream)  # where the header says how much should be there
    assert (calls, report.models["one"].pending) == (left, pending)
    assert {Path(place).name for place in places(job)} <= set(shard(range(4)))
    assert any("table of contents cannot be read" in warning for warning in report.warnings)
    assert report.images.quarantined == 0
    calls, report = go(str(archive))
    assert calls == 0
    assert any("table of contents cannot be read" in warning for warning in report.warnings), "it is told again"


def test_a_server_that_stalls_is_no_damage(go: Run, web: ImageServer, tmp_path: Path) -> None:
    """An archive whose bytes do not come is asked for again, and not taken for one that is broken."""
    pack_zip(tmp_path / "a.zip", shard(range(3)))
    web.files["/a.zip"] = (tmp_path / "a.zip").read_bytes()
    web.faults["/a.zip"] = Faults(cuts=[0, 0])
    calls, report = go(f"{web.url}/a.zip")
    assert (calls, report.warnings) == (3, ())


def test_parquet_without_images(tmp_path: Path) -> None:
    """The problem names the columns that there are."""
    pq.write_table(pa.table({"url": ["https://example.org/a.jpg"], "label": [1]}), tmp_path / "a.parquet")
    problems: dict[str, str] = {}
    assert list(discover([str(tmp_path / "a.parquet")], on_problem=problems.__setitem__)) == []
    assert "url, label" in problems[str(tmp_path / "a.parquet")]


def test_archives_at_addresses(go: Run, web: ImageServer, tmp_path: Path, kind: str) -> None:
    """They are read in parts by HTTP; the second run asks for the head alone."""
    PACKERS[kind](tmp_path / "packed", shard(range(12)))
    web.files[f"/a.{kind}"] = (tmp_path / "packed").read_bytes()
    assert go(f"{web.url}/a.{kind}")[0] == 12
    web.requests.clear()
    calls, report = go(f"{web.url}/a.{kind}")
    assert (calls, report.images.seen) == (0, 12)
    assert web.reads() == []


def test_a_server_without_ranges(go: Run, web: ImageServer, tmp_path: Path, job: Job) -> None:
    """The report says what the server lacks, and what to do."""
    pack_tar(tmp_path / "packed", shard(range(3)))
    web.files["/a.tar"] = (tmp_path / "packed").read_bytes()
    web.faults["/a.tar"] = Faults(ranges=False)
    _, report = go(f"{web.url}/a.tar")
    assert any("parts of a file" in warning and "download it" in warning for warning in report.warnings)


def test_a_folder_called_like_an_archive(go: Run, job: Job, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").mkdir()
    (tmp_path / "photos.zip" / "a.png").write_bytes(content(1))
    assert go(str(tmp_path / "photos.zip"))[0] == 1
    assert places(job) == {str(tmp_path / "photos.zip" / "a.png")}


def test_a_lost_ledger_and_a_self_check(go: Run, job: Job, tmp_path: Path, kind: str) -> None:
    """Members are found again by the store alone: their sources are the archives, their paths the names in them."""
    PACKERS[kind](tmp_path / f"a.{kind}", shard(range(10)))
    go(str(tmp_path / f"a.{kind}"))
    for file in job.store.glob("ledger.sqlite*"):
        file.unlink()
    (tmp_path / f"b.{kind}").write_bytes(b"")
    PACKERS[kind](tmp_path / f"b.{kind}", shard(range(10, 12)))
    calls, report = go(str(tmp_path / f"a.{kind}"), str(tmp_path / f"b.{kind}"))
    assert (calls, report.images.seen, report.images.removed) == (2, 12, 0)
    (check,) = report.self_check.values()
    assert check.compared == 8


def test_old_ledgers_get_the_table(go: Run, job: Job, tmp_path: Path) -> None:
    """A ledger of before archives were looked into is used as it is, and read where it cannot be written."""
    import sqlite3

    pack_zip(tmp_path / "a.zip", shard(range(2)))
    go(str(tmp_path / "a.zip"))
    with sqlite3.connect(job.store / "ledger.sqlite") as db:
        db.execute("DROP TABLE archives")
    with ledger_of(job.store) as ledger:
        assert ledger is not None
    calls, report = go(str(tmp_path / "a.zip"))
    assert (calls, report.images.seen) == (0, 2)


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_told_of(tmp_path: Path, ending: str) -> None:
    """Its members cannot be read one by one: the reason says to unpack it, wherever it is named, whatever its name."""
    with tarfile.open(tmp_path / f"a.tar.{ending}", f"w:{ending}") as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a.png")
        info.size = len(content(1))
        archive.addfile(info, io.BytesIO(content(1)))
    with pytest.raises(SourceError, match=rf"gunzip.*a\.tar\.{ending}"):
        discover([str(tmp_path / f"a.tar.{ending}")])
    (tmp_path / "l.txt").write_text(f"a.tar.{ending}\n")
    problems: dict[str, str] = {}
    for source in (f"@{tmp_path}/l.txt", str(tmp_path / f"*.{ending}")):
        assert list(discover([source], on_problem=problems.__setitem__)) == []
        assert "gunzip" in problems.pop(str(tmp_path / f"a.tar.{ending}"))
    (tmp_path / f"a.tar.{ending}").rename(tmp_path / "a.tar")
    assert list(discover([str(tmp_path / "a.tar")], on_problem=problems.__setitem__)) == []
    assert "compressed data" in problems[str(tmp_path / "a.tar")]


def test_what_fits_a_pattern_here_is_judged_by_content(tmp_path: Path) -> None:
    """As in a folder; and what is no file is told of, and hangs nobody."""
    (tmp_path / "a.img").write_bytes(content(1))
    (tmp_path / "b.img").write_text("no picture")
    os.mkfifo(tmp_path / "c.img")
    problems: dict[str, str] = {}
    found = discover([str(tmp_path / "*.img")], on_problem=problems.__setitem__)
    assert [file.path for file in found] == ["a.img"]
    assert found.notes.skipped == 1
    assert list(problems) == [str(tmp_path / "c.img")]


BRACES = [
    "s-{000..012}.tar",
    "{a,b{1,2}}.tar",
    "{x}",
    "a{,b}c",
    "{10..1..4}",
    "{a..e}",
    "{-01..1}",
    "{{0..2}}",
    "x{y",
    "{a,b}/{1..2}",
]


def test_braces_are_those_of_the_shell() -> None:
    """What Bash makes of them, Pixelmill makes of them."""
    for text in [
        *BRACES,
        "{3..03}",
        "{a,b",
        "{0..1}}",
        "{e..a}",
        "{1..3..0}",
        "{08..11}",
        "{1..x}",
        "p{q,{r..t}}",
        "{,}",
        "{}",
    ]:
        told = subprocess.run(["bash", "-c", f"printf '%s\\n' {text}"], capture_output=True, text=True, check=True)
        assert list(filter(None, expanded(text))) == list(filter(None, told.stdout.splitlines())), text
    with pytest.raises(SourceError, match="at most 100,000"):
        expanded("{1..1000}{1..1000}")


def test_shards_in_braces(go: Run, job: Job, web: ImageServer, tmp_path: Path) -> None:
    """Files, folders and patterns, here and at addresses; one that is not there is told of and costs nothing else, and
    what vanishes counts as removed."""
    for number in range(4):
        pack_tar(tmp_path / f"s-{number:02}.tar", shard([number]))
    (tmp_path / "val").mkdir()
    (tmp_path / "train").mkdir()
    (tmp_path / "val" / "v.png").write_bytes(content(50))
    (tmp_path / "train" / "t.png").write_bytes(content(51))
    web.files = {"/s-1.tar": (tmp_path / "s-03.tar").read_bytes(), "/s-2.png": content(52)}
    sources = [f"{tmp_path}/s-{{00..04}}.tar", f"{tmp_path}/{{train,val}}", f"{web.url}/s-{{1.tar,2.png,3.png}}"]
    calls, report = go(*sources)
    assert (calls, report.images.seen) == (7, 8)
    assert sorted(w.partition(": ")[0] for w in report.warnings) == sorted(
        [f"{tmp_path}/s-04.tar", f"{web.url}/s-3.png"]
    )
    (tmp_path / "train" / "t.png").unlink()
    (tmp_path / "train" / "u.png").write_bytes(content(53))
    (tmp_path / "s-00.tar").unlink()
    calls, report = go(*sources)
    assert (calls, report.images.removed) == (1, 2)
    (tmp_path / "{a,b}.png").write_bytes(content(60))
    assert go(str(tmp_path / "{a,b}.png"))[0] == 1


def test_a_folder_says_nothing_of_archives_in_it(go: Run, job: Job, tmp_path: Path) -> None:
    """Looking at a folder does not look into its archives: what another run has embedded of them stays."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(content(50))
    pack_tar(tmp_path / "data" / "a.tar", shard(range(5)))
    go(str(tmp_path / "data" / "*.tar"))
    calls, report = go(str(tmp_path / "data"))
    assert (calls, report.images.removed, len(places(job))) == (1, 0, 6)
    for file in job.store.glob("ledger.sqlite*"):
        file.unlink()
    _, report = go(str(tmp_path / "data"))
    assert (report.images.removed, len(places(job))) == (0, 6)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_end_in_a_reason(tmp_path: Path, kind: str, seed: int) -> None:
    """Whatever a damaged archive makes its reader raise is a problem of that archive or that member, not of the run."""
    random = np.random.default_rng(seed)
    PACKERS[kind](tmp_path / "whole", shard(range(6)))
    whole = (tmp_path / "whole").read_bytes()
    told = 0
    for number in range(40):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 8)):
            data[place if random.random() < 0.5 else -1 - place % 600] = random.integers(0, 256)
        (tmp_path / f"{number}.{kind}").write_bytes(data)
        problems: dict[str, str] = {}
        for file in discover([str(tmp_path / f"{number}.{kind}")], on_problem=problems.__setitem__):
            try:
                read_image(file, max_bytes=10**6)
            except (OSError, ImageRejected) as error:
                told += bool(str(error))
        told += len(problems)
    assert told > 0


@pytest.mark.parametrize("fault", ["header", "cut in a header", "cut at a header", "two in one"])
def test_a_tar_that_breaks_off_is_not_taken_for_whole(go: Run, job: Job, tmp_path: Path, fault: str) -> None:
    """Python's tarfile ends at a header that it cannot read as at the end: none of what comes after counts as gone."""
    archive = tmp_path / "a.tar"
    pack_tar(archive, shard(range(10)))
    go(str(archive))
    data = bytearray(archive.read_bytes())
    with tarfile.open(archive) as opened:
        header = opened.getmembers()[3].offset
    match fault:
        case "header":
            data[header + 148 : header + 156] = b"garbage!"
        case "cut in a header":
            del data[header + 200 :]
        case "cut at a header":
            del data[header:]
        case _:
            data = data * 2
    archive.write_bytes(data)
    _, report = go(str(archive))
    assert (report.images.removed, len(places(job))) == (0, 10)
    assert any("a.tar" in warning for warning in report.warnings)


def test_the_first_of_one_name_counts(tmp_path: Path) -> None:
    """By its place as by its name alone."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(2):
            info = tarfile.TarInfo("a.png")
            info.size = len(content(number))
            archive.addfile(info, io.BytesIO(content(number)))
    (file,) = discover([str(tmp_path / "a.tar")])
    assert read_image(file, max_bytes=10**6) == content(0)
    assert read_image(FoundFile(file.source, file.path, 0, 0, 0), max_bytes=10**6) == content(0)


def test_a_folder_that_cannot_be_read_under_a_pattern(
    go: Run, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of, and what is on record from there stays."""
    for number in range(3):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "a.png").write_bytes(content(number))
    go(str(tmp_path / "d*" / "*.png"))
    real = os.listdir

    def failing(folder: str) -> list[str]:
        if str(folder).endswith("d1"):
            raise OSError(5, "Input/output error")
        return real(folder)

    monkeypatch.setattr("pixelmill.sources.pattern.os.listdir", failing)
    _, report = go(str(tmp_path / "d*" / "*.png"))
    assert (report.images.removed, len(places(job))) == (0, 3)
    assert any("d1: Input/output error" in warning for warning in report.warnings)


def test_patterns(tmp_path: Path) -> None:
    """Stars at any depth, loops of links, hidden names; each file once, under its own path."""
    for name in ["a.png", "x/b.png", "x/y/c.png", ".h/d.png", "x/e.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content(len(name)))
    for link in ("one", "two"):
        (tmp_path / "x" / link).symlink_to(".")

    def fitting(pattern: str) -> list[str]:
        return [os.path.relpath(file.absolute, tmp_path) for file in discover([str(tmp_path / pattern)])]

    assert fitting("**/*.png") == ["a.png", "x/b.png", "x/y/c.png"]
    assert fitting("*/b.*") == ["x/b.png"]
    assert fitting(".*/*.png") == [".h/d.png"]
    first = str(tmp_path).split("/")[1]
    pattern = "/" + first[:-1] + "*/" + str(tmp_path / "a.png").split("/", 2)[2]
    (file,) = discover([pattern])
    assert (file.absolute, file.source) == (str(tmp_path / "a.png"), "/")
    for bad in (f"{tmp_path}/**.png", "s3://b*/x.png"):
        with pytest.raises(SourceError, match="pattern"):
            discover([bad])


def test_a_row_group_is_read_on_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that passes costs the rows that were asked for then, and no others."""
    from pixelmill.sources.local import LocalFiles

    pack_parquet(tmp_path / "a.parquet", {f"{n}.png": os.urandom(200_000) for n in range(40)})
    found = list(discover([str(tmp_path / "a.parquet")]))
    real, left = LocalFiles.read, [1]

    def failing(self: LocalFiles, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        if start > 3_000_000 and left:
            left.pop()
            raise OSError(5, "Input/output error")
        return real(self, address, start, stop, most=most)

    monkeypatch.setattr(LocalFiles, "read", failing)
    failed = 0
    for file in found:
        try:
            read_image(file, max_bytes=10**6)
        except OSError:
            failed += 1
    assert failed == 1


def test_a_zip_bomb_takes_no_memory(go: Run, job: Job, tmp_path: Path) -> None:
    """A member that says that it is small is not expanded farther than that."""
    import struct
    import tracemalloc

    pack_zip(tmp_path / "a.zip", {"bomb.png": bytes(100 << 20)}, zipfile.ZIP_BZIP2)
    data = (tmp_path / "a.zip").read_bytes().replace(struct.pack("<I", 100 << 20), struct.pack("<I", 1000))
    (tmp_path / "a.zip").write_bytes(data)
    (file,) = discover([str(tmp_path / "a.zip")])
    tracemalloc.start()
    with pytest.raises(ImageRejected, match="damaged"):
        read_image(file, max_bytes=10**6)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_slow_archive_does_not_hold_up_others(
    web: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many threads that wait for one archive wait once, and members of others are read meanwhile."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    from pixelmill.sources import http

    monkeypatch.setattr(archives, "_STATUS_SECONDS", 30.0)
    monkeypatch.setattr(http, "_SILENT_SECONDS", 1.0)
    http._clients.clear()
    pack_zip(tmp_path / "a.zip", shard(range(16)))
    web.files["/slow.zip"] = web.files["/good.zip"] = (tmp_path / "a.zip").read_bytes()
    good = [file._replace(source=f"{web.url}/good.zip") for file in discover([str(tmp_path / "a.zip")])]
    slow = [file._replace(source=f"{web.url}/slow.zip") for file in good]
    web.faults["/slow.zip"] = Faults(stall=2.0)

    def read(file: FoundFile) -> bool:
        try:
            return bool(read_image(file, max_bytes=10**6))
        except OSError:
            return False

    start = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        done = list(pool.map(read, slow + good))
    assert (sum(done[:16]), sum(done[16:])) == (0, 16)
    assert time.monotonic() - start < 16 * 1.0, "one after the other"
    http._clients.clear()


def test_sparse_members_are_told_of(go: Run, tmp_path: Path) -> None:
    """`tar --sparse` leaves the zeros of a member out: it is not read, which every run says; what follows it is."""
    with (tmp_path / "a.png").open("wb") as file:
        file.write(content(0))
        file.truncate(1 << 20)
    (tmp_path / "b.png").write_bytes(content(1))
    for form in ("gnu", "posix"):
        command = ["tar", "--sparse", f"--format={form}", "-cf", f"{form}.tar", "a.png", "b.png"]
        subprocess.run(command, cwd=tmp_path, check=True)
        for _ in range(2):
            _, report = go(str(tmp_path / f"{form}.tar"))
            assert (report.images.seen, report.images.quarantined) == (1, 0)
            assert any("1 images are stored with their zeros left out" in warning for warning in report.warnings)
            assert not any("cut off" in warning for warning in report.warnings)


def test_zips_of_other_compressions_are_told_of_by_name(go: Run, job: Job, tmp_path: Path) -> None:
    """They are not damaged."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", content(0))
    go(str(tmp_path / "a.zip"))
    with Ledger(job.store) as ledger:
        (reason,) = [entry.reason for entry in ledger.quarantine.entries()]
    assert reason == "Not supported: a member of a zip that is compressed by lzma. Pack it by deflate."
