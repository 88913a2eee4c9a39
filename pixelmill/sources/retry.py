"""Questions that are asked again after what may pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
DELAYS = (1.0, 4.0)
"""Seconds to wait before a question that failed is asked again."""


def retried(
    ask: Callable[[], _T], worthwhile: Callable[[], bool] = lambda: True, *, delays: Iterable[float] | None = None
) -> _T:
    """What `ask` gives, asked again after what may pass, if that is `worthwhile`; after `DELAYS`, or others."""
    for delay in DELAYS if delays is None else delays:
        try:
            return ask()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:
            if not worthwhile():
                raise
            time.sleep(delay)
    return ask()
