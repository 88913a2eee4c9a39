"""A query as bare arguments of `pixelmill search`, and paths alone for other tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixelmill.cli.query import asked_for, in_words
from pixelmill.search.query import Picture, Row, Text
from tests.support.checkpoints import TinyModels
from tests.support.commands import code
from tests.support.image_server import Faults, ImageServer
from tests.support.searchable import make_store, prepared

CLIP = "tiny_openai_clip"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(made: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a link to the store, a picture, and settings that know the models."""
    Path("store").symlink_to(made / "store")
    shutil.copy(made / "photos/warm/red.png", "red.png")
    Path("black").mkdir()
    shutil.copy("red.png", "black/white")
    return prepared(made, tiny, monkeypatch)


def answer(captured: Captured, *arguments: str) -> list[dict[str, Any]]:
    captured.readouterr()
    assert code("search", "store", "--model", CLIP, "--json", *arguments) == 0, captured.readouterr().err
    results: list[dict[str, Any]] = json.loads(captured.readouterr().out)["results"]
    return results


def told(captured: Captured, *arguments: str) -> str:
    """What is said of a wrong usage."""
    captured.readouterr()
    assert code("search", "store", *arguments) == 2
    return captured.readouterr().err


@pytest.mark.parametrize(
    ("bare", "spelled"),
    [
        (("red", "bike", "-people"), ("--text", "red bike", "--text", "-people")),
        (("red bike", "-people"), ("--text", "red bike", "--text", "-people")),
        (("red bike -people",), ("--text", "red bike", "--text", "-people")),
        (("-people", "-k", "3", "beach"), ("--text", "-people beach", "-k", "3")),
        (("2:red bike", "-0.5:people"), ("--text", "2:red bike", "--text", "-0.5:people")),
        (("a b", "c d", "e"), ("--text", "a b", "--text", "c d", "--text", "e")),
        (("beach", "red.png"), ("--text", "beach", "--image", "red.png")),
        (("-0.5:./red.png", "beach"), ("--text", "beach", "--image", "-0.5:red.png")),
        (("black/white",), ("--image", "black/white")),
        (("white/black",), ("--text", "white/black")),
        (("white",), ("--text", "white")),
        ((" -x",), ("--text", " -x")),
        (("--", "-k", "3"), ("--text", "-k 3")),
        (("-k5", "-kitten"), ("-k", "5", "--text", "-kitten")),
        (("-house", "-foggy", "-0s"), ("--text", "-house", "--text", "-foggy", "--text", "-0s")),
        (("16:9",), ("--text", "16:9")),
        (("a", "--row", "-0", "--glob", "*.png"), ("--text", "a", "--row", "-0", "--glob", "*.png")),
    ],
)
def test_bare_arguments_say_what_options_say(
    here: Path, capfd: Captured, bare: tuple[str, ...], spelled: tuple[str, ...]
) -> None:
    """Words that stand together are one text, an argument in quotes is a line of its own, a minus looks away, and what
    looks like a picture is one: the same results as by --text and --image."""
    assert answer(capfd, *bare) == answer(capfd, *spelled)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a", "--modle", "x"), "No such option '--modle'. Did you mean '--model'?"),
        (("-model", CLIP), "The option is --model"),
        (("-text",), "write --text=-text"),
        (("-k", "many"), "'many' is not a valid integer"),
        (("-k",), "Option '-k' requires an argument"),
        (("cat.jpg",), "Expected an image at cat.jpg. No such file or directory. If these are words"),
        (("./cat",), "Expected an image at ./cat. No such file"),
        (("/",), "Expected an image at /. Expected a regular file"),
        (("file:///etc/passwd",), "name a file here by its path"),
        (("0:x",), "Expected a weight other than 0"),
        (("",), "Expected something to search for"),
        (("-",), "Expected something to search for"),
        (("a", "-f", "--json"), "Got both"),
    ],
)
def test_what_is_no_query_is_refused_in_words(
    here: Path, capfd: Captured, arguments: tuple[str, ...], words: str
) -> None:
    """Two dashes are an option, and unknown ones are refused with the nearest; so is an option with a dash too few."""
    assert words in told(capfd, *arguments)


def test_a_query_without_a_store_is_told(here: Path, capfd: Captured) -> None:
    """Whoever forgets that the store comes first is reminded, before anything is read."""
    assert code("search", "red", "bike") == 1
    assert "the folder of a store, and behind it what to look for. Got red" in capfd.readouterr().err


def test_the_query_is_told_where_it_could_be_another(here: Path, capfd: Captured) -> None:
    """How words were put together, on stderr; not where there is but one way."""
    assert code("search", "store", "red", "bike", "-.5:people", "red.png") == 0
    assert "Looking for red bike - 0.5 x people + red.png" in capfd.readouterr().err
    assert code("search", "store", "red", "bike") == 0
    assert "Looking" not in capfd.readouterr().err
    assert in_words([Row(3, -2.0), Text("a"), Picture(b"", name="b")]) == "- 2 x row 3 + a + b"


def test_a_picture_at_an_address_is_looked_for(here: Path, capfd: Captured) -> None:
    """As a bare argument, as --image, and under a signed address, which is kept nowhere and shown without its query."""
    with ImageServer().running() as server:
        server.files |= dict.fromkeys(("/red.png", "/red.png?X-Amz-Signature=hidden"), Path("red.png").read_bytes())
        address = f"{server.url}/red.png"
        expected = answer(capfd, "--image", "red.png")
        for query in ((address,), ("--image", address), (f"{address}?X-Amz-Signature=hidden",)):
            assert answer(capfd, *query) == expected
        assert code("search", "store", f"-{address}?X-Amz-Signature=hidden") == 0
        said = capfd.readouterr()
        assert f"Looking for - {address}\n" in said.err
        assert "hidden" not in said.out + said.err


