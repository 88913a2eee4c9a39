"""Memory that was freed is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from concurrent.futures import ThreadPoolExecutor
from pixelmill.malloc import keep_freed, one_arena

def work():
    for _ in range(10):
        arrays = [b"x" * (size << 20) for size in (5, 48, 90)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    crew.submit(work).result()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: every page counts
if "shared" in sys.argv:
    one_arena()
crew = ThreadPoolExecutor(1)
if "early" in sys.argv:
    crew.submit(bytearray, 1000).result()
if "keep" in sys.argv:
    keep_freed()
faults()
print(faults())
"""


def faults(*how: str) -> int:
    """Pages that the kernel gave to a process for work that it had done before, in a thread."""
    done = subprocess.run([sys.executable, "-c", FAULTS, *how], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    """Arrays of any size take no new pages from the kernel once such arrays were freed; without `keep_freed` they do."""
    assert faults("keep") < 1000
    assert faults("leave") > 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_so_it_is_in_threads_that_were_there_before() -> None:
    """As those in which models are called, which begin before a model is loaded: with `one_arena`, and not without."""
    assert faults("shared", "early", "keep") < 1000
    assert faults("early", "keep") > 100_000
