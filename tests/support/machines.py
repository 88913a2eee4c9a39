"""Two other machines with a Prefect worker each, for runs of `fan_out = "workers"` whose pictures and hand-over place are in
S3: they do not see the store, and each has a home of its own.

    with Site(server, s3, tmp_path, "night") as site:
        site.pictures(save_picture, 24)
        with site.machine("one", "cpu"), site.machine("two", "gpu", network=True) as two:
            with server.used():
                report = vectorize([site.photos], config=site.settings())
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import fsspec
import h5py
import numpy as np

from tests.conftest import SavePicture
from tests.support.namespace import Namespace
from tests.support.prefect_server import PREFECT, PrefectServer, having, wait_until
from tests.support.s3 import S3

MODEL = "efficientnet_lite0"
POOLS = {"one": "cpu", "two": "gpu"}
MARK = "TESTS_SITE"


class Site:
    """A store, a bucket, and machines that share the bucket alone."""

    def __init__(self, server: PrefectServer, s3: S3, folder: Path, bucket: str) -> None:
        self.server, self.s3, self.folder, self.bucket = server, s3, folder, bucket
        self.photos, self.handover = f"s3://{bucket}/photos", f"s3://{bucket}/handover"
        self.store = folder / "store"
        self.files: Any = fsspec.filesystem("s3", use_listings_cache=False)

    def __enter__(self) -> Self:
        self.store.mkdir()
        self.files.mkdir(self.bucket)
        return self

    def __exit__(self, *_: object) -> None:
        kill(f"{MARK}={self.bucket}")

    def pictures(self, save_picture: SavePicture, images: int, first: int = 0) -> Path:
        """Pictures in S3; also as they lie in a folder here."""
        folder = self.folder / "photos"
        for seed in range(first, first + images):
            save_picture(folder / f"{seed:03}.png", seed)
            self.files.pipe_file(f"{self.bucket}/photos/{seed:03}.png", (folder / f"{seed:03}.png").read_bytes())
        return folder

    def settings(
        self, *, name: str = "night", workers: Mapping[str, Mapping[str, object]] | None = None, **run: object
    ) -> str:
        """A settings file with the workers `one` (of the pool cpu) and `two` (gpu); both compute on the CPU."""
        given = {
            "fan_out": "workers", "handover": self.handover, "store": str(self.store), "shard_size": 4, "batch_size": 4,
            "models": [MODEL], "device": "cpu", **run,
        }  # fmt: skip
        lines = ["[run]", *(f"{key} = {_toml(value)}" for key, value in given.items())]
        for worker, more in (workers or {"one": {}, "two": {}}).items():
            table = {"name": worker, "device": "cpu", "work_pool": POOLS[worker], **more}
            lines += ["[[workers]]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines))
        return str(path)

    def environment(self, home: str) -> dict[str, str]:
        """Of programs at a home of their own."""
        folder = self.folder / home
        folder.mkdir(exist_ok=True)
        own = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "XDG_CACHE_HOME": str(folder / "cache")}
        return self.server.env | self.s3.environment | own | {MARK: self.bucket}

    @contextmanager
    def machine(
        self, name: str, *, hidden: Iterable[Path] = (), seen_as: Mapping[Path, str | Path] | None = None,
        network: bool = False,
    ) -> Iterator[Namespace]:  # fmt: skip
        """A machine with the Prefect worker of `name`'s pool. `network`: its network can be cut."""
        ports = [self.server.port, self.s3.port] if network else []
        log = self.folder / f"{name}.log"
        command = (*PREFECT, "worker", "start", "--pool", POOLS[name], "--type", "process", "--name", name)
        with (
            Namespace(hidden=[self.store, *hidden], seen_as=seen_as, ports=ports) as there,
            there.running(*command, log=log, env=self.environment(name)),
        ):
            yield there

    @contextmanager
    def run(self, *arguments: str, config: str) -> Iterator[subprocess.Popen[bytes]]:
        """`pixelmill run` in a process of its own."""
        command = [sys.executable, "-m", "pixelmill", "run", *(arguments or [self.photos]), "--config", config]
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment("here"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def handed_over(self) -> list[str]:
        """What lies at the hand-over place, by its name there."""
        found = self.files.find(f"{self.bucket}/handover")
        return sorted(name.removeprefix(f"{self.bucket}/handover/") for name in found)

    def wait_for_rows(self, worker: str, seconds: float = 120) -> None:
        """Until a worker has handed in a shard: the answer lies there, or is stored by now."""
        put = re.compile(rf'"PUT /{self.bucket}/\S+/rows-\d+-{worker} HTTP')
        wait_until(lambda: put.search(self.s3.said()), seconds, f"rows of {worker}")

    def embedding(self) -> list[int]:
        """The processes of workers' runs."""
        return [pid for pid in having(f"{MARK}={self.bucket}") if has_flow_run(pid)]

    def vectors(self, store: Path | None = None) -> dict[bytes, bytes]:
        """The vectors by the sha256 of their pictures, as plain h5py reads them; each content once, without a gap."""
        with h5py.File((store or self.store) / "vectors.h5") as file:
            contents, vectors = file["images/sha256"][:], file[f"vectors/{MODEL}"][:]
        assert not np.isnan(vectors).any()
        found = {content.tobytes(): vector.tobytes() for content, vector in zip(contents, vectors, strict=True)}
        assert len(found) == len(contents), "a content twice"
        return found


def has_flow_run(pid: int) -> bool:
    """Whether a process does a run of Prefect's."""
    try:
        return b"PREFECT__FLOW_RUN_ID=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def kill(variable: str) -> None:
    """Kill the processes that started with a variable, until there are none."""
    for _ in range(100):
        if not (pids := having(variable)):
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(one)}' for key, one in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
