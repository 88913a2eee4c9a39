"""What a run tells its workers: seconds, memory and bytes of the orders of a store of very many rows.

The store is made up as in `benchmarks/scale.py`: every row is there, and complete for its first model. Then come nights
that have something to do, each in a process of its own: a second model over all images; copies under other names; the
same where the source tells no sizes; and where all images have one size, as pictures that are not compressed. `look up`
is what a run does once, before its first order. docs/performance.md has the figures.

    python -m benchmarks.travel [--rows 1000000] [--copies 16384] [--shard 4096] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import scale

if TYPE_CHECKING:
    from pixelmill.sources.found import FoundFile
    from pixelmill.store.commit import StoreWriter

SHARDS = 4
"""Orders that are made of a night's, at most."""


class Given(scale.Given):
    """The command line."""

    copies: int
    night: str


def copies(given: Given, night: str, size: Callable[[int], int]) -> Iterator[FoundFile]:
    """Some images, spread over all, under other names."""
    from pixelmill.sources.found import FoundFile

    for number in range(0, given.rows, max(given.rows // given.copies, 1)):
        yield FoundFile(str(given.photos), f"{night}/image-{number:010d}.jpg", size(number), number, number)


def second_model(given: Given, writer: StoreWriter) -> int:
    return int(given.last_scan.read_text())


def copied(given: Given, writer: StoreWriter) -> int:
    return scanned(writer, copies(given, "copied", lambda number: 2_000_000 + number))


def unsized(given: Given, writer: StoreWriter) -> int:
    return scanned(writer, copies(given, "unsized", lambda _: 0))


def one_size(given: Given, writer: StoreWriter) -> int:
    """From here on every image has it."""
    writer.ledger.database.write("UPDATE files SET size = 921654")
    return scanned(writer, copies(given, "one size", lambda _: 921_654))


def scanned(writer: StoreWriter, files: Iterator[FoundFile]) -> int:
    """Let a scan find some files, and no other."""
    number = writer.ledger.scans.begin()
    writer.ledger.scans.record(number, files)
    return number


NIGHTS = {"second model": second_model, "copies": copied, "copies, no sizes": unsized, "copies, one size": one_size}


def make(given: Given) -> None:
    """The store, with every row in place."""
    given.shard = 0  # `fill` leaves some of them
    scale.scan(given)
    scale.fill(given)


def measure(given: Given) -> None:
    """Plan one night, make some of its orders, and print what that took."""
    from pixelmill.plan import make_plan
    from pixelmill.run.shard_orders import ShardOrders
    from pixelmill.store.commit import StoreWriter
    from pixelmill.travel.shard_order import ShardOrder

    model = "second" if given.night == "second model" else "first"
    took: scale.Details = {}
    with StoreWriter(given.store) as writer:
        matrix = writer.matrix(scale.provenance(model), "float16")
        scan = NIGHTS[given.night](given, writer)
        plan = make_plan(writer.ledger, writer.snapshot(), [matrix], scan, given.shard)
        memory = scale.Memory()
        memory.start()
        time.sleep(0.1)
        before = memory.own
        with scale.clocked(took, "look_up_ms"):
            orders = ShardOrders(writer, [matrix], scan)
        prefixes = orders.prefixes()
        with scale.clocked(took, "order_ms"):
            made = [orders.order(shard, [matrix.provenance.fingerprint]) for shard in plan.shards[:SHARDS]]
        with scale.clocked(took, "write_ms"):
            messages = [order.message() for order in made]
        with scale.clocked(took, "read_ms"):
            read = [ShardOrder.of(message) for message in messages]
        memory.stop()
    assert read == made
    images = sum(len(order.files) for order in made)
    each = {name: took[name] / len(made) for name in ("order_ms", "write_ms", "read_ms")}
    print(json.dumps({
        "images": plan.images, "look_up_s": took["look_up_ms"] / 1e3, **each, "own_mb": (memory.own - before) / 1024,
        "bytes_per_image": sum(map(len, messages)) / images, "prefixes_bytes": len(prefixes or b""),
    }))  # fmt: skip


def run_all(given: Given) -> None:
    """Each night in a process of its own, one after the other, over one store."""
    given.folder.mkdir(parents=True, exist_ok=True)
    print(f"{given.rows:,} rows, {given.shard:,} images a shard; the first {SHARDS} orders of each night")
    columns = ("images", "look up s", "own MB", "prefixes MB", "order ms", "write ms", "read ms", "bytes an image")
    print(f"{'night':<18}" + "".join(f"{column:>16}" for column in columns))
    for night in ("make", *NIGHTS):
        command = [sys.executable, "-m", "benchmarks.travel", "--night", night, "--folder", str(given.folder)]
        command += ["--rows", str(given.rows), "--copies", str(given.copies), "--shard", str(given.shard)]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        if night != "make":
            took = json.loads(told)
            each = [f"{took[name]:.0f}" for name in ("order_ms", "write_ms", "read_ms", "bytes_per_image")]
            once = [f"{took['look_up_s']:.1f}", f"{took['own_mb']:.0f}", f"{took['prefixes_bytes'] / 1e6:.1f}"]
            cells = (f"{took['images']:,}", *once, *each)
            print(f"{night:<18}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--copies", type=int, default=16_384)
    parser.add_argument("--shard", type=int, default=4096)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--night", choices=["make", *NIGHTS], help=argparse.SUPPRESS)
    given = parser.parse_args(namespace=Given())
    if given.night:
        make(given) if given.night == "make" else measure(given)
        return
    if given.folder:
        run_all(given)
        return
    with tempfile.TemporaryDirectory(prefix="pixelmill-travel-") as folder:
        given.folder = Path(folder)
        run_all(given)


if __name__ == "__main__":
    main()
