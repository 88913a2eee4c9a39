"""Images inside archives: zip, tar (WebDataset shards), Parquet with the bytes of images (Hugging Face datasets)."""

from __future__ import annotations

import os
import posixpath
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, Protocol

from pixelmill.errors import ImageRejected, PixelmillError, SourceError
from pixelmill.images.decode import FileChanged
from pixelmill.sources.address import archive_kind, is_address, is_http, shown
from pixelmill.sources.files import Status, files_of, tag_of
from pixelmill.sources.formats import has_image_extension, sniff
from pixelmill.sources.found import FoundFile, is_hidden

_PLACE_BITS: Final = 32
_OPEN_AT_ONCE: Final = 16
"""Archives whose tables of contents are kept in memory."""
_STATUS_SECONDS: Final = 30.0
"""How long what is known of an archive, or that it cannot be opened, is believed while members are read."""
_TEXTS: Final = frozenset(
    {"README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS", "CHANGELOG", "CHANGES", "MAKEFILE", "DOCKERFILE"}
)
"""Names without an extension that are those of texts."""
_OTHERS: Final = frozenset(
    {
        ".txt", ".json", ".jsonl", ".cls", ".caption", ".csv", ".tsv", ".xml", ".html", ".htm", ".md", ".yaml", ".yml",
        ".log", ".ini", ".py", ".npy", ".npz", ".pt", ".pth", ".pkl", ".mp3", ".wav", ".flac", ".ogg", ".mp4", ".webm",
        ".mov", ".avi", ".mkv", ".pdf", ".svg", ".zip", ".tar", ".gz", ".parquet",
    }
)  # fmt: skip
"""Extensions of what lies beside images in archives, into which nobody looks."""
_MOST = 2**63 - 1
"""The largest number that SQLite keeps."""
_guard = threading.Lock()
_archives: OrderedDict[tuple[str, Status], tuple[float, Future[Archive]]] = OrderedDict()


Place = tuple[int, int]
"""Where a member lies, as `Member.place` says, and its size in bytes."""


class ArchiveDamaged(SourceError):
    """An archive that cannot be read as what its name says."""


class CutOff(OSError):
    """A member that lies beyond the end of its archive, which may be whole again later."""

    def __str__(self) -> str:
        return "the archive is cut off there"


@dataclass(frozen=True, slots=True)
class Member:
    """One image of an archive: its name as it is kept, its size in bytes (0: unknown), the time of modification in
    nanoseconds (Unix, 0: unknown), where it lies (what that is, the kind of archive says) and a checksum (0: none)."""

    name: str
    size: int
    mtime_ns: int
    place: int
    checksum: int = 0


State = Literal["whole", "open", "damaged"]
"""What is known of an archive that was listed: that it is whole; that it ends without the mark that ends one, so that
more may have been there; that a part of it cannot be read."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of an archive, sorted by name, what there is to tell of the rest, and how many members are none."""

    files: list[FoundFile]
    state: State = "whole"
    told: str = ""
    others: int = 0


class Archive(Protocol):
    """An opened archive. Raises ArchiveDamaged for one that is none."""

    @property
    def state(self) -> State:
        """What is known of it when `members` has come to its end."""

    @property
    def told(self) -> list[str]:
        """What of it is no member, in words, when `members` has come to its end."""

    @property
    def others(self) -> int:
        """How many members are no images, when `members` has come to its end."""

    def members(self) -> Iterator[Member]:
        """The images, by where they lie."""

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        """The bytes of a member. `place` None: look for it. Raises ImageRejected for one that is damaged, encrypted or
        larger than `most`, KeyError for a name that it does not have, and FileChanged when the archive is another."""


def listed(address: str, status: Status) -> Listing:
    """What an archive holds; of several images of one name the first. Raises OSError, or ArchiveDamaged."""
    with_place = archive_kind(address) != "zip"  # which finds members by name, and knows a checksum of each
    found, again = dict[str, FoundFile](), 0
    try:
        archive = _opened(address, status)
        for member in archive.members():
            again += member.name in found
            place = mark(member.checksum or _seal(status), member.place if with_place else 0)
            time_ns = member.mtime_ns or status.mtime_ns
            found.setdefault(member.name, FoundFile(address, member.name, min(member.size, _MOST), time_ns, place))
    except (OSError, MemoryError, PixelmillError):
        raise
    except Exception as error:  # there is hardly one that hostile archives cannot bring about
        raise ArchiveDamaged(f"Expected a {archive_kind(address)} archive. {type(error).__name__}: {error}") from error
    told = [*archive.told, *([f"{again:,} members have names of others before, which count"] if again else [])]
    return Listing(
        [found[name] for name in sorted(found, key=os.fsencode)], archive.state, "; ".join(told), archive.others
    )