def test_an_address_without_a_picture_is_told(here: Path, capfd: Captured) -> None:
    """Nothing there, no server, a login, a page instead of a picture: exit code 2, and which address it was."""
    with ImageServer().running() as server:
        server.files |= {"/page.html": b"<!doctype html><html>hello</html>", "/login.png": b"x"}
        server.faults["/login.png"] = Faults(statuses=[401])
        assert "/none.png. The server answered 404" in told(capfd, f"{server.url}/none.png")
        assert "it wants a login" in told(capfd, f"{server.url}/login.png")
        assert "/page.html: Expected an image. The file is HTML text" in told(capfd, f"{server.url}/page.html")
    assert "Connection refused" in told(capfd, "http://127.0.0.1:1/red.png")


def test_an_object_of_fsspec_is_a_picture(here: Path, capfd: Captured) -> None:
    """As a run reads it."""
    import fsspec

    with fsspec.open("memory://bucket/red.png", "wb") as file:
        file.write(Path("red.png").read_bytes())
    assert answer(capfd, "memory://bucket/red.png") == answer(capfd, "red.png")


def test_pictures_are_read_before_the_store_is_searched(here: Path) -> None:
    """Terms come in the order of words, texts, images, rows, with their weights."""
    terms = list(asked_for(["a", "b", "2:red.png"], ["-c"], ["-red.png"], ["3"]))
    data = Path("red.png").read_bytes()
    expected = [Text("a b"), Picture(data, 2.0, "red.png"), Text("c", -1.0), Picture(data, -1.0, "red.png"), Row(3)]
    assert terms == expected


@pytest.fixture
def odd(tiny: TinyModels, tmp_path: Path) -> list[bytes]:
    """A store of pictures with odd names, and what these are."""
    (tmp_path / "odd").mkdir()
    folder = os.fsencode(tmp_path / "odd")
    names = [folder + b"/" + name for name in (b"plain.png", b"a b.png", b"line\nbreak.png", b"\xff\x1b[31m.png")]
    for at, name in enumerate(names):
        Image.new("RGB", (40 + at, 40), (60 * at, 10, 10)).save(name.decode("utf-8", "surrogateescape"), "PNG")
    make_store(tmp_path / "store", tmp_path / "odd", tiny, [tiny.torchvision])
    return names


def test_paths_alone_are_those_that_others_can_open(odd: list[bytes], tmp_path: Path, capfdbinary: Any) -> None:
    """-f prints a path a line and nothing else, byte by byte; -0 ends each with NUL, so that no name is two."""
    store = str(tmp_path / "store")
    assert code("search", store, "--row", "-0", "-0", "--copies") == 0
    paths = capfdbinary.readouterr().out.split(b"\0")
    assert paths.pop() == b""
    assert sorted(paths) == sorted(odd)
    assert all(Path(os.fsdecode(path)).is_file() for path in paths)
    assert code("search", store, "--row", "-0", "-f", "--copies") == 0
    said = capfdbinary.readouterr()
    assert said.out == b"".join(path + b"\n" for path in paths)
    assert b"-0 ends each with NUL" in said.err


def test_nothing_found_is_an_empty_list(odd: list[bytes], tmp_path: Path, capfd: Captured) -> None:
    """Nothing at all is on stdout, and a person is told."""
    assert code("search", str(tmp_path / "store"), "--row", "0", "-f", "--glob", "none/*") == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert "Nothing fits." in said.err


def test_addresses_are_printed_as_addresses(tiny: TinyModels, made: Path, tmp_path: Path, capfd: Captured) -> None:
    """What came from a server is found there."""
    with ImageServer().running() as server:
        for name in ("a", "b"):
            picture = made / "photos" / ("warm/red.png" if name == "a" else "cold/blue.png")
            server.files[f"/{name}.png"] = picture.read_bytes()
        addresses = [f"{server.url}/a.png", f"{server.url}/b.png"]
        (tmp_path / "list.txt").write_text("\n".join(addresses))
        make_store(tmp_path / "store", Path(f"@{tmp_path}/list.txt"), tiny, [tiny.torchvision])
    assert code("search", str(tmp_path / "store"), "--row", "-0", "-f", "--copies") == 0
    assert sorted(capfd.readouterr().out.splitlines()) == addresses


@pytest.mark.parametrize("how", [["-f"], ["--json"], []])
def test_a_reader_who_has_enough_ends_it_quietly(made: Path, how: list[str]) -> None:
    """`… | head` closes the pipe: that needs no words."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pixelmill", "search", str(made / "store"), "--row", "0", "--model", CLIP, *how]
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, timeout=120)
    assert done.stderr == b""
    assert done.returncode == 1


def test_a_search_by_row_loads_nothing_it_does_not_need(made: Path) -> None:
    """No PyTorch, no Pillow, no settings, no table for a terminal: it starts at once."""
    program = (
        "import sys\nfrom pixelmill.cli.main import main\n"
        f"try: main(['search', {str(made / 'store')!r}, '--row', '0', '-f'])\n"
        "except SystemExit: pass\n"
        "print({name for name in ('torch', 'PIL', 'settings', 'rich', 'httpx') if name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") > 3
    assert done.stderr.splitlines()[-1] == "set()"
