"""Where a worker sees what the run calls by another path or address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import quote, unquote

from pydantic import AfterValidator

from pixelmill.errors import SourceError
from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.sources.address import archive_kind, checked_address, is_address
from pixelmill.sources.found import FoundFile

_EXAMPLE: Final = '{"/photos" = "/mnt/nas/photos"}'


def seen_here(file: FoundFile, paths: Mapping[str, str]) -> FoundFile:
    """The file as this worker reads it, if `paths` say that it sees what the run calls KEY as VALUE; the longest key
    that leads to the file counts. For reading alone: what is told of the file goes by the name that the run gave it.

    A member of an archive is looked for by its name there, since what the listing noted of the archive (its times) is
    another of a copy, or through another file system.
    """
    found = _fitting(file.absolute, paths)
    if found is None:
        return file
    (key, value), root = found, file.source.rstrip("/")
    if len(key) <= len(root):
        source, path = value + root[len(key) :], file.path
    else:  # what is seen elsewhere lies below the source, or is a file that was named alone
        path = file.absolute[len(key) + 1 :]
        source, path = (value, path) if path else os.path.split(value)
    return file._replace(source=source or "/", path=path, ctime_ns=0 if archive_kind(source) else file.ctime_ns)


def seen_here_path(path: str, paths: Mapping[str, str]) -> str:
    """The path or address as this worker sees it."""
    found = _fitting(path, paths)
    return path if found is None else found[1] + path[len(found[0]) :] or "/"


def weights_seen_here(spec: ModelSpec, paths: Mapping[str, str]) -> ModelSpec:
    """A model with its local weights files where this worker sees them."""

    def moved(source: WeightsSource) -> WeightsSource:
        scheme, _, rest = source.url.partition(":")
        if scheme != "file":
            return source
        path = seen_here_path(unquote(rest.removeprefix("//"), errors="surrogateescape"), paths)
        return replace(source, url=f"file:{quote(path, errors='surrogateescape')}")

    return replace(spec, weights=moved(spec.weights), others=tuple(map(moved, spec.others)))


def _fitting(path: str, paths: Mapping[str, str]) -> tuple[str, str] | None:
    """The longest key that leads to a path, by whole names, and what is seen for it; without slashes at the end."""
    keys = [key for key in paths if f"{path}/".startswith(f"{key.rstrip('/')}/")]
    key = max(keys, key=len, default=None)
    return None if key is None else (key.rstrip("/"), paths[key].rstrip("/"))


def checked_paths(given: Mapping[str, str]) -> dict[str, str]:
    """`paths` as they are kept, without slashes at the end. Raises ValueError, in words."""
    paths = {_checked(key): _checked(value) for key, value in given.items()}
    if len(paths) < len(given):
        raise ValueError(f"Expected each path once. Got {', '.join(given)}")
    return paths


def _checked(place: str) -> str:
    if is_address(place):
        try:
            return checked_address(f"{place}/x").removesuffix("/x").rstrip("/")  # HTTP has no folders, only files
        except SourceError as error:
            raise ValueError(str(error).rstrip(".")) from error
    if not place.startswith("/") or any(part in (".", "..") for part in place.split("/")):
        raise ValueError(
            f"Expected absolute paths, as {_EXAMPLE}: the run's, and where the worker sees it. Got {place!r}"
        )
    return "/" + "/".join(part for part in place.split("/") if part)


SeenPaths = Annotated[dict[str, str], AfterValidator(checked_paths)]
"""`paths` of a worker, checked."""
