"""Pixelmill as a service: units and compose file are checked by their own programs, and the compose file's topology runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.settings.models.root import Settings as PrefectSettings

from deployments.set_up import ZOMBIES, install_automation
from deployments.ui import shipped_variables
from settings import load_settings
from tests.support import waiting
from tests.support.deployed import DEPLOYED, inventory, nights
from tests.support.gallery import served
from tests.support.prefect_server import ROOT, PrefectServer, wait_until
from tests.support.services import PASSWORD, postgres, postgres_programs, redis

DEPLOYMENTS = ROOT / "deployments"
UNITS = sorted((DEPLOYMENTS / "systemd").glob("*.service"))
WATCH = DEPLOYMENTS / "systemd" / "pixelmill-watch@.path"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENVIRONMENT: dict[str, str] = SERVICES["server"]["environment"]


def compose_command() -> list[str]:
    """Docker's plugin where there is one, else the program of old."""
    plugin = (
        shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    )
    if not plugin and not shutil.which("docker-compose"):
        pytest.skip("Neither `docker compose` nor docker-compose is installed.")
    return ["docker", "compose"] if plugin else ["docker-compose"]


def composed(folder: Path, *, filled_in: bool) -> subprocess.CompletedProcess[str]:
    """What compose makes of the file, with the example of .env as it is, or with a password in it."""
    variables = (DEPLOYMENTS / "compose.env.example").read_text()
    given = variables.replace("PASSWORD=", "PASSWORD=secret").replace("TOKEN=", "TOKEN=a-token-of-many-letters")
    (folder / ".env").write_text(given if filled_in else variables)
    command = [*compose_command(), "--env-file", folder / ".env", "-f", DEPLOYMENTS / "compose.yaml"]
    return subprocess.run([*command, "--profile", "gpu", "config"], capture_output=True, text=True)


def test_compose_takes_the_file(tmp_path: Path) -> None:
    """`docker compose config` has nothing to say against it, and finds each variable in the example of .env."""
    done = composed(tmp_path, filled_in=True)
    assert (done.returncode, done.stderr) == (0, "")
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == set(SERVICES)
    assert "postgresql+asyncpg://prefect:secret@postgres:5432/prefect" in services["server"]["environment"].values()


def test_compose_wants_a_password(tmp_path: Path) -> None:
    """There is none that everybody knows."""
    done = composed(tmp_path, filled_in=False)
    assert done.returncode != 0
    assert "POSTGRES_PASSWORD" in done.stderr


def test_prefect_knows_the_variables() -> None:
    """Each variable of compose.yaml and prefect.env is a setting of Prefect's or of its integration; a slip is ignored."""
    from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings
    from prefect_redis.client import RedisMessagingSettings

    known = {"DO_NOT_TRACK", *names_of(PrefectSettings), *names_of(RedisMessagingSettings)}
    known |= names_of(RedisWorkerCleanupQueueSettings)
    assert "PREFECT_REDIS_MESSAGING_URL" in known
    assert {*ENVIRONMENT, *shipped_variables()} - known == set()


def names_of(model: Any) -> set[str]:
    """The environment variables of a group of Prefect's settings and of those below it."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            names |= names_of(inner)
        aliases = getattr(field.validation_alias, "choices", [])
        names |= {alias.upper() for alias in aliases if isinstance(alias, str)}
        names.add(f"{model.model_config['env_prefix']}{name}".upper())
    return names


def test_the_workers_of_compose_have_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources, store, models, workers, deliveries and hours reach Pixelmill through variables that it knows."""
    values = {"MODELS": "resnet18,vit_b_16", "FAN_OUT": "workers", "WORKERS": '[{"name": "gpu0", "work_pool": "gpu"}]'}
    values |= {"NIGHTLY": "0 20 * * *", "DEADLINE": "8h"}
    values |= {"DELIVERIES": '[{"name": "search", "to": "qdrant://q:6333", "models": ["vit_b_16"]}]'}
    for name, value in SERVICES["worker-gpu"]["environment"].items():
        if name.startswith("PIXELMILL_"):
            monkeypatch.setenv(name, re.sub(r"\$\{(\w+):-[^}]*\}", lambda found: values[found[1]], value))
    settings = load_settings()
    assert (settings.run.sources, settings.run.store) == (("/photos",), Path("/store"))
    assert settings.run.models == ("resnet18", "vit_b_16")
    assert settings.run.handover == "/handover"
    assert [worker.work_pool for worker in settings.workers] == ["gpu"]
    assert [delivery.to for delivery in settings.deliveries] == ["qdrant://q:6333"]
    assert (settings.schedule.nightly, settings.schedule.deadline) == ("0 20 * * *", "8h")


