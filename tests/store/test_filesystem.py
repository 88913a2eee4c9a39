"""File systems that cannot keep what a store promises are noticed, and said or refused."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from unittest import mock

import pytest

from pixelmill.cli.main import main
from pixelmill.errors import StoreError
from pixelmill.report.markdown import as_markdown, plain
from pixelmill.report.model import RunReport
from pixelmill.store import filesystem
from pixelmill.store.commit import StoreWriter
from pixelmill.store.filesystem import Mount, mount_of, warnings_for
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair
from tests.conftest import SavePicture, is_tmpfs
from tests.support.stores import check_plain, provenance, sha256, shard_rows


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """A mountinfo as Linux writes it: nested mounts, one over another, an escaped space, optional fields."""
    file = tmp_path / "mountinfo"
    file.write_text(
        "22 1 0:2 / / rw,relatime - ext4 /dev/vda rw,barrier=1\n"
        "23 22 0:3 / /mnt/with\\040space rw,noatime shared:1 master:2 - nfs4 server:/x rw,vers=4.2\n"
        "24 22 0:4 / /mnt/twice rw - cifs //server/x rw\n"
        "25 24 0:5 / /mnt/twice rw - xfs /dev/vdb rw,nobarrier\n"
        "a line of another kind\n"
    )
    return file


@pytest.mark.parametrize(
    ("folder", "point", "kind"),
    [
        ("/somewhere/else", "/", "ext4"),
        ("/mnt/with space/deep/store", "/mnt/with space", "nfs4"),
        ("/mnt/with spaces/store", "/", "ext4"),
        ("/mnt/twice/store", "/mnt/twice", "xfs"),
    ],
)
def test_the_mount_of_a_folder(folder: str, point: str, kind: str, mounts: Path) -> None:
    """The deepest mount that holds the folder counts, and of two at one point the later, which lies on top."""
    found = mount_of(Path(folder), mounts)
    assert found is not None
    assert (found.point, found.type) == (point, kind)


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (Mount("/", "tmpfs"), "in memory.*gone after a restart"),
        (Mount("/", "nfs4"), "network or shared file system .nfs4.*Keep the store on a local disk: only the run"),
        (Mount("/", "cifs"), "cifs"),
        (Mount("/", "9p"), "9p"),
        (Mount("/", "fuse.sshfs"), "fuse.sshfs"),
        (Mount("/", "virtiofs"), "virtiofs"),
        (Mount("/", "ext4", frozenset({"rw", "nobarrier"})), "nobarrier: a power cut"),
        (Mount("/", "overlay", frozenset({"volatile"})), "volatile"),
        (Mount("/", "ext4", frozenset({"rw", "barrier=1"})), ""),
        (Mount("/", "fuseblk"), ""),
        (None, ""),
    ],
)
def test_what_is_said_of_a_file_system(mount: Mount | None, words: str, tmp_path: Path) -> None:
    """A warning names the folder, the type and what to do; of a local disk nothing is said."""
    with mock.patch.object(filesystem, "mount_of", return_value=mount):
        told = warnings_for(tmp_path)
    assert len(told) == bool(words)
    if words:
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(told[0])
        assert str(tmp_path) in told[0]


@pytest.mark.parametrize(("kind", "journal"), [("nfs4", "truncate"), ("ext4", "wal")])
def test_machines_that_share_a_file_system_share_no_memory(kind: str, journal: str, folder: Path) -> None:
    """SQLite's write-ahead log, which needs memory that all writers see, is left on a file system that machines share;
    what is in one is taken over, and the store goes on."""
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows(range(3), [writer.matrix(provenance("a"), "float32")]))
    with mock.patch.object(filesystem, "mount_of", return_value=Mount("/", kind)), StoreWriter(folder) as writer:
        assert writer.ledger.database.connection.execute("PRAGMA journal_mode").fetchone() == (journal,)
        assert writer.ledger.contents.row_count() == 3
        writer.commit(shard_rows(range(3, 6), [writer.matrix(provenance("a"), "float32")]))
    check_plain(folder, {sha256(number): {"a": True} for number in range(6)})


def test_a_run_and_info_say_once_that_a_store_lies_in_memory(
    memory: Path, tmp_path: Path, prefect_api: None, save_picture: SavePicture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """On a real tmpfs, the report of a run has the warning in JSON and in words, and `info` has it; verify, which is run
    every night as well, does not repeat it."""
    if not is_tmpfs(memory):
        pytest.skip("there is no tmpfs at /dev/shm")
    save_picture(tmp_path / "photos" / "a.png")
    arguments = ["run", str(tmp_path / "photos"), "--store", str(memory / "store"), "--precision", "float32", "--json"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    report = json.loads(capsys.readouterr().out)
    warning = f"{memory / 'store'} lies in memory (tmpfs): it is gone after a restart. Keep a store on a disk."
    assert report["warnings"] == [warning]
    assert f"- {plain(warning)}" in as_markdown(RunReport.model_validate(report))
    for command, times in (("info", 1), ("verify", 0)):
        with pytest.raises(SystemExit):
            main([command, str(memory / "store")])
        assert capsys.readouterr().out.count("in memory") == times


def test_locks_that_exclude_nobody_are_refused(folder: Path) -> None:
    """Where the file system gives one lock twice, or none, nothing is written: two writers could lose rows."""
    with StoreWriter(folder) as writer:
        writer.matrix(provenance("a"), "float32")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ignored = mock.patch("fcntl.flock", return_value=None)
    refused = mock.patch("fcntl.flock", side_effect=OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)))
    unknown = mock.patch("fcntl.flock", side_effect=OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)))
    for broken in (ignored, refused, unknown):
        for use in (StoreWriter, repair):
            with broken, pytest.raises(StoreError, match="local disk"):
                use(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    StoreWriter(folder).close()


def test_a_new_store_is_not_begun_without_locks(folder: Path) -> None:
    """No master appears where locks do not work."""
    with mock.patch("fcntl.flock", return_value=None), pytest.raises(StoreError, match="gave the same lock twice"):
        StoreWriter(folder)
    with pytest.raises(StoreError, match="Found none"):
        Store(folder)


def failing_for_folders(code: int) -> mock._patch[mock.MagicMock]:
    """fsync that refuses folders with `code`, as some file systems do, and syncs files."""
    fsync = os.fsync

    def picky(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    return mock.patch("os.fsync", side_effect=picky)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_fsync_of_folders_is_told_of(code: int, folder: Path) -> None:
    """Such a file system is written to, and the report warns that a power cut may take rows."""
    with failing_for_folders(code), StoreWriter(folder) as writer:
        writer.commit(shard_rows([0, 1], [writer.matrix(provenance("a"), "float32")]))
        assert "a power cut may take rows" in writer.warnings[-1]
    check_plain(folder, {sha256(n): {"a": True} for n in (0, 1)})
    assert not any("power cut" in warning for warning in warnings_for(folder)), "only where fsync is refused"


def test_an_io_error_at_fsync_of_a_folder_is_an_error(folder: Path) -> None:
    """That a folder could not be synced for any other reason is not passed over."""
    with StoreWriter(folder) as writer:
        matrix = writer.matrix(provenance("a"), "float32")
        with failing_for_folders(errno.EIO), pytest.raises(StoreError, match="Could not write"):
            writer.commit(shard_rows([0], [matrix]))
