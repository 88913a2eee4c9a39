"""What lies at the hand-over place is taken in once, if it is whole and of this store, by this run or the next one."""

from __future__ import annotations

import json
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import fsspec
import pytest

from pixelmill.report.model import RunReport
from pixelmill.run.direct import run_here
from pixelmill.run.handoff import RunPlace, place_of
from pixelmill.run.job import Job, Worker
from pixelmill.run.orders import RunOrders
from pixelmill.run.steps import run
from pixelmill.store.reader import Store
from pixelmill.travel import messages
from pixelmill.travel.handover import handover_at
from tests.remote.backend import LOG, embedded
from tests.remote.conftest import IMAGES, MODEL
from tests.remote.placed import WORKER, by_workers
from tests.support.models import BlockMeans
from tests.support.s3 import S3

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
FIRST = 16
"""At most so many images are embedded when a new matrix is settled, or to compare with what is stored."""


@pytest.fixture
def job(job: Job) -> Job:
    """A run of one worker, which meets it in a folder beside the store."""
    handover = job.store.parent / "handover"
    workers = (Worker(name="far", device="cpu"),)
    return job.model_copy(update={"fan_out": "workers", "workers": workers, "handover": str(handover), "shard_size": 2})


def killed(job: Job, env: dict[str, str]) -> None:
    """A run that is killed once its worker has handed over all shards."""
    with subprocess.Popen(WORKER, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(job.model_dump_json())
        process.stdin.close()
        assert process.stdout.readline() == "handed over\n"
        process.kill()


def left(job: Job) -> list[str]:
    """What lies at the hand-over place of a store."""
    return [name.rpartition("/")[2] for name in handover_at(job.handover_place).names("")]


def inline(job: Job) -> Job:
    return job.model_copy(update={"fan_out": "inline", "workers": ()})


@pytest.mark.parametrize("where", ["a folder", "S3"])
def test_the_next_run_takes_in_what_a_killed_one_was_given(
    where: str, job: Job, env: dict[str, str], s3_server: S3, assert_as_inline: Callable[[Job], None]
) -> None:
    """The run is killed with SIGKILL when its worker, which never saw the store, has handed over all shards: the next one
    makes no model call, and leaves nothing there."""
    if where == "S3":
        fsspec.filesystem("s3").mkdirs("remote-handover", exist_ok=True)
        job = job.model_copy(update={"handover": "s3://remote-handover/runs"})
    log = job.store.parent / "embedded.log"
    killed(job, env | s3_server.environment | {LOG: str(log)})
    assert embedded(log) >= IMAGES
    assert len([name for name in left(job) if name.startswith("rows-")]) >= (IMAGES - FIRST) // job.shard_size
    before = BlockMeans.seen
    report = run_here(inline(job))
    assert BlockMeans.seen == before
    assert report.models[MODEL].pending == 0
    assert left(job) == []
    assert_as_inline(job)


def flipped(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_another_store(data: bytes) -> bytes:
    return messages.encode(replace(messages.decode(data, "rows"), store_id="0" * 32))


def of_an_older_version(data: bytes) -> bytes:
    """As it would be written by one that is older."""
    start = len(messages._MAGIC) + 32
    length = int.from_bytes(data[start : start + 8], "little")
    header = json.loads(zlib.decompress(data[start + 8 : start + 8 + length])) | {"version": "0.9.0"}
    text = zlib.compress(json.dumps(header).encode())
    rest = len(text).to_bytes(8, "little") + text + data[start + 8 + length :]
    return data[: len(messages._MAGIC)] + sha256(rest).digest() + rest


WRONG: list[tuple[Callable[[bytes], bytes], str]] = [
    (flipped, "it is damaged or cut off"),
    (cut_off, "it is damaged or cut off"),
    (of_another_store, "It is of store '00000000000000000000000000000000'"),
    (of_an_older_version, "Version '0.9.0' wrote it"),
]


def spoil(place: RunPlace) -> list[str]:
    """Spoil each of what was handed over in a way of its own, and hand one over twice; the names of what is spoilt."""
    rows = [name for name in place.names() if name.startswith("rows-")]
    data = [place.handover.get(f"{place.name}/{name}".lstrip("/")) or b"" for name in rows]
    assert len(rows) >= len(WRONG)
    for name, whole, (spoilt, _) in zip(rows, data, WRONG, strict=False):
        place.handover.put(f"{place.name}/{name}".lstrip("/"), spoilt(whole))
    return rows[: len(WRONG)]


def assert_named(report: RunReport, names: list[str]) -> None:
    for name, (_, why) in zip(names, WRONG, strict=True):
        told = [warning for warning in report.warnings if name in warning]
        assert len(told) == 1, report.warnings
        assert "was not stored" in told[0]
        assert why in told[0]


def test_what_is_spoilt_is_named_and_done_again(
    job: Job, env: dict[str, str], assert_as_inline: Callable[[Job], None]
) -> None:
    """Damaged, cut off, of another store or of an older version: each is refused by name, nothing of it is stored, and the
    run gives its shard out again."""
    names: list[str] = []

    def before(place: RunPlace, orders: RunOrders) -> None:
        if orders.shares and not names:
            names.extend(spoil(place))

    report = run(job, by_workers(env, hidden=[job.store], before=before))
    assert report.models[MODEL].pending == 0
    assert_named(report, names)
    assert_as_inline(job)


def test_what_a_dead_run_left_is_looked_at_as_well(
    job: Job, env: dict[str, str], assert_as_inline: Callable[[Job], None]
) -> None:
    """The next run names what is spoilt, and makes it anew."""
    killed(job, env)
    store = Store(job.store)
    place, _ = place_of(job, store.manifest.store_id, 1)
    names = spoil(place)
    before = BlockMeans.seen
    report = run_here(inline(job))
    assert BlockMeans.seen - before <= len(names) * job.shard_size + FIRST, "what it is compared with, and they"
    assert_named(report, names)
    assert left(job) == []
    assert_as_inline(job)


def test_twice_is_once(job: Job, env: dict[str, str], assert_as_inline: Callable[[Job], None]) -> None:
    """All is handed over twice, the second time in the name of another worker, in the middle of the run and after its end:
    each content is stored once."""
    kept: dict[str, bytes] = {}

    def before(place: RunPlace, orders: RunOrders) -> None:
        for name in [name for name in place.names() if name.startswith("rows-")]:
            kept[f"{place.name}/{name}2"] = place.handover.get(f"{place.name}/{name}") or b""
        for name, data in kept.items():
            place.handover.put(name, data)

    report = run(job, by_workers(env, hidden=[job.store], before=before))
    assert kept
    assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (IMAGES, 0)
    for name, data in kept.items():
        handover_at(job.handover_place).put(name, data)
    again = run_here(inline(job))
    assert again.models[MODEL].embedded == again.embedded_twice == len(kept) * job.shard_size
    assert again.models[MODEL].pending == 0
    assert left(job) == []
    assert_as_inline(job)
