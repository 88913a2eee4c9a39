"""A database of LanceDB in a folder or in an object store: reached, waited for, its errors in words."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import lancedb
from lancedb.background_loop import LOOP

from pixelmill.deliver import base
from pixelmill.deliver.address import shown_target
from pixelmill.errors import DeliveryError, DeliveryRefused, TargetUnavailable
from pixelmill.paths import at_home
from pixelmill.sources.address import is_address
from pixelmill.watch.calls import go_on
from pixelmill.watch.threads import wait_for

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import AsyncConnection
    from lancedb.table import AsyncTable

T = TypeVar("T")
DISTURBED: Final = "Something else writes to the table meanwhile, maybe a delivery from a copy of this store"
_CLOUD: Final = "db://"
_SCHEMES: Final = {"s3a": "s3", "gcs": "gs"}
"""Names that fsspec knows, and LanceDB calls otherwise."""
_SLOWEST: Final = 100_000
"""Bytes a second at which something is written at least."""
_AGAIN: Final = 5.0
"""Seconds for which LanceDB asks again, whatever the answer was."""
_CONNECT_SECONDS: Final = 15.0
_CODE: Final = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>")
_WHERE: Final = re.compile(r",? (/\S*\.rs:\d+|location: Location \{).*", re.DOTALL)
_INNERMOST: Final = re.compile(r'message: "([^"]+)"|\bkind: (Timeout)')
_OUTERMOST: Final = re.compile(r"^(lance error: )?(LanceError\(IO\): )?")
_MOST: Final = 400
_REFUSED: Final = re.compile(
    r"status: 40[13]|40[13] (Forbidden|Unauthorized)|NoSuchBucket|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|ExpiredToken|InvalidToken|AuthorizationHeader|necessary privileges|credential|PermissionDenied|Unauthenticated"
)
_CHANGED: Final = re.compile(
    r"[Ii]ncompatible transaction|[Cc]ommit conflict|[Cc]oncurrent|already exists|not empty|Too much write contention"
)
_MISSING: Final = re.compile(
    r"Not found: .*?([a-z0-9_]+)\.lance/|Object at location .*?([a-z0-9_]+)\.lance/\S* not found"
)
_DAMAGED: Final = re.compile(
    r"file size is too small|Invalid range|failed to decode|failed to fill whole buffer|to be a Lance file|outside file"
)
_BEGUN: Final = re.compile(r"__[0-9a-f]{8}$")
_PASSES: Final = re.compile(
    r"os error|Generic \w+ error|ListRequest|RetryError|HttpError|error sending request|timed? ?out|No space left"
    r"|Read-only|Permission denied|quota|File too large|LanceError\(IO\)"
)


class LanceDatabase:
    """The tables at a place. Whatever goes wrong within `in_words` is told as targets have to tell it."""

    def __init__(self, to: str) -> None:
        place = to.partition(":")[2]
        self.shown = shown_target(to)
        if place.startswith(_CLOUD):
            raise DeliveryRefused(
                f"Expected a folder or an address such as s3://bucket/lance. Got {self.shown}: tables of LanceDB Cloud "
                "are not delivered to."
            )
        self.is_local = not is_address(place)
        if self.is_local:
            self.root = str(Path(at_home(place)).absolute())
        else:
            scheme, _, rest = place.partition("://")
            self.root = f"{_SCHEMES.get(scheme, scheme)}://{rest.rstrip('/')}"

    @property
    def is_there(self) -> bool:
        """False if there is no such folder yet: connecting to it makes it."""
        return not self.is_local or Path(self.root).exists()

    def run(self, work: Coroutine[Any, Any, T], *, size: int | None = 0) -> T:
        """What `work` gives, waited for as long as an answer may take and `size` bytes on a slow line; with None, for
        ever: the storage itself gives up what does not answer."""
        seconds = None if size is None else base.SECONDS + _AGAIN + size / _SLOWEST
        future = asyncio.run_coroutine_threadsafe(_within(work, seconds), LOOP.loop)
        try:
            while not wait_for(future, base.SECONDS):
                go_on()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @cached_property
    def connection(self) -> AsyncConnection:
        options = {} if self.is_local else storage_options(self.root)
        return self.run(lancedb.connect_async(self.root, storage_options=options))

    def names(self, start: str) -> list[str]:
        """The tables whose names begin with `start`, also those of which only a part is there."""
        found, token = list[str](), None
        while True:
            page = self.run(self.connection.list_tables(page_token=token))
            found += [name for name in page.tables if name.startswith(start)]
            token = page.page_token
            if not token:
                return found

    def table(self, name: str) -> AsyncTable | None:
        """A table, open at its last version; None if there is none, or not all of one."""
        try:
            return self.run(self.connection.open_table(name))
        except ValueError as error:
            if f"Table '{name}' was not found" in str(error):
                return None
            raise

    def create(self, name: str, schema: pa.Schema, rows: Iterable[pa.RecordBatch] = (), *, is_new: bool = True) -> None:
        """Make a table, at once; if not a new one, as one more version of the one that is there."""
        import pyarrow as pa

        mode: Literal["create", "overwrite"] = "create" if is_new else "overwrite"
        failed = list[BaseException]()
        reader = pa.RecordBatchReader.from_batches(schema, _told(rows, failed))
        try:
            self.run(self.connection.create_table(name, data=reader, mode=mode), size=None)
        except Exception as error:
            raise (failed or [error])[0] from None

    def drop(self, name: str) -> None:
        """Remove a table, or what is there of one."""
        self.run(self.connection.drop_table(name, ignore_missing=True), size=None)

    def can_rename(self, new: str) -> bool:
        """Whether a table can get this name at once: in a folder, where nothing has it."""
        return self.is_local and not self._folder(new).exists()

    def rename(self, old: str, new: str) -> None:
        """Give a table of a folder another name."""
        self._folder(old).rename(self._folder(new))

    def _folder(self, name: str) -> Path:
        return Path(self.root) / f"{name}.lance"

    def close(self) -> None:
        if "connection" in self.__dict__:
            self.connection.close()  # type: ignore[no-untyped-call]

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Raises TargetUnavailable or DeliveryRefused for what LanceDB raises."""
        try:
            yield
        except DeliveryError:
            raise
        except (RuntimeError, ValueError, OSError, NotImplementedError) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> DeliveryError:
        """An error of LanceDB's as one of deliveries."""
        if isinstance(error, TimeoutError):
            return TargetUnavailable(f"Expected an answer of {self.shown} within {base.SECONDS:.0f} s. There was none.")
        text, reason = str(error), _reason(error)
        if _CHANGED.search(text):
            return TargetUnavailable(f"Expected to be alone with the table in {self.shown}. {DISTURBED}.")
        if missing := _MISSING.search(text):
            return self._of_a_part(missing[1] or missing[2])
        if _DAMAGED.search(text):
            return DeliveryRefused(
                f"Expected the tables of this delivery in {self.shown} to be whole. One is damaged: {reason}. Remove "
                "it, and the next delivery makes it anew."
            )
        if _REFUSED.search(text) and not self.is_local:
            return DeliveryRefused(
                f"Expected {self.shown} to let this process in. It says: {reason}. Set AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, or what its kind of storage asks for; the bucket must be "
                "there."
            )
        if _PASSES.search(text) or isinstance(error, OSError):
            return TargetUnavailable(f"Expected to deliver to {self.shown}. It cannot be read or written: {reason}.")
        return DeliveryRefused(f"Expected {self.shown} to take the delivery. LanceDB says: {reason}.")

    def _of_a_part(self, table: str) -> DeliveryError:
        """For a table of which files are not there: one that was just dropped, or that is damaged."""
        if _BEGUN.search(table):
            return TargetUnavailable(f"Expected the table {table!r} in {self.shown}. It is gone. {DISTURBED}.")
        return DeliveryRefused(
            f"Expected the table {table!r} in {self.shown} to be whole. Some of its files are not there: remove it, "
            "and the next delivery makes it anew."
        )


