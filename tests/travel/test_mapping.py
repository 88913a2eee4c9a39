"""A worker reads a file where it sees it: by the longest path that leads there, and by whole names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmill.errors import SettingsError
from pixelmill.models.base import WeightsSource
from pixelmill.run.job import Worker
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.travel.mapping import checked_paths, seen_here, seen_here_path, weights_seen_here
from settings import load_settings
from tests.support.archives import content, pack_parquet, pack_tar, pack_zip, shard
from tests.support.models import spec_of

PATHS = {"/photos": "/mnt/nas/photos", "/photos/2026": "/new", "s3://bucket/a": "/mnt/a", "/one.jpg": "/two/three.jpg"}


@pytest.mark.parametrize(
    ("source", "path", "seen"),
    [
        ("/photos", "a/b.jpg", ("/mnt/nas/photos", "a/b.jpg")),
        ("/photos/", "a", ("/mnt/nas/photos", "a")),
        ("/photos/old", "a", ("/mnt/nas/photos/old", "a")),
        ("/photos/2026", "a", ("/new", "a")),
        ("/photos", "2026/x/a.jpg", ("/new", "x/a.jpg")),
        ("/photos", "2026-01/a.jpg", ("/mnt/nas/photos", "2026-01/a.jpg")),
        ("/photos2", "a", ("/photos2", "a")),
        ("/", "photos/a", ("/mnt/nas/photos", "a")),
        ("/photos/a.zip", "x/y.jpg", ("/mnt/nas/photos/a.zip", "x/y.jpg")),
        ("s3://bucket/a", "k//y", ("/mnt/a", "k//y")),
        ("s3://bucket", "a/c.tar/m.png", ("/mnt/a", "c.tar/m.png")),
        ("s3://bucket/ab", "y", ("s3://bucket/ab", "y")),
        ("/", "one.jpg", ("/two", "three.jpg")),
    ],
)
def test_where_a_file_is_seen(source: str, path: str, seen: tuple[str, str]) -> None:
    """Source and path stay apart; the longest key counts, below the source as well, and never half a name."""
    file = FoundFile(source, path, 7, 8, 9)
    got = seen_here(file, PATHS)
    assert (got.source, got.path, got.size, got.mtime_ns) == (*seen, 7, 8)
    assert got.absolute == seen_here_path(file.absolute, PATHS)


@given(st.lists(st.sampled_from(["a", "b", "a.zip", "ab"]), min_size=1, max_size=5), st.integers(0, 4), st.data())
def test_source_and_path_always_agree(names: list[str], cut: int, data: st.DataObject) -> None:
    """However a file is cut into source and path, it is seen at one place, which is that of its whole path."""
    prefixes = st.sampled_from(["/", *("/" + "/".join(names[: n + 1]) for n in range(len(names)))])
    paths = data.draw(st.dictionaries(prefixes, st.sampled_from(["/", "/x", "/x/y", "s3://bucket/k"]), max_size=3))
    cut = min(cut, len(names) - 1)
    file = FoundFile("/" + "/".join(names[:cut]), "/".join(names[cut:]), 0, 0, 0)
    got = seen_here(file, paths)
    if got.path:  # else / itself is one
        assert got.absolute == seen_here_path(file.absolute, paths)


def test_what_is_read_there(tmp_path: Path) -> None:
    """Files and members of archives of every kind are read from a copy, whose times are others."""
    photos, copy = tmp_path / "photos", tmp_path / "mnt" / "copy"
    photos.mkdir()
    (photos / "0.png").write_bytes(content(0))
    for number, pack in enumerate((pack_zip, pack_tar, pack_parquet), 1):
        pack(photos / f"{number}.{pack.__name__[5:]}", shard(range(10 * number, 10 * number + 3)))
    files = list(discover([str(photos), f"{photos}/*"]))
    shutil.copytree(photos, copy, copy_function=shutil.copyfile)
    shutil.rmtree(photos)
    read = {read_image(seen_here(file, {str(photos): str(copy)}), max_bytes=10**6) for file in files}
    assert read == {content(n) for n in (0, 10, 11, 12, 20, 21, 22, 30, 31, 32)}


def test_weights_of_ones_own(tmp_path: Path) -> None:
    """Local weights files are looked for where the worker sees them, whatever their names; others where they were."""
    weights, upstream = (
        WeightsSource("file:/photos/my%20w%C3%AF.pt", "0" * 64),
        WeightsSource("https://x.example/photos/w"),
    )
    spec = replace(spec_of("one", tmp_path), weights=weights, others=(upstream,))
    moved = weights_seen_here(spec, PATHS)
    assert moved.weights == WeightsSource("file:/mnt/nas/photos/my%20w%C3%AF.pt", "0" * 64)
    assert moved.others == (upstream,)
    assert weights_seen_here(spec, {}) == spec


def test_paths_as_they_are_kept() -> None:
    """Absolute ones and addresses, on both sides, without slashes at the end: in the settings and in a job."""
    given = {"/photos/": "/mnt//nas/", "S3://bucket/a/": "https://mirror.example/a/", "/": "/host"}
    kept = {"/photos": "/mnt/nas", "s3://bucket/a": "https://mirror.example/a", "/": "/host"}
    assert checked_paths(given) == Worker(name="a", paths=given).paths == kept
    Path("pixelmill.toml").write_text('[[workers]]\nname = "a"\npaths = {"/photos/" = "/mnt//nas/"}\n')
    assert load_settings().workers[0].paths == {"/photos": "/mnt/nas"}


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ('{"photos" = "/mnt"}', "Expected absolute paths.*Got 'photos'"),
        ('{"/photos" = "~/mnt"}', "Expected absolute paths.*Got '~/mnt'"),
        ('{"/photos/../a" = "/mnt"}', "Expected absolute paths"),
        ('{"/photos" = ""}', "Expected absolute paths"),
        ('{"/photos" = "/a", "/photos/" = "/b"}', "Expected each path once"),
        ('{"/photos" = "ftp://me:hunter2@nas/photos"}', "without a password"),
        ('{"/photos" = "file:///mnt"}', "name a file here by its path"),
        ('{"/photos" = 3}', "string"),
    ],
)
def test_paths_that_do_not_fit(paths: str, said: str) -> None:
    """They are told, with the worker's place in the settings, and without a password."""
    Path("pixelmill.toml").write_text(f'[[workers]]\nname = "a"\npaths = {paths}\n')
    with pytest.raises(SettingsError, match=rf"workers\.0\.paths.*{said}") as error:
        load_settings()
    assert "hunter2" not in str(error.value)
