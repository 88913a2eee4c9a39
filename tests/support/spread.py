"""One loop over many cases, shared by a few processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


def spread(function: Callable[[int, int], list[_Result]]) -> list[_Result]:
    """Call `function(share, shares)` for each share, each in a process of its own; all that they return, joined."""
    shares = min(os.cpu_count() or 1, 4)
    with ProcessPoolExecutor(shares, mp_context=multiprocessing.get_context("fork")) as pool:
        futures = [pool.submit(function, share, shares) for share in range(shares)]
        return [result for future in futures for result in future.result()]
