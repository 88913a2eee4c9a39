"""What people see of a run in the Prefect UI is nothing that the run depends on."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from pixelmill.formatting import printable
from pixelmill.report.markdown import code, plain

log = logging.getLogger("pixelmill.tasks")
_LONGEST = 40


def key_of(kind: str, store: str | os.PathLike[str]) -> str:
    """The key of a store's artifacts of one kind, as `report-photos-5f3a`: Prefect takes lowercase letters, digits and
    dashes. The folder's name is for people; the rest, made from its whole path, keeps stores of one name apart."""
    path = os.path.abspath(store)  # noqa: PTH100 - may hold surrogates
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(path).lower())[:_LONGEST].strip("-")  # noqa: PTH119
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:4]
    return "-".join(filter(None, (kind, name, mark)))


@contextmanager
def not_needed(what: str) -> Iterator[None]:
    """Whatever goes wrong in the block costs nothing but `what`: a server that is too busy, somebody who deleted it."""
    try:
        yield
    except Exception as error:
        log.warning("%s could not be shown in the Prefect UI: %s: %s", what, type(error).__name__, error)


def show_words(kind: str, store: Path, words: str) -> None:
    """Make an artifact of what was done for a store, in words."""
    with not_needed(kind):
        text = f"{plain(words)}\n\nStore: {code(str(store))}\n"
        create_markdown_artifact(text, key=key_of(kind, store), description=f"Store {printable(str(store))}")
