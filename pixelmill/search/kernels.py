"""Dot products of stored rows with queries, as fast as the memory gives them: one concept, two ways.

A few queries go through SimSIMD, which multiplies float16 as it lies in the file and sums in float32. Many go through
PyTorch, which turns a block to float32 once for all of them.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

FEW: Final = 3
"""Up to so many queries, the first way is the faster one (benchmarks/search.py)."""

_IN_CACHE: Final = 2048
"""Rows that are turned to float32 at a time: 4 MB of 512 dims."""

SUMMING: Final = 2e-5
"""More than what summing 4096 products in float32, in lanes of eight, can be off by: 512 roundings of 2**-25 each."""


_telling = threading.Lock()


class Kernel(ABC):
    """Queries, ready to be multiplied. `error`: how far a cosine of unit vectors can be off."""

    error: float

    @abstractmethod
    def dots(self, vectors: np.ndarray) -> Float32:
        """(rows, Q), of rows (rows, dim) as they are stored."""


@cache
def _simsimd() -> Any:
    """SimSIMD without those of its kernels that sum float16 in float16, as on Xeons since 2023: their squared lengths
    are off by 0.1%, and infinite from 65504."""
    import simsimd

    for capability in ("sapphire", "sve_f16"):
        simsimd.disable_capability(capability)
    return simsimd


class _InPlace(Kernel):
    def __init__(self, queries: Float32, dtype: np.dtype[Any]) -> None:
        self._cdist = _simsimd().cdist
        self._queries = queries.astype(dtype)
        self._dtype = dtype
        lost = np.linalg.norm(queries - self._queries.astype(np.float32), axis=1)
        self.error = float(lost.max(initial=0)) + SUMMING

    def dots(self, vectors: np.ndarray) -> Float32:
        made = self._cdist(self._queries, _native(vectors), metric="dot", out_dtype="f32")
        return np.asarray(made, np.float32).reshape(len(self._queries), len(vectors)).T


class _Together(Kernel):
    def __init__(self, queries: Float32) -> None:
        self._torch = _quiet_torch()
        self._queries = self._torch.from_numpy(np.ascontiguousarray(queries.T))
        self.error = SUMMING
        self._room = threading.local()

    def dots(self, vectors: np.ndarray) -> Float32:
        result = np.empty((len(vectors), self._queries.shape[1]), np.float32)
        room = self._buffer(vectors.shape[1])
        for start in range(0, len(vectors), _IN_CACHE):
            some = self._torch.from_numpy(_native(vectors[start : start + _IN_CACHE]))
            rows = room[: len(some)].copy_(some)
            self._torch.mm(rows, self._queries, out=self._torch.from_numpy(result[start : start + _IN_CACHE]))
        return result

    def _buffer(self, dim: int) -> Any:
        """Room for rows in float32, the same for all of a thread: new memory would cost as much again."""
        if not hasattr(self._room, "buffer"):
            self._room.buffer = self._torch.empty(_IN_CACHE, dim)
        return self._room.buffer


def kernel_for(queries: Float32, dtype: np.dtype[Any]) -> Kernel:
    """The faster way for unit `queries` (Q, dim) over rows of `dtype`."""
    return _InPlace(queries, dtype.newbyteorder("=")) if len(queries) <= FEW else _Together(queries)


def squares(vectors: np.ndarray) -> Float32:
    """The squared length of each row, float32 (rows,)."""
    rows = _native(vectors)
    return np.asarray(_simsimd().dot(rows, rows), np.float32).reshape(len(rows))


def in_parallel(work: Callable[[int], None], items: Iterable[int]) -> None:
    """Do `work` for all items, by as many threads as there are cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="search") as pool:
        for _ in pool.map(work, items):
            pass


def compute_alone() -> None:
    """Have PyTorch compute in this thread alone: there is one for each core already.

    What a thread tells it holds for those that begin later, too, models among them: another one takes that back.
    """
    if torch := sys.modules.get("torch"):
        with _telling:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            back = threading.Thread(target=torch.set_num_threads, args=(threads,))
            back.start()
            back.join()


def _native(vectors: np.ndarray) -> np.ndarray:
    """As it lies in the file, unless that is an odd place (small parts) or of a machine of the other byte order."""
    if vectors.flags.aligned and vectors.dtype.isnative:
        return vectors
    return vectors.astype(vectors.dtype.newbyteorder("="))


def _quiet_torch() -> Any:
    import torch

    # The maps are read-only, as they should be; nothing here writes into them.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    return torch
