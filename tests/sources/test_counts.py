"""What is there adds up, for every kind of source: seen is embedded, in quarantine or pending, and nothing else."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.sources.conftest import Run
from tests.support.archives import content
from tests.support.image_server import Faults, ImageServer

FILES = {"a.png": content(1), "b.png": content(2), "bad.png": content(3)[:-60], "late.png": content(4)}
"""Two that are sound, one that is cut off, and one that some sources cannot read."""


def _folder(tmp_path: Path, _: ImageServer) -> str:
    for name, data in FILES.items():
        (tmp_path / "photos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    return str(tmp_path / "photos")


def _list(tmp_path: Path, web: ImageServer) -> str:
    folder = Path(_folder(tmp_path, web))
    (tmp_path / "list.txt").write_text("\n".join(str(folder / name) for name in FILES))
    return f"@{tmp_path / 'list.txt'}"


def _pattern(tmp_path: Path, web: ImageServer) -> str:
    return f"{_folder(tmp_path, web)}/*.png"


def _braces(tmp_path: Path, web: ImageServer) -> str:
    return _folder(tmp_path, web) + "/{a,b,bad,late}.png"


def _zip(tmp_path: Path, _: ImageServer) -> str:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return str(tmp_path / "photos.zip")


def _tar(tmp_path: Path, _: ImageServer) -> str:
    (tmp_path / "photos.tar").write_bytes(_tarred(FILES))
    return str(tmp_path / "photos.tar")


def _cut_tar(tmp_path: Path, web: ImageServer) -> str:
    """Of the last member only a part is there."""
    place = Path(_tar(tmp_path, web))
    whole = place.read_bytes()
    place.write_bytes(whole[: whole.index(FILES["late.png"]) + 100])
    return str(place)


def _parquet(tmp_path: Path, _: ImageServer) -> str:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": data, "path": name} for name, data in FILES.items()]
    parquet.write_table(pyarrow.table({"image": rows}), tmp_path / "photos.parquet")
    return str(tmp_path / "photos.parquet")


def _addresses(tmp_path: Path, web: ImageServer) -> str:
    web.files = {f"/{name}": data for name, data in FILES.items()}
    (tmp_path / "list.txt").write_text("\n".join(f"{web.url}/{name}" for name in FILES))
    return f"@{tmp_path / 'list.txt'}"


def _refused_address(tmp_path: Path, web: ImageServer) -> str:
    web.faults["/late.png"] = Faults(statuses=[503] * 99)
    return _addresses(tmp_path, web)


def _braces_at_an_address(tmp_path: Path, web: ImageServer) -> str:
    _addresses(tmp_path, web)
    return web.url + "/{a,b,bad,late}.png"


def _archive_at_an_address(tmp_path: Path, web: ImageServer) -> str:
    web.files = {"/photos.tar": _tarred(FILES)}
    return f"{web.url}/photos.tar"


def _tarred(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


KINDS: Mapping[Callable[[Path, ImageServer], str], int] = {
    _folder: 0, _list: 0, _pattern: 0, _braces: 0, _zip: 0, _tar: 0, _cut_tar: 1, _parquet: 0, _addresses: 0,
    _refused_address: 1, _braces_at_an_address: 0, _archive_at_an_address: 0,
}  # fmt: skip
"""Kinds of sources, and how many of FILES cannot be read there for now."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[1:])
def test_what_is_seen_adds_up(
    go: Run, web: ImageServer, tmp_path: Path, kind: Callable[[Path, ImageServer], str]
) -> None:
    """In the first run, and in one after it that finds everything as it was."""
    source, late = kind(tmp_path, web), KINDS[kind]
    for already in (0, 3 - late):
        _, report = go(source)
        model = report.models["one"]
        assert report.images.seen == len(FILES)
        assert (model.embedded + already, model.quarantined, model.pending) == (3 - late, 1, late)
        assert report.images.quarantined == model.quarantined
        assert report.images.duplicate == 0
        assert report.exceeded_failure_rate == (late > 0 or not already)
