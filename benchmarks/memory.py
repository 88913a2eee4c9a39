"""Does memory grow with the images? Resident size of a run and its decoders after every 1,000 of them.

    python -m benchmarks.memory [--images 10000] [--batch-size 32]

With a tiny model of timm's, so that the images are many and the time is short. Its activations are small; what reading,
decoding and committing hold is what a run with a larger model holds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import psutil

from pixelmill.bench import PICTURES, render
from pixelmill.run.job import Job
from pixelmill.run.prepare import prepare
from pixelmill.run.scan import scan_sources
from pixelmill.store.commit import StoreWriter
from tests.support.checkpoints import make_tiny_models
from tests.support.shards import embed_shard

SHARD = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-memory-") as name:
        folder = Path(name)
        photographs(folder / "photos", given.images)
        models = make_tiny_models(folder / "mirror")
        job = Job(
            sources=(str(folder / "photos"),), store=folder / "store", specs=(models.timm,), precision="float32",
            cache={"cache_dir": folder / "cache", "mirrors": {"*": str(models.folder)}}, shard_size=SHARD,
            batch_size=given.batch_size, threads=os.cpu_count() or 1,
            max_pixels=10**9, max_aspect=100.0, max_bytes=10**9,
        )  # fmt: skip
        sizes = []
        with StoreWriter(job.store) as writer:
            scan = scan_sources(writer.ledger, job.sources)
            prepared = prepare(job, writer, scan.number)
            matrices, plan = list(prepared.matrices), prepared.plan
            for shard in plan.shards:
                did = embed_shard(job, writer, matrices, scan.number, shard)
                assert sum(did.embedded.values()) == shard.images
                sizes.append(resident())
                done = shard.first + shard.images
                print(f"{done:8,} images  {sizes[-1]:7,.0f} MB  {shard.images / did.seconds:6.0f} images/s", flush=True)
    print(f"most after the first {SHARD:,}: {max(sizes) / sizes[0]:.3f} of what it was then")


def photographs(folder: Path, images: int) -> None:
    """So many different files of some hundred pictures: bytes after the end of a JPEG are nobody's."""
    folder.mkdir()
    render(folder)
    for number, path in enumerate(sorted(folder.iterdir()) * (images // PICTURES)):
        if number + PICTURES < images:
            (folder / f"{path.stem}-{number}.jpg").write_bytes(path.read_bytes() + str(number).encode())


def resident() -> float:
    """MB of this process and of those that decode for it."""
    process = psutil.Process()
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e6


if __name__ == "__main__":
    main()
