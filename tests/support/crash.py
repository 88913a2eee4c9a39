"""A process that dies at a chosen step: before or after any durable write, before or inside any ledger transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from pixelmill.store import durable, master, parts, revisions
from pixelmill.store.database import Database


class Crash(BaseException):
    """Not an Exception, so that no handler tidies up after it, as none would after a kill."""


class Steps:
    """Counts the steps, and dies at number `fatal`. `died` says where."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal = fatal
        self.count = 0
        self.died = ""

    def step(self, name: str) -> None:
        number, self.count = self.count, self.count + 1
        if number == self.fatal:
            self.died = name
            raise Crash(name)


@contextmanager
def crashing(fatal: int | None) -> Iterator[Steps]:
    """Die at step number `fatal` of what happens in the block (None: only count); gives the steps."""
    steps, write, transaction = Steps(fatal), durable.write_durably, Database.transaction
    aside, put, named = durable.written_aside, durable.put_in_place, revisions.claim

    def write_durably(path: Path, content: bytes | memoryview) -> str:
        kind = "part" if path.parent.name == "parts" else path.name
        steps.step(f"before {kind}")
        digest = write(path, content)
        steps.step(f"after {kind}")
        return digest

    @contextmanager
    def written_aside(path: Path, content: bytes | memoryview) -> Iterator[Path]:
        with aside(path, content) as temporary:
            steps.step(f"{path.name} aside")
            yield temporary

    def claim(store: Path, *arguments: Any) -> None:
        steps.step("before revision")
        named(store, *arguments)
        steps.step("after revision")

    def put_in_place(temporary: Path, path: Path) -> None:
        steps.step(f"before {path.name}")
        put(temporary, path)
        steps.step(f"after {path.name}")

    @contextmanager
    def in_transaction(self: Database) -> Iterator[None]:
        steps.step("before ledger")
        with transaction(self):
            yield
            steps.step("inside ledger")

    with (
        mock.patch.object(parts, "write_durably", write_durably),
        mock.patch.object(master, "write_durably", write_durably),
        mock.patch.object(master, "written_aside", written_aside),
        mock.patch.object(master, "put_in_place", put_in_place),
        mock.patch.object(revisions, "claim", claim),
        mock.patch.object(Database, "transaction", in_transaction),
        suppress(Crash),
    ):
        yield steps