def test_the_store_of_compose_is_for_runs_alone() -> None:
    """Where `vectorize` runs there is the store; a worker of the pool gpu has a hand-over in common with it, and weights."""
    gpu = {"${PHOTOS:?}:/photos:ro", "handover:/handover", "weights:/cache"}
    assert set(SERVICES["worker-gpu"]["volumes"]) == gpu
    assert set(SERVICES["worker-cpu"]["volumes"]) == gpu | {"${STORE:?}:/store"}
    deployed = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in deployed if each["work_pool"]["name"] == "gpu"] == ["embed-gpu"]


def test_the_gallery_of_compose_has_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for a token, and can write neither to the store nor to the photographs."""
    gallery = SERVICES["gallery"]
    for name, value in gallery["environment"].items():
        monkeypatch.setenv(name, value.replace("${GALLERY_TOKEN:?}", "a-token-of-many-letters"))
    settings = load_settings()
    assert settings.run.store == Path("/store")
    assert settings.web.token
    assert settings.web.token.get_secret_value() == "a-token-of-many-letters"
    assert all(volume.endswith(":ro") for volume in gallery["volumes"] if volume.startswith("$"))
    assert gallery["ports"] == [f"${{LISTEN:-127.0.0.1}}:{settings.web.port}:{settings.web.port}"]


def test_the_image_copies_what_is_there() -> None:
    """Each source of a COPY exists, and is not left out of the build's context."""
    ignored = (DEPLOYMENTS / "Dockerfile.dockerignore").read_text().split()
    for line in (DEPLOYMENTS / "Dockerfile").read_text().splitlines():
        for source in line.split()[1:-1] if line.startswith("COPY") else ():
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say against it, with this checkout in the place of /opt/pixelmill."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed.")
    assert verified(unit.read_text(), tmp_path / unit.name) == ""
    assert "Users" in verified(unit.read_text().replace("User=", "Users="), tmp_path / unit.name)


def test_systemd_takes_the_watch_of_a_folder(tmp_path: Path) -> None:
    """It starts the service of its name, and says so where a line is wrong."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed.")
    service = WATCH.with_suffix(".service")
    assert verified(service.read_text(), tmp_path / service.name) == ""
    assert verified(WATCH.read_text(), tmp_path / WATCH.name) == ""
    assert "Pathchange" in verified(WATCH.read_text().replace("PathChanged", "Pathchange"), tmp_path / WATCH.name)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "worker" in unit.name], ids=lambda unit: unit.stem)
def test_systemd_kills_no_run_for_another(unit: Path) -> None:
    """A worker that was killed, or one run that took all memory, would end all that the unit has started."""
    assert {"KillMode=process", "OOMPolicy=continue"} <= set(unit.read_text().splitlines())


def verified(text: str, place: Path) -> str:
    """What systemd says to a unit; templates are looked at as their first instance."""
    place = place.with_name(place.name.replace("@", "@0"))
    python = Path(sys.executable).parent.parent
    place.write_text(text.replace("/opt/pixelmill/.venv", str(python)).replace("/opt/pixelmill", str(ROOT)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", place], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_command_that_there_is(unit: Path) -> None:
    """Its options are those of the command, of Prefect's or of ours."""
    ((program, command),) = re.findall(r"^ExecStart=\S+/(prefect|pixelmill) (.*)$", unit.read_text(), re.MULTILINE)
    words = [word for word in command.split() if word[0].isalpha()][:2]
    help_text = subprocess.run([sys.executable, "-m", program, *words, "--help"], capture_output=True, text=True).stdout
    assert f"{words[0]} " in help_text
    assert all(option in help_text for option in re.findall(r"--[a-z-]+", command))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[PrefectServer]:
    """The compose file's server, in its variables and commands, on a Postgres and a Redis of this machine."""
    programs = postgres_programs()
    if programs is None or not shutil.which("redis-server"):
        pytest.skip("Postgres (initdb) or Redis (redis-server) is not installed.")
    with postgres(programs) as database, redis() as broker:
        places = {
            "${POSTGRES_PASSWORD:?}": PASSWORD, "postgres:5432": f"127.0.0.1:{database}",
            "${ADDRESS:?}": "http://127.0.0.1", "//redis:6379": f"//127.0.0.1:{broker}",
        }  # fmt: skip
        variables = shipped_variables() | ENVIRONMENT | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
        for there, here in places.items():
            variables = {name: value.replace(there, here) for name, value in variables.items()}
        server = PrefectServer(tmp_path / "prefect", **variables)
        server.home.mkdir()
        server.prefect(*SERVICES["migrate"]["command"][1:])
        server.start(*api_arguments())
        with server.running(*SERVICES["services"]["command"][1:]):
            yield server
        server.stop()
        assert server.processes() == []


