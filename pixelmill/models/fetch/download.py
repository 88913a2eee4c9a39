"""One transfer of one file: streamed, resumed where it was cut off, hashed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pixelmill.errors import WeightsError, WeightsUnavailable
from pixelmill.models.fetch.mirrors import Place
from pixelmill.models.fetch.records import BLOCK
from pixelmill.progress import DownloadProgress
from pixelmill.proxies import check_proxies
from pixelmill.sources.http import netrc_login

if TYPE_CHECKING:
    import httpx

RETRYABLE = frozenset({408, 425, 429})


class NoSuchFileError(WeightsError):
    """The server answered that it has no such file (404 or 410)."""


class NotAllowedError(WeightsError):
    """The server wants a login (401 or 403); some storages answer so for what is not there."""


class NotInFolderError(WeightsUnavailable):
    """A mirror folder does not have the file; it may be mounted later, or filled."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A finished transfer: the file's sha256, the one that the server announced, and whether it was put together."""

    sha256: str
    announced: str | None
    resumed: bool


def download(place: Place, partial: Path, *, progress: DownloadProgress, timeout: float, resumable: bool) -> Transfer:
    """Bring `place` into `partial`; bytes that are there already are kept if the server still has the same file.

    `resumable` says whether a digest known beforehand will catch a file put together from two versions, so that
    resuming is safe even where the server gives no validator. A cut-off is resumed at once as long as bytes come in.
    Raises WeightsUnavailable (worth a retry), NoSuchFileError, or WeightsError.
    """
    before = _size(partial)
    while True:
        try:
            return _attempt(place, partial, progress=progress, timeout=timeout, resumable=resumable)
        except WeightsUnavailable:
            if _size(partial) <= before:
                raise
            before = _size(partial)


def copy(path: Path, partial: Path, *, progress: DownloadProgress, promised: str | None = None) -> Transfer:
    """Copy a mirror folder's file into `partial`; `promised` is the sha256 that the folder's manifest gives, if it has
    one. Raises NotInFolderError when it is not there."""
    if path.exists() and not path.is_file():  # a FIFO would never end
        raise WeightsError(f"Expected {path} in the mirror folder. It is a folder or no regular file.")
    digest, done = hashlib.sha256(), 0
    try:
        total = path.stat().st_size
        with path.open("rb") as source, partial.open("wb") as target:
            while block := source.read(BLOCK):
                done += _take(block, target, digest)
                progress(done, total)
            _sync(target)
    except FileNotFoundError as error:
        raise NotInFolderError(f"Expected {path} in the mirror folder. It is not there.") from error
    return Transfer(digest.hexdigest(), promised, resumed=False)


def _attempt(place: Place, partial: Path, *, progress: DownloadProgress, timeout: float, resumable: bool) -> Transfer:
    import httpx

    check_proxies(os.environ)
    validator = _validator_of(partial)
    start = _size(partial) if validator or resumable else 0
    headers = _headers(place, start, validator)
    try:
        with (
            httpx.Client(
                follow_redirects=True,
                timeout=httpx.Timeout(timeout, connect=min(timeout, 15.0)),
                auth=None if place.trusted else netrc_login(),
            ) as client,
            client.stream("GET", place.address, headers=headers) as response,
        ):
            if response.status_code == 416:  # our piece does not fit the server's file: begin again
                discard(partial)
                return _attempt(place, partial, progress=progress, timeout=timeout, resumable=resumable)
            _check(response, place)
            start = _continues(response, start)
            if not start:  # before the validator is noted: it must never stand beside an older file's bytes
                partial.write_bytes(b"")
            _keep_validator(partial, response)
            return _receive(response, partial, start=start, progress=progress)
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise WeightsUnavailable(f"Transfer of {place.shown} broke off: {error or type(error).__name__}") from error
    except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
        raise WeightsError(f"Could not ask for {place.shown}: {type(error).__name__}") from error


def _headers(place: Place, start: int, validator: str | None) -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "") if place.trusted else ""
    # identity: a compressed transfer has neither the length nor the byte positions of the file
    headers = {"User-Agent": "pixelmill", "Accept-Encoding": "identity"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    return headers | ({"If-Range": validator} if start and validator else {})


def _check(response: httpx.Response, place: Place) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in RETRYABLE or status >= 500:
        raise WeightsUnavailable(f"Expected {place.shown}. The server answered {status}, try again later.")
    if status in (401, 403):
        raise NotAllowedError(
            f"Expected {place.shown}. The server answered {status}: it wants a login. For a gated model, accept its"
            f" terms on its page and set HF_TOKEN; or set a mirror."
        )
    if status in (404, 410):
        raise NoSuchFileError(f"Expected {place.shown}. The server answered {status}: no such file.")
    raise WeightsError(f"Expected {place.shown}. The server answered {status}.")


def _continues(response: httpx.Response, start: int) -> int:
    """The offset at which the response's bytes belong: 0 when the server sends the whole file after all."""
    if response.status_code == 200:
        return 0
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != start:
        raise WeightsError(
            f"Expected bytes from {start} of {response.url.copy_with(query=None)}."
            f" Got Content-Range {response.headers.get('Content-Range')!r}."
        )
    return start


def _receive(response: httpx.Response, partial: Path, *, start: int, progress: DownloadProgress) -> Transfer:
    digest, done = hashlib.sha256(), start
    total = start + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
    with partial.open("r+b" if start else "wb") as target:
        _rehash(target, start, digest)
        for block in response.iter_raw():  # no block size: httpx would drop what it gathers when the line breaks
            done += _take(block, target, digest)
            progress(done, total)
        _sync(target)
    if total is not None and done != total:
        raise WeightsUnavailable(f"Expected {total} bytes. The transfer was cut off at {done}.")
    return Transfer(digest.hexdigest(), _announced(response), resumed=start > 0)


def _rehash(target: BinaryIO, start: int, digest: Any) -> None:
    left = start
    while left and (block := target.read(min(BLOCK, left))):
        digest.update(block)
        left -= len(block)


def _take(block: bytes, target: BinaryIO, digest: Any) -> int:
    target.write(block)
    digest.update(block)
    return len(block)


def _sync(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())


def _announced(response: httpx.Response) -> str | None:
    """The sha256 that Hugging Face gives for a large file, in the answer that redirects to its storage."""
    for answer in (*response.history, response):
        etag = str(answer.headers.get("X-Linked-Etag", "")).removeprefix("W/").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", etag):  # small files carry a git sha1 there: no digest of the content
            return etag
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _validator_of(partial: Path) -> str | None:
    try:
        return str(json.loads(_note(partial).read_text("utf-8"))["validator"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep_validator(partial: Path, response: httpx.Response) -> None:
    etag = response.headers.get("ETag", "")
    # A weak ETag must not be used with If-Range (RFC 9110, 13.1.5).
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    if validator:
        _note(partial).write_text(json.dumps({"validator": validator}), "utf-8")
    else:
        _note(partial).unlink(missing_ok=True)


def discard(partial: Path) -> None:
    """Forget a partial file and what was noted about it."""
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)
