"""What people see of a run in the Prefect UI is nothing that the run depends on."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from prefect.artifacts import create_markdown_artifact
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pixelmill.formatting import printable
from pixelmill.report.markdown import code, plain

log = logging.getLogger("pixelmill.tasks")
_LONGEST = 40
_AGAIN = 300.0
"""Seconds in which the same is told once: progress is shown every few seconds, and a server may be away for long."""
_told: dict[str, float] = {}


def key_of(kind: str, store: str | os.PathLike[str]) -> str:
    """The key of a store's artifacts of one kind, as `report-photos-5f3a`: Prefect takes lowercase letters, digits and
    dashes. The folder's name is for people; the rest, made from its whole path, keeps stores of one name apart."""
    path = os.path.abspath(store)  # noqa: PTH100 - may hold surrogates
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(path).lower())[:_LONGEST].strip("-")  # noqa: PTH119
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:4]
    return "-".join(filter(None, (kind, name, mark)))


@contextmanager
def not_needed(what: str, *, at_once: bool = False) -> Iterator[None]:
    """Whatever goes wrong in the block costs nothing but `what`: a server that is too busy, somebody who deleted it.
    `at_once`: a server that does not answer is not asked again, so that the work goes on."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}) if at_once else nullcontext():
            yield
    except Exception as error:
        if time.monotonic() - _told.get(what, -_AGAIN) >= _AGAIN:
            _told[what] = time.monotonic()
            log.warning("%s could not be shown in the Prefect UI: %s: %s", what, type(error).__name__, error)


def show_words(kind: str, store: Path, words: str) -> None:
    """Make an artifact of what was done for a store, in words."""
    show_text(kind, store, f"{plain(words)}\n\nStore: {code(str(store))}\n")


def show_text(kind: str, store: Path, text: str) -> None:
    """Make an artifact of Markdown about a store."""
    with not_needed(kind):
        create_markdown_artifact(text, key=key_of(kind, store), description=f"Store {printable(str(store))}")
