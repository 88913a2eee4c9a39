"""Questions that are asked again after what may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
DELAYS = (1.0, 4.0)
"""Seconds to wait before a question that failed is asked again."""


def retried(ask: Callable[[], _T], worthwhile: Callable[[], bool] = lambda: True) -> _T:
    """What `ask` gives, asked again after what may pass, if that is `worthwhile`."""
    for delay in DELAYS:
        try:
            return ask()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:
            if not worthwhile():
                raise
            time.sleep(delay)
    return ask()
