"""deployments/Dockerfile is built, step by step, in a bare Debian, and its image does what workers and jobs ask of it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

from deployments.set_up import CONTAINERS, make_pool
from flows._workers import variables_for
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.version import VERSION
from tests.support.dockerfile import Image, build, is_ignored, steps, why_not
from tests.support.jobs import job_of, start
from tests.support.prefect_server import ROOT, PrefectServer

DOCKERFILE = ROOT / "deployments" / "Dockerfile"
IGNORED = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built as `docker build` does; what uv has fetched before is not fetched again."""
    if reason := why_not():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("image") / "root"
    yield build(DOCKERFILE, ROOT, root, cache=Path.home() / ".cache")
    shutil.rmtree(root)  # 6 GB, where pytest would keep the last three


def test_steps_are_read_as_docker_reads_them() -> None:
    """Comments, also between the lines of a step, and lines that go on; an instruction without a meaning here is told."""
    read = list(steps("# one\nFROM a\n\nRUN b \\\n# two\n    && c\nCMD ['d']\n"))
    assert [(name, rest.split()) for name, rest in read] == [
        ("FROM", ["a"]),
        ("RUN", ["b", "&&", "c"]),
        ("CMD", ["['d']"]),
    ]
    with pytest.raises(ValueError, match="Got 'HEALTHCHECK'"):
        list(steps("FROM a\nHEALTHCHECK CMD true\n"))


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("install.py", False), ("pixelmill", False), ("pixelmill/store/rows.py", False), ("tests/conftest.py", True),
        ("pixelmill/store/__pycache__", True), ("deployments/.env", True), ("deployments/set_up.py", False),
        ("pixelmill.toml", True), (".git", True), (".venv", True),
    ],
)  # fmt: skip
def test_secrets_and_leftovers_stay_out(path: str, ignored: bool) -> None:
    """Neither passwords nor settings, nor what is made by running, get into the image."""
    assert is_ignored(path, IGNORED) == ignored


def test_the_image_says_what_it_is_for_itself() -> None:
    """It has no ENTRYPOINT, since a Job's command comes as its arguments; it names no index, and no root."""
    read = dict(steps(DOCKERFILE.read_text()))
    assert "ENTRYPOINT" not in read
    assert read["USER"] == "1000"
    assert "://" not in DOCKERFILE.read_text()


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_the_image_is_pixelmill(image: Image) -> None:
    """Without arguments it helps; the version is this one; the flows are found where a job looks for them."""
    assert "Usage: pixelmill" in image.start()
    assert image.start("pixelmill", "--version").strip().endswith(VERSION)
    assert image.start("python", "-c", "import flows.embed, os; print(os.getuid(), os.getcwd())").split() == [
        "1000",
        "/opt/pixelmill",
    ]


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_who_runs_it_may_write_where_volumes_go(image: Image) -> None:
    """What is installed stays as it is, compiled; the places of volumes are the user's."""
    writable = "import os; print(*(os.access(p, os.W_OK) for p in ('/opt/pixelmill', '/opt/pixelmill/.venv', '/cache', '/handover')))"
    assert image.start("python", "-c", writable).split() == ["False", "False", "True", "True"]
    assert any(image.inside("/opt/pixelmill/.venv").rglob("torch/__pycache__/*.pyc"))
    assert not any(image.inside("/opt/pixelmill").glob(".env"))
    assert not any(image.inside("/var/cache/build").iterdir())


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_it_embeds(image: Image) -> None:
    """A run over the examples, with the variables of a job, is whole and verified."""
    template = json.loads((CONTAINERS / "docker.json").read_text())
    env = template["variables"]["properties"]["env"]["default"]
    photos = {str(ROOT / "examples" / "images"): "/photos:ro"}
    image.start("pixelmill", "run", "/photos", "--store", "/tmp/store", "--direct", env=env, binds=photos)
    assert json.loads(image.start("pixelmill", "info", "/tmp/store", "--json"))["rows"] == 32
    image.start("pixelmill", "verify", "/tmp/store")


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_it_has_the_workers(image: Image) -> None:
    """Of each type of pool, so that none is fetched when a worker starts."""
    types = """
from prefect.plugins import load_prefect_collections
from prefect.workers.base import BaseWorker
load_prefect_collections()
print(*BaseWorker.get_all_available_worker_types())
"""
    assert {"process", "docker", "kubernetes"} <= set(image.start("python", "-c", types).split())


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_a_worker_of_processes_runs_in_it(image: Image, client: SyncPrefectClient) -> None:
    """`prefect worker start` asks the server of PREFECT_API_URL for work."""
    url = str(client.api_url)
    image.start("prefect", "worker", "start", "--pool", "gpu", "--run-once", env={"PREFECT_API_URL": url})
    assert len(client.read_workers_for_work_pool("gpu")) == 1


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_a_job_without_orders_says_so(image: Image, client: SyncPrefectClient) -> None:
    """The flow is found and its failure told, in words, where a person looks for it."""
    state = ran(image, client, start(client, "docker", variables_for("cpu")), {})
    assert (state.name, "Expected" in state.message) == ("Failed", True), state.message


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_a_run_has_its_work_done_in_it(
    image: Image, client: SyncPrefectClient, server: PrefectServer, tmp_path: Path
) -> None:
    """What Docker's worker would start does all of a run: it sees pictures at a path of its own, the hand-over, no store."""
    photos, handover, store = ROOT / "examples" / "images", tmp_path / "handover", tmp_path / "store"
    handover.mkdir()
    handover.chmod(0o777)  # the run is root here, and the image user 1000
    (tmp_path / "pixelmill.toml").write_text(f"""
[run]
fan_out = "workers"
sources = ["{photos}"]
store = "{store}"
handover = "{handover}"

[[workers]]
name = "box"
device = "cpu"
work_pool = "docker"
paths = {{"{photos}" = "/photos"}}
""")
    command = [sys.executable, "-m", "pixelmill", "run", "--config", str(tmp_path / "pixelmill.toml")]
    seen: dict[UUID, str] = {}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=server.env, umask=0, stdout=log, stderr=log) as running,
    ):
        while running.poll() is None:  # one to find out what a new matrix is, one for the rest
            time.sleep(0.5)
            for run in client.read_flow_runs():
                if "box" in run.tags and run.id not in seen:
                    state = ran(image, client, run, {str(photos): "/photos:ro", str(handover): str(handover)})
                    seen[run.id] = f"{state.name}: {state.message}"
    assert running.returncode == 0, (tmp_path / "log").read_text()
    assert {words.partition(":")[0] for words in seen.values()} == {"Completed"}, seen
    assert len(Store(store)) == 32
    assert verify(store) == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """With the pools `gpu` and `docker`, and the deployment of `embed` in the latter."""
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        with server.used(), get_client(sync_client=True) as client:
            for pool in ("gpu", "docker"):
                make_pool(client, pool)
        server.prefect("deploy", "--prefect-file", "deployments/pools/prefect.yaml", "--name", "embed-docker")
        yield server


@pytest.fixture
def client(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with server.used(), get_client(sync_client=True) as client:
        yield client


def ran(image: Image, client: SyncPrefectClient, run: FlowRun, binds: dict[str, str]) -> Any:
    """The state of a run that was started in the image as Docker's worker would have it."""
    job = job_of(client, run)
    image.start(*shlex.split(job.command), env=job.env, binds=binds)
    return client.read_flow_run(run.id).state
