"""Discovery finds every image once, in one order, whatever lies in the folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from pixelmill.errors import SourceError
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from pixelmill.sources.source import parse_source
from pixelmill.store.ledger import Ledger


def picture(path: Path, format: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "teal").save(path, format)
    return path


def paths(*sources: object, **options: object) -> list[str]:
    return [found.path for found in discover([str(source) for source in sources], **options)]  # type: ignore[arg-type]


@pytest.fixture
def problems() -> list[tuple[str, str]]:
    return []


def test_order_is_bytewise_by_path(tmp_path: Path) -> None:
    """Files of a folder and of its subfolders come in the byte order of their relative paths, on every run."""
    names = ["b.png", "a/z.png", "a.png", "a-b/c.png", "B.png", "é.png", "a/é/1.png", "zz.png", "a0/1.png"]
    for name in names:
        picture(tmp_path / name)
    assert paths(tmp_path) == sorted(names, key=os.fsencode) == paths(tmp_path)


def test_found_file_has_the_stat_of_the_file(tmp_path: Path) -> None:
    """Size and times are those of stat, source is absolute, absolute opens the file."""
    file = picture(tmp_path / "sub" / "a.png")
    (found,) = discover([str(tmp_path)])
    status = file.stat()
    assert found == (str(tmp_path), "sub/a.png", status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    assert Path(found.absolute) == file


def test_images_are_recognised_by_content(tmp_path: Path) -> None:
    """An image with a foreign or no extension is found; text, SVG and sound are counted as skipped."""
    for name, format in [("photo", "JPEG"), ("b.dat", "PNG"), ("c.txt", "WEBP"), ("d.bin", "AVIF"), ("e.x", "TIFF")]:
        picture(tmp_path / name, format)
    for name, content in [
        ("n.txt", b"hello"),
        ("s.svg", b"<svg/>"),
        ("o.ogg", b"OggS\0"),
        ("z.json", b"{}"),
        ("0", b""),
    ]:
        (tmp_path / name).write_bytes(content)
    found = discover([str(tmp_path)])
    assert [file.path for file in found] == ["b.dat", "c.txt", "d.bin", "e.x", "photo"]
    assert found.notes.skipped == 5


def test_names_that_promise_an_image_are_found(tmp_path: Path) -> None:
    """HTML named .jpg, an empty .PNG and a .heic are yielded, so that they are quarantined and not lost in silence."""
    (tmp_path / "a.jpg").write_bytes(b"<!DOCTYPE html><html></html>")
    (tmp_path / "b.PNG").touch()
    (tmp_path / "c.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert paths(tmp_path) == ["a.jpg", "b.PNG", "c.heic"]


def test_known_files_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `known` accepts is yielded by its stat alone; `known` sees each file once."""
    picture(tmp_path / "a.png")
    (tmp_path / "b.txt").write_text("no image")
    seen: list[str] = []
    monkeypatch.setattr("pixelmill.sources.discover.head_of", pytest.fail)
    assert paths(tmp_path, known=lambda found: seen.append(found.path) is None) == ["a.png", "b.txt"]
    assert seen == ["a.png", "b.txt"]


def test_errors_of_known_are_not_the_folders(tmp_path: Path, problems: list[tuple[str, str]]) -> None:
    """An OSError of the caller's own index is raised to the caller, not taken for an unreadable folder."""
    picture(tmp_path / "a.png")

    def known(_: FoundFile) -> bool:
        raise OSError("index lost")

    with pytest.raises(OSError, match="index lost"):
        paths(tmp_path, known=known, on_problem=lambda *problem: problems.append(problem))
    assert problems == []


def test_symlink_loops_end(tmp_path: Path) -> None:
    """Links to parents and to each other are walked once, and a file keeps its real path."""
    picture(tmp_path / "real" / "a.png")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    assert paths(tmp_path) == ["real/a.png"]


