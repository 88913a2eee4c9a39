"""What Pixelmill needs on a Prefect server: work pools, their queues, deployments, automations. Makes nothing twice.

    python deployments/set_up.py    for the server of PREFECT_API_URL, after an installation or an upgrade

What a person has paused stays paused: a deployment, a queue, an automation.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
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

from pixelmill.errors import PixelmillError
from pixelmill.proxies import settle_proxies
from settings import Settings, load_settings

ROOT = Path(__file__).parent.parent
PREFECT_FILE = "deployments/prefect.yaml"
CONTAINERS = ROOT / "deployments" / "pools"
"""What pools of containers are made from: docker and kubernetes, and docker-gpu and kubernetes-gpu."""
ZOMBIES = ROOT / "deployments" / "automations" / "crash-zombies.yaml"
POOLS = ("cpu", "gpu")


def set_up(settings: Settings) -> None:
    """Make, or bring up to date, all of it. Exits with Prefect's words when it refuses a deployment."""
    with get_client(sync_client=True) as client:
        pools = queues_of(settings, count_gpus())
        for pool, queues in pools.items():
            make_pool(client, pool)
            for queue in queues:
                make_queue(client, pool, queue)
        deploy(client, pools)
        install_automation(client, ZOMBIES)


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


def make_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        kind, template = kind_of(name)
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))


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


def deploy(client: SyncPrefectClient, pools: Collection[str] = ()) -> None:
    """All of prefect.yaml, and `embed` for those of `pools` that are of containers, as they were paused."""
    paused = [deployment.id for deployment in client.read_deployments() if deployment.paused]
    _prefect_deploy(PREFECT_FILE, "--all")
    contained = [f"--name=embed-{pool}" for pool in pools if kind_of(pool)[0] != ProcessWorker.type]
    if contained:
        _prefect_deploy("deployments/pools/prefect.yaml", *contained)
    for deployment in paused:
        client.pause_deployment(deployment)


def _prefect_deploy(file: str, *which: str) -> None:
    """By Prefect's own command, which forgets what was paused."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", file, *which]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")


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
    settle_proxies(os.environ)
    url = PREFECT_API_URL.value()
    if not url:
        sys.exit("Expected PREFECT_API_URL to name a server, as http://127.0.0.1:4200/api. It is not set.")
    try:
        set_up(load_settings())
    except (httpx.TransportError, PixelmillError) as error:
        sys.exit(f"{error}" if isinstance(error, PixelmillError) else f"Expected a Prefect server at {url}. {error}.")
    print(f"Pools, queues, deployments and automations are on {url}.")


if __name__ == "__main__":
    main()
