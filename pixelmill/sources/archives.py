"""Archives by their kind, opened once and read by many threads: what one holds, and the bytes of a member."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from pixelmill.errors import ImageRejected, PixelmillError
from pixelmill.sources.address import archive_kind, is_http, shown_path
from pixelmill.sources.archive import Archive, ArchiveDamaged, Place, State
from pixelmill.sources.companions import Companion
from pixelmill.sources.files import FileChanged, Status, tag_of
from pixelmill.sources.found import FoundFile
from pixelmill.sources.open import files_of
from pixelmill.sources.said import Said

_PLACE_BITS: Final = 32
_OPEN_AT_ONCE: Final = 16
"""Archives whose tables of contents are kept in memory."""
_STATUS_SECONDS: Final = 30.0
"""How long what is known of an archive, or that it cannot be opened, is believed while members are read."""
_MOST = 2**63 - 1
"""The largest number that SQLite keeps."""
File = TypeVar("File", bound=FoundFile)
_guard = threading.Lock()
_archives: OrderedDict[tuple[str, Status], tuple[float, Future[Archive]]] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of an archive, sorted by name, what there is to tell of the rest, how many members are none, and which
    of these speak of images."""

    files: list[FoundFile]
    state: State = "whole"
    told: str = ""
    others: int = 0
    beside: tuple[Companion, ...] = ()


def listed(address: str, status: Status) -> Listing:
    """What an archive holds; of several images of one name the first. Raises OSError, or ArchiveDamaged."""
    with_place = archive_kind(address) != "zip"  # which finds members by name, and knows a checksum of each
    found, beside, again = dict[str, FoundFile](), dict[str, Companion](), 0
    try:
        archive = _opened(address, status)
        for member in archive.members():
            place = mark(member.checksum or _seal(status), member.place if with_place else 0)
            time_ns = member.mtime_ns or status.mtime_ns
            file = FoundFile(address, member.name, min(member.size, _MOST), time_ns, place)
            if member.speaks:
                beside.setdefault(member.name, Companion(*file))
                continue
            again += member.name in found
            found.setdefault(member.name, file)
    except (OSError, MemoryError, PixelmillError):
        raise
    except Exception as error:  # there is hardly one that hostile archives cannot bring about
        raise ArchiveDamaged(f"Expected a {archive_kind(address)} archive. {type(error).__name__}: {error}") from error
    told = [*archive.told, *([f"{again:,} members have names of others before, which count"] if again else [])]
    files, speaking = _sorted(found), _sorted(beside)
    return Listing(files, archive.state, "; ".join(told), archive.others, tuple(speaking))


def _sorted(found: Mapping[str, File]) -> list[File]:
    return [found[name] for name in sorted(found, key=os.fsencode)]


def read_member(file: FoundFile, *, max_bytes: int) -> bytes:
    """The bytes of an archive's member. Raises like `reading.read_image`."""
    status, place = _as_listed(file)
    try:
        return _read(file, status, place, max_bytes)
    except ImageRejected:
        if files_of(file.source).status(file.source) != status:
            raise FileChanged("the archive has changed since it was looked at") from None
        raise


def said_of_row(file: FoundFile) -> tuple[Said, list[str]]:
    """What stands beside an image in its row of a Parquet file, and the columns of bytes that are left out. Raises
    OSError, FileChanged for an archive that is another by now."""
    from pixelmill.sources.parquet import ParquetArchive

    status, place = _as_listed(file)
    try:
        archive = _opened(file.source, status)
    except ArchiveDamaged as error:
        raise OSError(str(error)) from error
    if not isinstance(archive, ParquetArchive) or place is None:
        raise FileNotFoundError("the archive holds no such row")
    return archive.said(place[0]), archive.left_out


def _as_listed(file: FoundFile) -> tuple[Status, Place | None]:
    """What is known of a member's archive, and where the member lies, if it was listed with that. Raises FileChanged
    for an archive that is another by now."""
    status = _status(file.source, int(time.monotonic() / _STATUS_SECONDS))
    if not file.ctime_ns or archive_kind(file.source) == "zip":
        return status, None
    if file.ctime_ns >> _PLACE_BITS != _seal(status):
        status = files_of(file.source).status(file.source)
        if file.ctime_ns >> _PLACE_BITS != _seal(status):
            raise FileChanged("the archive is another than the one that was listed")
    return status, (file.ctime_ns & ((1 << _PLACE_BITS) - 1), file.size)


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
