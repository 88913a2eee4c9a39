"""A writer on a machine of its own: to its locks those of other machines do not reach (see shim.c).

`python -m tests.support.machine STORE NUMBER COMMITS [WITHOUT…]` commits two contents at a time and says which are there,
one line each. WITHOUT names what is taken out: `presence`, or `claim` as a control.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from pixelmill.errors import StoreError
from pixelmill.store import revisions
from pixelmill.store.column_writer import begin
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.presence import Presence
from tests.support.stores import facts_group, join_tags, provenance, shard_rows

OWN = 1000
"""Machine `k` commits the contents from `k * OWN` on."""


def start(shim: Path, store: Path, number: int, commits: int, *without: str) -> subprocess.Popen[str]:
    """A machine, started, that waits for a line before it commits."""
    environment = {
        **os.environ, "LD_PRELOAD": str(shim), "SHIM_MACHINE": str(number), "PYTHONPATH": str(Path(__file__).parents[2])
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.support.machine", str(store), str(number), str(commits), *without]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def both(shim: Path, store: Path, commits: int, *without: str) -> tuple[list[int], list[str]]:
    """Two machines at once: the contents that they acknowledged, and how each was refused, if it was."""
    machines = [start(shim, store, number, commits, *without) for number in (1, 2)]
    first = [machine.stdout.readline() for machine in machines if machine.stdout]
    for machine in machines:
        if machine.stdin:
            machine.stdin.write("\n")
            machine.stdin.flush()
    told = [machine.communicate(timeout=60) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    lines = [*first, *(line for out, _ in told for line in out.splitlines())]
    return [int(line) for line in lines if line.strip().isdigit()], [line for line in lines if "refused" in line]


def _main(store: str, number: int, commits: int, without: list[str]) -> None:
    # SQLite does not survive what is tried here, and is not what is tried.
    patches: list[Any] = [mock.patch("pixelmill.store.ledger.LEDGER", f"ledger-{number}.sqlite")]
    if "presence" in without:
        patches.append(mock.patch.object(Presence, "_look_round"))
    if "claim" in without:
        patches.append(mock.patch.object(revisions, "claim"))
    for patch in patches:
        patch.start()
    try:
        with StoreWriter(store) as writer:
            print("ready", flush=True)
            sys.stdin.readline()
            facts = begin(writer, facts_group())
            for at in range(number * OWN, number * OWN + 2 * commits, 2):
                writer.commit(shard_rows([at, at + 1], [writer.matrix(provenance("a"), "float32")], facts=facts))
                with suppress(Overtaken):
                    join_tags(writer, number)
                time.sleep(random.random() / 50)
                print(at, at + 1, sep="\n", flush=True)
    except StoreError as error:
        print(f"refused: {error}", flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