def test_folders_of_one_inode_number_are_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mergerfs, unionfs and 9p give it to folders side by side, and to a folder and one in it; loops end there
    too."""
    names = ["a/1.png", "a/b/2.png", "c/3.png"]
    for name in names:
        picture(tmp_path / name)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    monkeypatch.setattr(os, "stat", _with_one_inode(os.stat))
    monkeypatch.setattr(os, "fstat", _with_one_inode(os.fstat))
    assert sorted(paths(tmp_path)) == names
    assert sorted(paths(tmp_path / "**" / "*.png")) == names


def _with_one_inode(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    def same(*where: object, **how: object) -> os.stat_result:
        status = real(*where, **how)
        times = {name: getattr(status, name) for name in ("st_mtime_ns", "st_ctime_ns", "st_mtime", "st_ctime")}
        return os.stat_result((status.st_mode, 42, *tuple(status)[2:]), times)

    return same


@pytest.mark.parametrize("when", [9_500_000_000, 2**40, -(2**36)])
def test_times_beyond_64_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    """Nanoseconds of years after 2262 and before 1677, which some file systems keep, fit what keeps them, in a folder,
    under a name and under a pattern; and another time is another one."""
    file = picture(tmp_path / "a.png")

    def dated(seconds: int) -> set[FoundFile]:
        with monkeypatch.context() as patch:
            for name in ("stat", "fstat"):
                patch.setattr(os, name, _dated(getattr(os, name), seconds * 10**9))
            return {found for source in (tmp_path, file, tmp_path / "*.png") for found in discover([str(source)])}

    (found,), (later,) = dated(when), dated(when + 1)
    assert all(-(2**63) < number < 2**63 for number in found[2:])
    assert (found.mtime_ns > 0) == (when > 0)
    assert found != later
    with Ledger(tmp_path) as ledger:
        scan = ledger.scans.begin()
        ledger.scans.record(scan, [found])
        assert ledger.scans.is_known(found)


def _dated(real: Callable[..., os.stat_result], ns: int) -> Callable[..., os.stat_result]:
    def dated(*where: object, **how: object) -> os.stat_result:
        status = real(*where, **how)
        return os.stat_result(tuple(status)[:10], {"st_mtime_ns": ns, "st_ctime_ns": ns})

    return dated


def test_an_entry_that_fails_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problems: list[tuple[str, str]]
) -> None:
    """A folder of which one entry, or the end of the listing, cannot be read gives what can be."""
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    real = os.scandir

    class Failing:
        def __init__(self, descriptor: int) -> None:
            self.entries = sorted(real(descriptor), key=lambda entry: entry.name)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return self.some()

        def some(self) -> Iterator[os.DirEntry[str]]:
            yield from self.entries[:2]
            raise OSError(5, "Input/output error")

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

    monkeypatch.setattr(os, "scandir", Failing)
    assert paths(tmp_path, on_problem=lambda *problem: problems.append(problem)) == ["a.png", "b.png"]
    assert problems == [(str(tmp_path), "Input/output error")]


def test_a_named_file_that_cannot_be_looked_at_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problems: list[tuple[str, str]]
) -> None:
    """One that is refused now, in a list or alone, is to be read later and not gone; one that is stored is told of."""
    file = picture(tmp_path / "locked" / "a.png")
    (tmp_path / "l.txt").write_text("locked/a.png\n")
    real = os.stat

    def refused(path: object, **how: object) -> os.stat_result:
        if str(path) == str(file):
            raise PermissionError(13, "Permission denied")
        return real(path, **how)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(os, "stat", refused)
    monkeypatch.setattr(os.path, "lexists", lambda path: str(path) != str(file))
    found = discover([f"@{tmp_path}/l.txt"])
    assert list(found) == [FoundFile(str(file.parent), "a.png", 0, 0, 0)]
    assert found.notes.missing == set()
    stored = discover([f"@{tmp_path}/l.txt"], stored=lambda _: True, on_problem=lambda *p: problems.append(p))
    assert (list(stored), stored.notes.missing) == ([], set())
    assert problems == [(str(file), "Permission denied")]


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    """A linked folder outside the source belongs to it; its files come after the real ones."""
    picture(tmp_path / "elsewhere" / "a.png")
    picture(tmp_path / "source" / "z.png")
    (tmp_path / "source" / "link").symlink_to(tmp_path / "elsewhere")
    assert paths(tmp_path / "source") == ["z.png", "link/a.png"]


def test_linked_files_are_followed_to_regular_files_only(tmp_path: Path, problems: list[tuple[str, str]]) -> None:
    """A link to a picture is a picture; a link to nowhere is reported, and so is one to a device."""
    target = picture(tmp_path / "x" / "a.png")
    folder = tmp_path / "y"
    folder.mkdir()
    (folder / "good.png").symlink_to(target)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    (folder / "null.png").symlink_to("/dev/null")
    assert paths(folder, on_problem=lambda *problem: problems.append(problem)) == ["good.png"]
    assert sorted(problems) == [
        (str(folder / "gone.png"), "No such file or directory"),
        (str(folder / "null.png"), "Expected a regular file, but it is a device."),
    ]


@pytest.mark.timeout(10)
def test_pipes_and_sockets_are_skipped(tmp_path: Path, problems: list[tuple[str, str]]) -> None:
    """Nothing hangs on a FIFO that no one writes to; what is called like an image is told of."""
    os.mkfifo(tmp_path / "a.JPG")
    os.mkfifo(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "b.jpg"))
        found = discover([str(tmp_path)], on_problem=lambda *problem: problems.append(problem))
        assert list(found) == []
    assert found.notes.skipped == 3
    kinds = {"a.JPG": "a pipe", "b.jpg": "a socket"}
    assert dict(problems) == {
        str(tmp_path / name): f"Expected a regular file, but it is {kind}." for name, kind in kinds.items()
    }


def test_names_need_not_be_text(tmp_path: Path) -> None:
    """Names with newlines and invalid UTF-8 come back byte for byte."""
    names = [b"a\nb.png", b"caf\xe9.png", b"\xff\xfe/x.png", b"#.png", b" .png"]
    for name in names:
        picture(tmp_path / os.fsdecode(name))
    assert {os.fsencode(path) for path in paths(tmp_path)} == set(names)


def test_hidden_and_device_folders_are_skipped(tmp_path: Path) -> None:
    """Names with a leading dot and thumbnails that storage devices make are no part of the collection."""
    for name in (".hidden.png", ".thumbnails/a.png", "@eaDir/a.png", "#recycle/a.png", "a.png"):
        picture(tmp_path / name)
    assert paths(tmp_path) == ["a.png"]
    assert paths(tmp_path / ".thumbnails") == ["a.png"], "unless it is named as a source"


def test_overlapping_sources_yield_each_path_once(tmp_path: Path) -> None:
    """A folder, its subfolder, a file in it and the folder again: each absolute path comes once."""
    for name in ("a.png", "sub/b.png", "sub/c.png"):
        picture(tmp_path / name)
    for sources in (
        [tmp_path, tmp_path / "sub", tmp_path / "sub" / "c.png", tmp_path],
        [tmp_path / "sub", tmp_path / "sub" / "c.png", f"{tmp_path}/sub/../sub/b.png", tmp_path],
    ):
        found = [file.absolute for file in discover([str(source) for source in sources])]
        assert sorted(found) == sorted(str(path) for path in tmp_path.rglob("*.png"))


def test_a_file_that_is_named_is_yielded_whatever_it_is(tmp_path: Path) -> None:
    """A single FILE has its folder as source, and is not dropped for its content."""
    (tmp_path / "notes.txt").write_text("no image")
    (found,) = discover([str(tmp_path / "notes.txt")])
    assert (found.source, found.path) == (str(tmp_path), "notes.txt")


def test_list_files(tmp_path: Path, problems: list[tuple[str, str]]) -> None:
    """Paths are relative to the list, in its order; blanks and comments skipped, bytes kept, absent files reported."""
    inside, outside = picture(tmp_path / "lists" / "p" / "a.png"), picture(tmp_path / "other" / "b.png")
    odd = picture(Path(os.fsdecode(os.fsencode(tmp_path / "lists") + b"/caf\xe9.png")))
    lines = [
        b"\xef\xbb\xbf# mine",
        b"",
        b"../other/b.png",
        b"p/a.png\r",
        b"caf\xe9.png",
        b"p/../p/a.png",
        b"gone.png",
        b"p",
    ]
    (tmp_path / "lists" / "l.txt").write_bytes(b"\n".join([*lines, os.fsencode(inside)]))
    found = list(discover([f"@{tmp_path}/lists/l.txt"], on_problem=lambda *problem: problems.append(problem)))
    assert [file.absolute for file in found] == [str(outside), str(inside), str(odd)]
    assert [(file.source, file.path) for file in found[:2]] == [
        (str(tmp_path / "other"), "b.png"),
        (str(tmp_path / "lists"), "p/a.png"),
    ]
    assert [path for path, _ in problems] == [str(tmp_path / "lists" / name) for name in ("gone.png", "p")]


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "bom-be", "quoted", "old mac", "print0"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_as_programs_write_them(tmp_path: Path, encoding: str, end: str) -> None:
    """PowerShell writes UTF-16, Excel quotes, `find -print0` zeros: all name the same files."""
    names = ["p/a.png", "p/b c.png", "p/ü 図.png", f"p/{'long' * 20}.png"]
    for name in names:
        picture(tmp_path / name)
    text = end.join(["# mine", *names, ""])
    match encoding:
        case "bom-be":
            data = b"\xfe\xff" + text.encode("utf-16-be")
        case "quoted":
            data = end.join(f' "{name}" ' for name in names).encode()
        case "old mac":
            data = text.replace(end, "\r").encode()
        case "print0":
            data = "\0".join([*names, ""]).encode()
        case _:
            data = text.encode(encoding)
    (tmp_path / "l.txt").write_bytes(data)
    assert paths(f"@{tmp_path}/l.txt") == names


def test_quotes_and_blanks_in_names_are_names(tmp_path: Path) -> None:
    """A file that is called so comes first."""
    names = ['"a.png"', "a.png", " a.png ", "a.png "]
    for name in names:
        picture(tmp_path / name)
    (tmp_path / "l.txt").write_text("\n".join(names))
    assert paths(f"@{tmp_path}/l.txt") == names


@pytest.mark.parametrize("content", ["JPEG", "PNG", "archive", "zeros"])
def test_a_list_that_is_none_is_told_once(tmp_path: Path, content: str, problems: list[tuple[str, str]]) -> None:
    """A picture or an archive with an @ before its name: one problem says what it is."""
    file = tmp_path / "l"
    match content:
        case "archive":
            with tarfile.open(file, "w") as archive:
                archive.add(picture(tmp_path / "a.png"), "a.png")
        case "zeros":
            file.write_bytes(bytes(5000))
        case _:
            picture(file, content)
    assert paths(f"@{file}", on_problem=lambda *problem: problems.append(problem)) == []
    assert [path for path, _ in problems] == [str(file)]
    assert "Expected a text file of paths" in problems[0][1]


def test_unreadable_folders_are_reported_and_passed(tmp_path: Path, problems: list[tuple[str, str]]) -> None:
    """A folder that cannot be listed costs itself only, and is named so that its images do not count as removed."""
    picture(tmp_path / "a.png")
    name = "d" * 200
    nest = f"cd '{tmp_path}' && for i in {{1..24}}; do mkdir {name}; cd {name}; done"
    subprocess.run(["bash", "-c", nest], check=True)
    try:
        assert paths(tmp_path, on_problem=lambda *problem: problems.append(problem)) == ["a.png"]
        assert [reason for _, reason in problems] == ["File name too long"]
    finally:
        shutil.rmtree(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_without_permission_are_reported(tmp_path: Path, problems: list[tuple[str, str]]) -> None:
    """Permission denied is a problem of that folder."""
    picture(tmp_path / "a.png")
    (tmp_path / "locked").mkdir(mode=0)
    assert paths(tmp_path, on_problem=lambda *problem: problems.append(problem)) == ["a.png"]
    assert [reason for _, reason in problems] == ["Permission denied"]


def test_empty_roots_are_told(tmp_path: Path) -> None:
    """A source folder with nothing in it is named: it may be a mount point without its disk."""
    picture(tmp_path / "full" / "a.png")
    (tmp_path / "empty").mkdir()
    found = discover([str(tmp_path / "full"), str(tmp_path / "empty"), str(tmp_path / "full")])
    assert len(list(found)) == 1
    assert found.notes.empty == [str(tmp_path / "empty")]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "does not exist.*mounted"),
        ("@nowhere.txt", "does not exist"),
        ("", "names nothing"),
        ("/dev/null", "which is a device"),
        ("a\0b", "null"),
        ("@.", "text file of paths.*a folder"),
    ],
)
def test_sources_that_are_none(source: str, words: str) -> None:
    """What is no file, folder or list is a SourceError that names it and says why."""
    with pytest.raises(SourceError, match=words):
        parse_source(source)


def test_a_bad_source_fails_before_anything_is_walked(tmp_path: Path) -> None:
    """A vanished folder among good ones raises at once, not in the middle of a run."""
    with pytest.raises(SourceError, match="gone"):
        discover([str(tmp_path), str(tmp_path / "gone")])


def test_sources_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative sources, and those with .. behind a link, are the folder that the system would open."""
    picture(tmp_path / "real" / "deep" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    monkeypatch.chdir(tmp_path)
    assert parse_source("real").root == str(tmp_path / "real")
    assert parse_source("link").root == str(tmp_path / "link")
    assert parse_source("link/..").root == str(tmp_path / "real")


def test_deep_folders_need_no_recursion(tmp_path: Path) -> None:
    """1,500 nested folders exhaust neither the stack nor the descriptors."""
    deep = f"{tmp_path}{'/d' * 1500}"
    subprocess.run(["mkdir", "-p", deep], check=True)
    shutil.copy(picture(tmp_path / "a.png"), deep)
    assert [len(path) for path in paths(tmp_path)] == [5, 3005]
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_import_is_light() -> None:
    """Discovery needs neither torch nor Pillow, so that the command line answers at once."""
    code = "import sys, pixelmill.sources.discover; print({'torch', 'PIL', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_descriptors_are_closed(tmp_path: Path) -> None:
    """A walk that is closed half-way leaves no descriptor open."""
    for number in range(3):
        picture(tmp_path / str(number) / "a.png")
    before = len(list(Path("/proc/self/fd").iterdir()))
    found = discover([str(tmp_path)])
    next(found)
    found.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