async def _within(work: Coroutine[Any, Any, T], seconds: float | None) -> T:
    return await asyncio.wait_for(work, seconds)


def _told(rows: Iterable[pa.RecordBatch], failed: list[BaseException]) -> Iterator[pa.RecordBatch]:
    """The same, and in `failed` what they raise, of which there would be no more than a text behind Arrow."""
    try:
        yield from rows
    except BaseException as error:
        failed.append(error)
        raise


def storage_options(root: str) -> dict[str, str]:
    """What LanceDB has to be told of an object store, beside what it finds in the environment by itself: how long an
    answer is waited for, and what botocore knows of S3 and it does not."""
    seconds = base.SECONDS
    options = {
        "timeout": f"{seconds:.0f}s", "connect_timeout": f"{min(seconds, _CONNECT_SECONDS):.0f}s",
        "client_max_retries": "3", "client_retry_timeout": f"{seconds:.0f}",
    }  # fmt: skip
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if root.startswith("s3") and endpoint:
        options["aws_endpoint"] = endpoint
        options["allow_http"] = str(endpoint.startswith("http://")).lower()
        if not any(os.environ.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")):
            options["aws_region"] = "us-east-1"
    return options


def _reason(error: Exception) -> str:
    """What an error says, without the places in LanceDB's source, and of S3's answer no more than what is wrong: all
    of it may have a key in it."""
    text = str(error)
    if told := _CODE.search(text):
        return f"{told[1]}: {told[2]}".rstrip(".")
    if told := _INNERMOST.search(text):
        return told[1] or "there was no answer in time"
    return _OUTERMOST.sub("", _WHERE.sub("", text).strip())[:_MOST].rstrip(".")