def api_arguments() -> list[str]:
    assert SERVICES["server"]["command"] == ["prefect", "server", "start", "--no-services", "--host", "0.0.0.0"]
    return ["--no-services"]


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_stack_runs_on_postgres_and_redis(stack: PrefectServer) -> None:
    """Set-up twice, a planned night, a run, a run across a restart of the API, a zombie: all that one process does."""
    sources = {"PIXELMILL_RUN__SOURCES": SERVICES["set-up"]["environment"]["PIXELMILL_RUN__SOURCES"]}
    for _ in range(2):
        command = [sys.executable, *SERVICES["set-up"]["command"][1:]]
        subprocess.run(command, cwd=ROOT, env=stack.env | sources, check=True, timeout=300)
    limit = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    with stack.used(), get_client(sync_client=True) as client:
        found = inventory(client)
        assert found["deployments"] == DEPLOYED
        assert (len(found["schedules"]), len(found["automations"])) == (3, 1)
        wait_until(lambda: nights(client), 300, "the next nights to be scheduled")
        waiting.deploy("one", "cpu", concurrency_limit=limit)
        with stack.running(*SERVICES["worker-cpu"]["command"][1:]) as worker:
            assert stack.wait_for(waiting.start("one", 0)).name == "Completed"
            run = waiting.start("one", 120)
            stack.wait_for(run, "Running")
            stack.kill()
            stack.start(*api_arguments())
            assert stack.wait_for(run).name == "Completed"
            install_automation(client, ZOMBIES, within=45)
            killed(stack, run := waiting.start("one", 600), worker.pid)
        assert stack.wait_for(run).name == "Crashed"
        assert not (stack.home / "prefect.db").exists()
        with stack.worker("cpu"):
            assert stack.wait_for(waiting.start("one", 0)).name == "Completed"


@pytest.mark.system
def test_the_gallery_of_compose_serves_a_store(tmp_path: Path) -> None:
    """Its command and variables serve a store that cannot be written to: its health check passes, and the token opens."""
    gallery, store = SERVICES["gallery"], tmp_path / "store"
    run = [
        sys.executable,
        "-m",
        "pixelmill",
        "run",
        str(ROOT / "examples" / "images"),
        "--store",
        str(store),
        "--direct",
    ]
    subprocess.run(run, check=True, timeout=300)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    variables = {"PIXELMILL_RUN__STORE": str(store), "PIXELMILL_WEB__TOKEN": "a-token-of-many-letters"}
    assert set(variables) == set(gallery["environment"])
    with served([*gallery["command"][2:], "--port", "0"], **variables) as (address, _):
        here = address.replace("0.0.0.0", "127.0.0.1")
        _, _python, *check = gallery["healthcheck"]["test"]
        words = [word.replace("http://127.0.0.1:8000", here) for word in check]
        assert subprocess.run([sys.executable, *words]).returncode == 0
        bearer = {"Authorization": "Bearer a-token-of-many-letters"}
        assert httpx.get(f"{here}/api/store").status_code == 401
        assert httpx.get(f"{here}/api/store", headers=bearer).json()["rows"] == 32
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def killed(server: PrefectServer, run: UUID, worker: int) -> None:
    """Kill the process of a run, and the worker."""
    server.wait_for(run, "Running")
    for pid in (worker, server.process_of(run)):
        os.kill(pid, 9)
