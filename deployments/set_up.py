"""What Pixelmill needs on a Prefect server: work pools, their queues, deployments, automations. Makes nothing twice.

    python deployments/set_up.py    for the server of PREFECT_API_URL, after an installation or an upgrade
    python deployments/set_up.py --reset    what was changed on the server is as the settings say, too

What nobody has changed on the server follows the settings. What a person has changed or paused there stays so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

ROOT = Path(__file__).parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # else Python sees what lies beside this script, and not the package that it is in

from deployments.deploy import deploy  # noqa: E402
from deployments.fitting import check_versions  # noqa: E402
from pixelmill.errors import PixelmillError  # noqa: E402
from pixelmill.proxies import settle_proxies  # noqa: E402
from settings import Settings, load_settings  # noqa: E402

CONTAINERS = ROOT / "deployments" / "pools"
"""What pools of containers are made from: docker and kubernetes, and docker-gpu and kubernetes-gpu."""
ZOMBIES = ROOT / "deployments" / "automations" / "crash-zombies.yaml"
POOLS = ("cpu", "gpu")


def set_up(settings: Settings, *, reset: bool = False) -> None:
    """Make, or bring up to date, all of it, and say what stays as a person made it.

    Raises SettingsError for hours that Prefect does not understand. Exits with Prefect's words when it refuses a
    deployment.
    """
    with get_client(sync_client=True) as client:
        pools = {}
        for pool, queues in queues_of(settings, count_gpus()).items():
            pools[pool] = make_pool(client, pool)
            for queue in queues:
                make_queue(client, pool, queue)
        said = deploy(client, pools, settings, reset=reset)
        install_automation(client, ZOMBIES)
    for line in said:
        print(line)


def queues_of(settings: Settings, gpus: int) -> dict[str, list[str]]:
    """Pools, and the queues to make in each: one for each GPU here, and those of [[workers]]."""
    queues: dict[str, set[str]] = {pool: set() for pool in POOLS}
    queues["gpu"] |= {f"gpu{index}" for index in range(gpus)}
    for worker in settings.workers:
        queues.setdefault(worker.work_pool, set()).add(worker.work_queue)
    return {pool: sorted(names - {"default"}) for pool, names in queues.items()}


def count_gpus() -> int:
    """GPUs of this machine, by the word of NVIDIA's driver: to ask PyTorch takes seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True)  # noqa: S603
    return len(listed.stdout.splitlines()) if listed.returncode == 0 else 0


def make_pool(client: SyncPrefectClient, name: str) -> str:
    """The type of the pool; one that is there is left as it is."""
    try:
        return client.read_work_pool(name).type
    except ObjectNotFound:
        kind, template = kind_of(name)
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        return kind


def kind_of(pool: str) -> tuple[str, dict[str, Any]]:
    """The type of a pool, by its name, and the template of its jobs."""
    file = CONTAINERS / f"{pool.removesuffix('-gpu')}.json"
    if file.exists():
        return file.stem, json.loads(file.read_text())
    return ProcessWorker.type, ProcessWorker.get_default_base_job_template()


def make_queue(client: SyncPrefectClient, pool: str, name: str) -> None:
    """Its device does one run at a time."""
    try:
        client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        client.create_work_queue(name, work_pool_name=pool, concurrency_limit=1)


def install_automation(client: SyncPrefectClient, file: Path, **trigger: Any) -> None:
    """Create an automation, or bring the one of its name up to date. `trigger` replaces fields of its trigger."""
    described = yaml.safe_load(file.read_text())
    described["trigger"] |= trigger
    automation = AutomationCore.model_validate(described)
    for found in client.read_automations_by_name(automation.name):
        client.update_automation(found.id, automation.model_copy(update={"enabled": found.enabled}))
        return
    client.create_automation(automation)


def main() -> None:
    """Exits with words when no server is named or none answers: Prefect would start one of its own, for a moment."""
    parser = argparse.ArgumentParser(description="What Pixelmill needs on the Prefect server of PREFECT_API_URL.")
    parser.add_argument(
        "--reset", action="store_true", help="what was changed on the server is as the settings say, too"
    )
    reset = parser.parse_args().reset
    settle_proxies(os.environ)
    url = PREFECT_API_URL.value()
    if not url:
        sys.exit("Expected PREFECT_API_URL to name a server, as http://127.0.0.1:4200/api. It is not set.")
    try:
        check_versions()
        set_up(load_settings(), reset=reset)
    except (httpx.TransportError, PixelmillError) as error:
        sys.exit(f"{error}" if isinstance(error, PixelmillError) else f"Expected a Prefect server at {url}. {error}.")
    print(f"Pools, queues, deployments and automations are on {url}.")


if __name__ == "__main__":
    main()
