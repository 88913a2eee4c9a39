"""What people see of a run in the Prefect UI is nothing that the run depends on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("pixelmill.tasks")


@contextmanager
def not_needed(what: str) -> Iterator[None]:
    """Whatever goes wrong in the block costs nothing but `what`: a server that is too busy, somebody who deleted it."""
    try:
        yield
    except Exception as error:
        log.warning("%s could not be shown in the Prefect UI: %s: %s", what, type(error).__name__, error)
