"""set_up.py on a real server: what follows the settings, and what stays as a person made it there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.schedules import CronSchedule

from pixelmill.version import VERSION
from tests.support.deployed import nights
from tests.support.prefect_server import ROOT, PrefectServer, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

NAMES = {"nightly": "vectorize/nightly", "maintain": "maintain/maintain", "index": "index/index"}


class Person:
    """Runs set_up.py with a settings file, and looks at what is on the server then."""

    def __init__(self, server: PrefectServer, client: SyncPrefectClient, folder: Path) -> None:
        self.server, self.client, self.file = server, client, folder / "pixelmill.toml"

    def set_up(self, settings: str, *arguments: str) -> list[str]:
        """The lines that it says."""
        self.file.write_text(settings)
        command = [sys.executable, "deployments/set_up.py", *arguments]
        env = self.server.env | {"PIXELMILL_CONFIG": str(self.file)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        *said, last = done.stdout.splitlines()
        assert last.startswith("Pools, queues, deployments and automations are on http://")
        return said

    def find(self, name: str) -> Any:
        return self.client.read_deployment_by_name(NAMES.get(name, f"vectorize/{name}"))

    def hours(self, name: str) -> list[tuple[str, bool]]:
        return sorted((one.schedule.cron, one.active) for one in self.find(name).schedules)

    def patch(self, name: str, **fields: Any) -> None:
        """As Prefect's pages change a schedule: they send these fields alone."""
        deployment = self.find(name)
        path = f"/deployments/{deployment.id}/schedules/{deployment.schedules[0].id}"
        self.client.request("PATCH", path, json=fields)


def test_what_a_person_changed_stays(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """Hours, paused schedules and deployments, schedules of one's own, deleted ones, parameters; each is said in a line.
    What nobody changed follows the settings, and all does after --reset."""
    with prefect_server.used(), get_client(sync_client=True) as client:
        person = Person(prefect_server, client, tmp_path)
        said = person.set_up("")
        paused = "its schedule is paused until there are sources in the settings and set_up.py runs again."
        assert said == [f"{name}: {paused}" for name in NAMES]
        assert person.hours("nightly") == [("0 22 * * *", False)]
        assert not nights(client)

        with_sources = '[run]\nsources = ["/photos"]\n'
        assert person.set_up(with_sources) == []
        assert [person.hours(name) for name in NAMES] == [
            [("0 22 * * *", True)],
            [("0 12 * * 0", True)],
            [("30 6 * * *", True)],
        ]
        assert person.find("nightly").parameters == {"deadline": "06:00"}
        assert "| sources | /photos |" in person.find("nightly").description
        assert person.find("vectorize").version.startswith(VERSION)
        wait_until(lambda: nights(client), 90, "the next nights to be scheduled")

        person.patch("nightly", schedule={"cron": "0 1 * * *", "timezone": "UTC"}, active=True)
        person.patch("maintain", active=False)
        index = person.find("index")
        client.delete_deployment_schedule(index.id, index.schedules[0].id)
        client.pause_deployment(person.find("vectorize").id)
        own = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 9 * * 6", timezone="UTC"), active=True)
        client.create_deployment_schedules(person.find("nightly").id, [own])
        demo = person.find("demo")
        client.update_deployment(demo.id, DeploymentUpdate(parameters=demo.parameters | {"store": "/elsewhere"}))

        later = (
            with_sources
            + '[schedule]\nnightly = "0 20 * * *"\nmaintain = "0 3 * * 6"\nindex = "0 7 * * *"\ndeadline = "05:00"\n'
        )
        expected = [
            'nightly: its hours stay "0 1 * * *" (UTC), as set on the server; [schedule] says "0 20 * * *" (UTC).',
            "nightly: 1 schedule of your own stays.",
            "vectorize: stays paused.",
            "demo: parameter store as changed on the server.",
            "maintain: its schedule stays paused, as set on the server.",
            'index: its schedule stays deleted; [schedule] says "0 7 * * *" (UTC).',
        ]
        for _ in range(2):
            assert person.set_up(later) == expected
            assert person.hours("nightly") == [("0 1 * * *", True), ("0 9 * * 6", True)]
            assert (person.hours("maintain"), person.hours("index")) == ([("0 3 * * 6", False)], [])
            assert person.find("vectorize").paused
            assert person.find("demo").parameters["store"] == "/elsewhere"
            assert person.find("nightly").parameters == {"deadline": "05:00"}  # which nobody had changed

        prefect_server.prefect("deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
        assert person.hours("nightly") == [
            ("0 1 * * *", True),
            ("0 9 * * 6", True),
        ]  # Prefect's own command leaves them

        client.pause_deployment(person.find("vectorize").id)
        assert person.set_up(later, "--reset") == ["nightly: 1 schedule of your own stays.", "vectorize: stays paused."]
        assert person.hours("nightly") == [("0 20 * * *", True), ("0 9 * * 6", True)]
        assert (person.hours("maintain"), person.hours("index")) == ([("0 3 * * 6", True)], [("0 7 * * *", True)])
        client.resume_deployment(person.find("vectorize").id)


def test_a_pool_of_ones_own_gets_its_embed(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """With pool, queue and the deployment that a run starts there; what somebody else deployed under such a name stays."""
    workers = [{"name": name, "work_pool": name, "work_queue": "one"} for name in ("mine", "theirs")]
    with prefect_server.used(), get_client(sync_client=True) as client:
        person = Person(prefect_server, client, tmp_path)
        prefect_server.prefect("work-pool", "create", "theirs", "--type", "process")
        prefect_server.prefect(
            "deploy", "flows/embed.py:embed", "--name", "embed-theirs", "--pool", "theirs", "--tag", "x"
        )
        settings = "".join("[[workers]]\n" + "".join(f'{k} = "{v}"\n' for k, v in one.items()) for one in workers)
        assert "embed-theirs: left alone, since it is not of set_up.py." in person.set_up(settings)
        mine = client.read_deployment_by_name("embed/embed-mine")
        assert (mine.work_pool_name, mine.entrypoint) == ("mine", "flows/embed.py:embed")
        assert client.read_work_queue_by_name("one", work_pool_name="mine").concurrency_limit == 1
        assert client.read_deployment_by_name("embed/embed-theirs").tags == ["x"]
        assert "embed-mine" not in json.dumps(person.set_up(settings))
