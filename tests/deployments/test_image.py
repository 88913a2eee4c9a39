"""deployments/Dockerfile is built, step by step, in a bare Debian, and its image does what workers and jobs ask of it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from deployments.set_up import CONTAINERS, make_pool
from flows._workers import variables_for
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
def test_workers_and_jobs_run_in_it(image: Image, tmp_path: Path) -> None:
    """A worker of processes asks for work; what Docker's worker hands over runs `embed`, which finds no orders there."""
    with PrefectServer(tmp_path / "prefect") as server, server.used(), get_client(sync_client=True) as client:
        for pool in ("gpu", "docker"):
            make_pool(client, pool)
        image.start("prefect", "worker", "start", "--pool", "gpu", "--run-once", env={"PREFECT_API_URL": server.url})
        assert [worker.status for worker in client.read_workers_for_work_pool("gpu")]
        server.prefect("deploy", "--prefect-file", "deployments/pools/prefect.yaml", "--name", "embed-docker")
        run = start(client, "docker", variables_for("cpu"))
        job = job_of(client, run)
        image.start(*shlex.split(job.command), env=job.env)
        state = client.read_flow_run(run.id).state
        assert state
        assert (state.is_failed(), state.name) == (True, "Failed")
        assert "Expected" in (state.message or ""), state.message
