"""A store that a newer program has written is refused, with the version to install, and left as it is."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock

import pytest

from pixelmill.cli.main import main
from pixelmill.errors import StoreError, StoreTooNew
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import SEAL
from pixelmill.store.master_file import HEADER_BYTES
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.golden import GOLDEN
from tests.support.stores import provenance


def newer_manifest(folder: Path) -> bytes:
    """The store's manifest as a later format might have it: another version, another field, the same ends."""
    fields = json.loads((folder / "manifest.json").read_bytes())
    del fields["checksum"]
    body = json.dumps(fields | {"format_version": 9, "pixelmill_version": "9.8.7", "shiny": 1}, separators=(",", ":"))
    content = body.encode().removesuffix(b"}")
    return content + SEAL + hashlib.sha256(content).hexdigest().encode() + b'"}'


def replace_master(folder: Path) -> None:
    path = folder / "vectors.h5"
    body = path.read_bytes()[HEADER_BYTES:] + b"and more"
    line = f"pixelmill format 9 made by 9.8.7 sha256 {hashlib.sha256(body).hexdigest()}\n"
    path.write_bytes(line.encode().ljust(HEADER_BYTES, b"\0") + body)


def replace_copy(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(newer_manifest(folder))


def replace_copy_lose_master(folder: Path) -> None:
    replace_copy(folder)
    (folder / "vectors.h5").unlink()


def replace_copy_and_all_parts(folder: Path) -> None:
    replace_copy_lose_master(folder)
    shutil.rmtree(folder / "parts")


def replace_copy_damage_master(folder: Path) -> None:
    replace_copy(folder)
    (folder / "vectors.h5").write_bytes(b"no longer a master")


def replace_ledger(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        database.executescript("PRAGMA user_version = 2; PRAGMA application_id = 591879; CREATE TABLE shiny (x);")


CHANGES = [
    replace_master, replace_copy, replace_copy_lose_master, replace_copy_and_all_parts, replace_copy_damage_master,
    replace_ledger,
]  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() if f.is_file() else b"" for f in folder.rglob("*")}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(GOLDEN / "v1" / "store", tmp_path / "store"))
    (folder / ".lock").touch()  # every store that was written to has one
    return folder


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use", [StoreWriter, repair, verify])
def test_whoever_writes_or_checks_refuses_a_newer_store(
    use: Callable[[Path], object], change: Callable[[Path], None], store: Path
) -> None:
    """Wherever the newer format shows, no byte is touched, and the version to install is named."""
    change(store)
    before = files(store)
    with pytest.raises(StoreTooNew, match=r"install pixelmill 9\.8\.7 or newer") as refused:
        use(store)
    assert "Nothing was touched" in str(refused.value)
    assert files(store) == before


@pytest.mark.parametrize("use", [Store, StoreWriter, repair, verify])
def test_a_program_from_before_columns_refuses_them(
    use: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is asked to do with a store of format 3, it names the version to install, and touches no byte."""
    folder = Path(shutil.copytree(GOLDEN / "v3" / "store", tmp_path / "columns"))
    (folder / ".lock").touch()
    before = files(folder)
    for module in ("manifest", "master_file", "validate"):
        monkeypatch.setattr(f"pixelmill.store.{module}.FORMAT_VERSION", 2)
    with pytest.raises(StoreTooNew, match=r"Found format 3: install pixelmill [\d.]+ or newer"):
        use(folder)
    assert files(folder) == before


@pytest.mark.parametrize("change", CHANGES)
def test_without_the_check_a_newer_store_is_touched_or_taken(change: Callable[[Path], None], store: Path) -> None:
    """The test above can fail: with the check taken out, a writer alters the newer store or does not see that it is."""
    change(store)
    before = files(store)
    seen = False
    with mock.patch("pixelmill.store.commit.refuse_newer"), suppress(StoreError):
        try:
            with StoreWriter(store) as writer:
                writer.matrix(provenance("c"), "float32")
        except StoreTooNew:
            seen = True
    assert not seen or files(store) != before


def test_a_reader_refuses_a_newer_master(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Readers and commands that read say which version to install, and fail."""
    replace_master(store)
    with pytest.raises(StoreTooNew, match=r"9\.8\.7"):
        Store(store)
    for command in ("info", "quarantine"):
        with pytest.raises(SystemExit) as stop:
            main([command, str(store)])
        assert stop.value.code == 1
        assert "install pixelmill 9.8.7 or newer" in capsys.readouterr().err


@pytest.mark.parametrize("use", [StoreWriter, repair, verify])
def test_a_ledger_that_a_newer_program_is_changing_now_is_left_alone(
    use: Callable[[Path], object], store: Path
) -> None:
    """A newer version that stands in the ledger's log only, not yet in its header, is seen as well."""
    with closing(sqlite3.connect(store / "ledger.sqlite")) as database:
        database.executescript("PRAGMA user_version = 2; PRAGMA application_id = 591879; CREATE TABLE shiny (x);")
        assert (store / "ledger.sqlite").read_bytes()[63] == 1, "the header still says 1"
        with pytest.raises(StoreTooNew, match=r"9\.8\.7"):
            use(store)
    with closing(sqlite3.connect(store / "ledger.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM shiny").fetchone() == (0,)


def test_the_ledger_says_which_program_made_it(store: Path) -> None:
    """A ledger carries the version of the program in its header, where later programs and this one find it."""
    with closing(Ledger(store)) as ledger:
        assert ledger.contents.row_count() == 12
    (store / "ledger.sqlite").unlink()
    Ledger(store).close()
    assert int.from_bytes((store / "ledger.sqlite").read_bytes()[68:72], "big") == 0x010000
