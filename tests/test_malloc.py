"""Memory that was freed is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys, threading
from pixelmill.malloc import keep_freed

def work():
    for _ in range(10):
        arrays = [b"x" * (size << 20) for size in (5, 48, 90)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    one = threading.Thread(target=work)
    one.start()
    one.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: every page counts
if sys.argv[1] == "keep":
    keep_freed()
faults()
print(faults())
"""


def faults(how: str) -> int:
    """Pages that the kernel gave to a process for work that it had done before, in a thread."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    """Arrays of any size take no new pages from the kernel once such arrays were freed; without `keep_freed` they do."""
    assert faults("keep") < 1000
    assert faults("leave") > 100_000
