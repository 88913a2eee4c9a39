"""Files under addresses that fsspec understands: s3://, gs://, and whatever else has a package."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from pixelmill.errors import SourceError
from pixelmill.sources.address import shown
from pixelmill.sources.files import Status, tag_of
from pixelmill.sources.pattern import fits
from pixelmill.sources.retry import retried

_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_TAGS: Final = ("ETag", "etag", "e_tag", "content_hash", "md5Hash", "generation", "ino")
_TIMES: Final = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_NO_LOGIN: Final = ("NoCredentialsError", "PartialCredentialsError")
"""What botocore raises where it finds nothing to log in with: asking again finds no more."""
_SLOWEST: Final = 100_000
"""Bytes a second at which something is written at least, where an answer is waited for in time."""
_S3: Final = {
    "config_kwargs": {
        "connect_timeout": 15, "read_timeout": 30, "max_pool_connections": 64,
        "retries": {"max_attempts": 4, "mode": "standard"},
    }
}  # fmt: skip

Listed = tuple[str, Status]
"""A path below the folder that was listed, and what is known of the file."""


@lru_cache(maxsize=16)
def _filesystem(protocol: str, options: tuple[tuple[str, Any], ...]) -> Any:
    import fsspec

    known = dict(options)
    if protocol in ("s3", "s3a") and "config_kwargs" not in fsspec.config.conf.get("s3", {}):
        known |= _S3
    return fsspec.filesystem(protocol, use_listings_cache=False, **known)


def filesystem_files(
    address: str, delays: Sequence[float] | None = None, seconds: float | None = None
) -> FilesystemFiles:
    """Where an address is looked at. `delays`: after which what may pass is asked again, unless after the usual ones
    (for `status` and `read` only after these: who reads pictures asks again by himself); `seconds`: how long an answer
    is waited for, if not by whoever asks (`watch`). Raises SourceError if its protocol is unknown, or needs a
    package."""
    import fsspec

    protocol = address.partition("://")[0].lower()
    try:
        kind = fsspec.get_filesystem_class(protocol)
        options = tuple(sorted(kind._get_kwargs_from_urls(address).items()))
        return FilesystemFiles(_filesystem(protocol, options), protocol, delays, seconds)
    except ImportError as error:
        raise SourceError(
            f"Expected what reads {protocol}:// addresses for {shown(address)}. {_missing(protocol)}"
        ) from error
    except OSError:
        raise
    except Exception as error:  # some want arguments that no address gives
        raise SourceError(
            f"Expected an address that starts with s3://, gs://, http(s):// or another that fsspec knows. "
            f"Got {shown(address)!r}: {error}."
        ) from error


def _missing(protocol: str) -> str:
    from fsspec.registry import known_implementations

    extra = _EXTRAS.get(protocol)
    if extra:
        return f"Install it: pip install 'pixelmill[{extra}]'"
    return str(known_implementations.get(protocol, {}).get("err", "Install the package of that protocol"))


class FilesystemFiles:
    """Files of one of fsspec's file systems; see `files.Files`. Folders can be listed as well."""

    def __init__(
        self, filesystem: Any, protocol: str, delays: Sequence[float] | None = None, seconds: float | None = None
    ) -> None:
        self._fs = filesystem
        self._protocol = protocol
        self._delays = delays
        self._seconds = seconds

    def status(self, address: str) -> Status:
        info = self._asked("info", self._path(address), delays=self._delays or ())
        if info.get("type") == "directory" or address.endswith("/"):
            raise IsADirectoryError(f"{shown(address)} is a folder")
        return _status(info)

    def read(self, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        end = start + most + 1 if stop is None else min(stop, start + most + 1)
        try:
            data: bytes = self._asked("cat_file", self._path(address), start=start, end=end, delays=self._delays or ())
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            if start or self.status(address).size:
                raise
            return b""  # a part of an empty object is none
        return data

    def whole(self, address: str) -> bytes:
        """All bytes of a file, however many."""
        return bytes(self._asked("cat_file", self._path(address)))

    def write(self, address: str, data: bytes) -> None:
        """Write a file at once, in place of what is there."""
        self._asked("pipe_file", self._path(address), data, slowest=len(data) / _SLOWEST)

    def remove(self, address: str) -> None:
        """Remove a file. That it is not there may be told by FileNotFoundError, or not at all."""
        self._asked("rm_file", self._path(address))

    def walk(self, folder: str) -> Iterator[Listed]:
        """The files below a folder, by path. In memory is one folder at a time, of S3 one answer of 1,000 objects."""
        yield from self._pages(folder) if self._protocol in ("s3", "s3a") else self._folders(folder)

    def glob(self, root: str, pattern: str) -> Iterator[Listed]:
        """The files below `root` whose addresses fit `pattern`, by name. Asked folder by folder, since fsspec's own
        `glob` takes a folder that cannot be listed for an empty one."""
        parts = pattern[len(root) + 1 :].split("/")
        if "**" in parts:
            fitting = fits(pattern)
            yield from (one for one in self.walk(root) if fitting(f"{root}/{one[0]}"))
            return
        top = self._path(root).rstrip("/")
        for info in self._fitting(top, parts):
            yield info["name"][len(top) :].lstrip("/"), _status(info)

    def _fitting(self, folder: str, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
        fitting = re.compile(translate(parts[0])).match
        for info in self._inside(folder):
            if fitting(info["name"].rstrip("/").rpartition("/")[2]):
                if len(parts) > 1 and info["type"] == "directory":
                    yield from self._fitting(info["name"].rstrip("/"), parts[1:])
                elif len(parts) == 1 and info["type"] != "directory":
                    yield info

    def _inside(self, folder: str) -> list[dict[str, Any]]:
        """What a folder holds, by name; a folder's name counts with a slash at its end."""
        listed = self._asked("ls", folder, detail=True)
        return sorted((one for one in listed if one["name"].rstrip("/") != folder.rstrip("/")), key=_place)

    def _pages(self, folder: str) -> Iterator[Listed]:
        bucket, _, prefix = self._path(folder).partition("/")
        prefix = prefix and prefix.rstrip("/") + "/"
        asked = {"Bucket": bucket, "Prefix": prefix, **self._fs.req_kw}
        while True:
            page = self._asked("call_s3", "list_objects_v2", **asked)
            for info in page.get("Contents", ()):
                if not info["Key"].endswith("/"):
                    yield info["Key"][len(prefix) :], _status({**info, "size": info["Size"]})
            if not page.get("NextContinuationToken"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _folders(self, folder: str) -> Iterator[Listed]:
        root = self._path(folder).rstrip("/")
        stack: list[dict[str, Any]] = [{"name": root, "type": "directory"}]
        while stack:
            info = stack.pop()
            name = info["name"]
            if info["type"] != "directory":
                yield name[len(root) :].lstrip("/"), _status(info)
                continue
            stack += reversed(self._inside(name))

    def _asked(
        self, what: str, *args: Any, slowest: float = 0.0, delays: Sequence[float] | None = None, **options: Any
    ) -> Any:
        """What a method of fsspec's answers, asked again after what may pass; in time, where that is limited."""
        began = time.monotonic()
        end = math.inf if self._seconds is None else began + self._seconds + slowest

        def once() -> Any:
            with _as_oserror():
                if end == math.inf or not self._fs.async_impl:
                    return getattr(self._fs, what)(*args, **options)
                from fsspec.asyn import sync

                left = max(end - time.monotonic(), 1.0)
                return sync(self._fs.loop, getattr(self._fs, f"_{what}"), *args, timeout=left, **options)

        try:
            return retried(once, lambda: time.monotonic() < end, delays=self._delays if delays is None else delays)
        except TimeoutError as error:
            if end == math.inf:
                raise
            raise TimeoutError(str(error) or f"There was no answer within {end - began:.0f} s") from error

    def _path(self, address: str) -> str:
        return str(self._fs._strip_protocol(address))


def _place(info: Mapping[str, Any]) -> str:
    name: str = info["name"].rstrip("/")
    return name + "/" if info["type"] == "directory" else name


def _status(info: Mapping[str, Any]) -> Status:
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
    time = next((info[key] for key in _TIMES if info.get(key)), None)
    return Status(min(max(int(info.get("size") or 0), 0), 2**63 - 1), _nanoseconds(time), tag_of(tag))


def _nanoseconds(time: object) -> int:
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return 0
    if isinstance(time, datetime):
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return int(time * 1000) * 10**6 if isinstance(time, (int, float)) and 0 <= time < 2**33 else 0


@contextmanager
def _as_oserror() -> Iterator[None]:
    """What the packages raise as OSError: they have errors of their own, which may pass as well."""
    try:
        yield
    except FileNotFoundError as error:  # which often says no more than the name
        raise FileNotFoundError(str(error) if " " in str(error) else "it is not there") from error
    except (OSError, MemoryError, SourceError):
        raise
    except Exception as error:
        kind = PermissionError if type(error).__name__ in _NO_LOGIN else OSError
        raise kind(f"{type(error).__name__}: {error}") from error