def read_member(file: FoundFile, *, max_bytes: int) -> bytes:
    """The bytes of an archive's member. Raises like `read_image_file`."""
    status = _status(file.source, int(time.monotonic() / _STATUS_SECONDS))
    place = None
    if file.ctime_ns and archive_kind(file.source) != "zip":
        place = file.ctime_ns & ((1 << _PLACE_BITS) - 1), file.size
        if file.ctime_ns >> _PLACE_BITS != _seal(status):
            status = files_of(file.source).status(file.source)
            if file.ctime_ns >> _PLACE_BITS != _seal(status):
                raise FileChanged("the archive is another than the one that was listed")
    try:
        return _read(file, status, place, max_bytes)
    except ImageRejected:
        if files_of(file.source).status(file.source) != status:
            raise FileChanged("the archive has changed since it was looked at") from None
        raise


def _read(file: FoundFile, status: Status, place: Place | None, most: int) -> bytes:
    try:
        return _opened(file.source, status).read(file.path, place, most=most)
    except KeyError:
        raise FileNotFoundError("the archive holds no such file") from None
    except ArchiveDamaged as error:
        raise OSError(str(error)) from error
    except (OSError, MemoryError, PixelmillError):
        raise
    except Exception as error:
        raise ImageRejected("read", f"The archive is damaged there ({type(error).__name__}: {error}).") from error


@lru_cache(maxsize=_OPEN_AT_ONCE)
def _status(address: str, _now: int) -> Status:
    """What is known of an archive, asked for once in a while."""
    return files_of(address).status(address)


def mark(seal: int, place: int) -> int:
    """A number for `FoundFile.ctime_ns`: 31 bits that are others when the member may be another, and its place."""
    return (seal & 0x7FFF_FFFF) << _PLACE_BITS | place


def _seal(status: Status) -> int:
    return tag_of(f"{status.size} {status.mtime_ns} {status.tag}") & 0x7FFF_FFFF


def kept_name(name: str, size: int, head: Callable[[], bytes]) -> str | None:
    """A member's name as it is kept, if it may be an image: by its extension, or where that says nothing by its
    content, of which `head` gives the first bytes. Names of folders that desktops make, hidden ones and those that
    point out of the archive are not kept."""
    path = posixpath.normpath(name.replace("\\", "/") if "/" not in name else name).lstrip("/")
    if not path or name.endswith("/") or is_hidden(path):
        return None
    last = posixpath.basename(path)
    if has_image_extension(last):
        return path
    if not size or _is_other(last):
        return None
    return path if sniff(head()) else None


def may_be_image(name: str, size: int) -> bool:
    """Whether a name elsewhere is taken for an image's: by its extension; those of objects often have none at all."""
    return has_image_extension(name) or (size > 0 and "." not in name and not _is_other(name))


def _is_other(name: str) -> bool:
    """Whether a name is one of something else than an image."""
    return name.startswith("_") or name.upper() in _TEXTS or posixpath.splitext(name)[1].lower() in _OTHERS


def shown_path(source: str) -> str:
    """A source as it may be shown."""
    return shown(source) if is_address(source) else source


def _opened(address: str, status: Status) -> Archive:
    """The archive, opened by the first thread that asks; the others wait for that one, and for no other archive's."""
    key, now = (address, status), time.monotonic()
    with _guard:
        since, future = _archives.get(key, (now, None))
        if future is None or (now - since > _STATUS_SECONDS and future.done() and future.exception()):
            future, mine = Future[Archive](), True
            _archives[key] = now, future
            while len(_archives) > _OPEN_AT_ONCE:
                _archives.popitem(last=False)
        else:
            mine = False
        _archives.move_to_end(key)
    if mine:
        try:
            future.set_result(_archive(address, status))
        except BaseException as error:
            future.set_exception(error)
    return future.result()


def _archive(address: str, status: Status) -> Archive:
    files = files_of(address)
    if is_http(address):
        from pixelmill.sources.http import http_files

        status = status._replace(size=http_files().length(address) or status.size)
    if not status.size:
        raise ArchiveDamaged(f"Expected an archive in {shown_path(address)}. It is empty, or its size is not known.")
    match archive_kind(address):
        case "zip":
            from pixelmill.sources.zip import ZipArchive

            return ZipArchive(files, address, status)
        case "tar":
            from pixelmill.sources.tar import TarArchive

            return TarArchive(files, address, status)
        case _:
            from pixelmill.sources.parquet import ParquetArchive

            return ParquetArchive(files, address, status)


def time_of(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Nanoseconds (Unix) of a time that an archive keeps without a zone: as UTC. 0 for one that there is not."""
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return 0
