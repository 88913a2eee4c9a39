"""Whatever bytes a store, a ledger or the settings are made of, only errors in words come out, and no vector made up."""

from __future__ import annotations

import math
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fuzz

SECONDS = {"store": 30, "ledger": 30, "settings": 10}
MOST = 60
"""Trials in which a mechanism that is taken out must be missed; it takes a few, whatever the seed."""


def fuzzed(
    kind: str, folder: Path, seed: int, seconds: float, *, most: float = math.inf, without: str = ""
) -> subprocess.CompletedProcess[str]:
    """Trials in a process of their own, so that a crash is seen; `without` is Python that takes something out first."""
    script = f"import sys; from pathlib import Path; from tests.support import fuzz; {without or 'pass'}\n"
    script += f"sys.exit(fuzz.main({kind!r}, Path({str(folder)!r}), {seed}, {seconds}, float({str(most)!r})))"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=seconds + 120,
        cwd=Path(fuzz.__file__).parents[2],
    )  # fmt: skip


def told(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_only_errors_in_words_come_out(kind: str, tmp_path: Path) -> None:
    """For a while, from a new seed each time (FUZZ_SEED repeats one): damaged and forged stores, broken ledgers, mad
    settings. The process never dies, nothing but PixelmillError is raised, no wrong vector is read or written."""
    seed = int(os.environ.get("FUZZ_SEED") or secrets.randbits(32))
    print(f"FUZZ_SEED={seed}")
    done = fuzzed(kind, tmp_path / "fuzz", seed, SECONDS[kind])
    assert done.returncode == 0, told(done)


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_a_few_trials(kind: str, tmp_path: Path) -> None:
    """The same, for a second and from a known seed, in the fast suite."""
    done = fuzzed(kind, tmp_path / "fuzz", 0, 1.0)
    assert done.returncode == 0, told(done)
    assert "trials=" in done.stdout


CONTROLS = {
    "what a manifest claims is not checked": (
        "store:forge", "master.check_manifest", "lambda manifest: manifest", "Error: ",
    ),
    "parts are not hashed": (
        "store:flip", "verify.file_sha256", "lambda path: next("
        "part.sha256 for part in read_manifest(path.parent.parent).parts.values() if part.file == path.name)", "Wrong: ",
    ),
    "compaction trusts what it merges": ("store:flip", "compact._damaged", "lambda store, names: set()", "Wrong: "),
    "the identity of rows is not checked": ("ledger:rows", "additions._check_identity", "lambda *_: None", "Wrong: "),
    "what SQLite says is passed on": (
        "ledger:values", "database.Database._told", "lambda self, error: error", "sqlite3.",
    ),
}  # fmt: skip
"""What is taken out, by what it is replaced with, and what comes out of a trial then."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_the_fuzzer_sees_what_is_missing(name: str, tmp_path: Path) -> None:
    """With one of the mechanisms taken out, trials of the damage that it is there for fail soon, however slow they are."""
    kind, what, instead, comes_out = CONTROLS[name]
    without = "from unittest import mock; from pixelmill.store.master import read_manifest; "
    without += f"mock.patch('pixelmill.store.{what}', {instead}).start()"
    done = fuzzed(kind, tmp_path / "fuzz", 1, 300, most=MOST, without=without)
    assert " trial=" in done.stdout, f"{name}: {told(done)}"
    assert comes_out in done.stdout.splitlines()[-1], f"{name}: {told(done)}"
