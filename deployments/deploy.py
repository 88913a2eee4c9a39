"""Deployments: those of prefect.yaml and an `embed` for each pool, and the schedules of what runs by itself.

What set_up.py has made of them is noted in a variable of Prefect, so that it sees what a person has changed since.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, VariableCreate, VariableUpdate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.effective import describe, version_of
from deployments.hours import FIRST, FIRST_PARAMETERS, SLUGS, hours_of, in_words
from deployments.kept import Fields, Made, Merged, as_made, merge
from settings import Settings

ROOT = Path(__file__).parent.parent
PREFECT_FILE = ROOT / "deployments" / "prefect.yaml"
POOLS_FILE = ROOT / "deployments" / "pools" / "prefect.yaml"
NOTE = "pixelmill_set_up"
_PARAMETER = "parameter "
Config = dict[str, Any]
"""A deployment as prefect.yaml has it."""


def deploy(
    client: SyncPrefectClient, pools: Mapping[str, str], settings: Settings, *, reset: bool = False
) -> list[str]:
    """Make all, or bring it up to date; a line for each thing that stays as a person made it. `pools` have their types.

    With `reset`, what a person changed is as the settings say, too. Exits with Prefect's words when it refuses one.
    """
    note = _read_note(client)
    said: list[str] = []
    planned: list[tuple[Config, Merged]] = []
    for config in configs(pools, has_demo=os.access(ROOT, os.W_OK)):
        name, found = full_name(config), _find(client, config)
        if found and name not in note and config.pop("own_pool", False):
            said.append(f"{config['name']}: left alone, since it is not of set_up.py.")
            continue
        wanted, now = wanted_fields(config, settings), now_fields(found)
        made = as_made(now, now) if reset else note.get(name, first_made(config["name"], now))
        merged = merge(made, now, wanted)
        said += tell(config["name"], merged, wanted, found)
        planned.append((as_config(config, merged, found), merged))
    _prefect_deploy([config for config, _ in planned])
    for config, merged in planned:
        if config["name"] in SLUGS:
            _set_schedule(client, config, merged.fields)
        note[full_name(config)] = merged.made
    _write_note(client, note)
    return said


def configs(pools: Mapping[str, str], *, has_demo: bool = True) -> Iterator[Config]:
    """The deployments to make; `own_pool` marks those of pools that nothing is shipped for."""
    shipped, contained = (yaml.safe_load(file.read_text()) for file in (PREFECT_FILE, POOLS_FILE))
    by_name = {config["name"]: config for config in shipped["deployments"]}
    in_containers = {config["name"]: config | {"pull": contained["pull"]} for config in contained["deployments"]}
    yield from (config for name, config in by_name.items() if has_demo or name != "demo")
    for pool, kind in pools.items():
        name = f"embed-{pool}"
        if name in in_containers:
            yield in_containers[name]
        elif name not in by_name:
            like = by_name["embed-gpu"] if kind == ProcessWorker.type else in_containers["embed-docker"]
            yield like | {"name": name, "work_pool": {"name": pool}, "own_pool": True}


def full_name(config: Config) -> str:
    return f"{config['entrypoint'].rpartition(':')[2]}/{config['name']}"


def wanted_fields(config: Config, settings: Settings) -> dict[str, Any]:
    """What can be changed on the server, as shipped and as the settings say."""
    name, pool, limit = config["name"], config["work_pool"], config.get("concurrency_limit")
    parameters = dict(config.get("parameters", {}))
    if name == "nightly":
        parameters["deadline"] = settings.schedule.deadline or None
    fields = {
        "description": describe(name, config["description"], settings),
        "tags": sorted(config["tags"]),
        "pool": [pool["name"], pool.get("work_queue_name", "default")],
        "job variables": pool.get("job_variables", {}),
        "concurrency limit": [limit["limit"], limit["collision_strategy"]] if limit else None,
    }
    hours = hours_of(name, settings) if name in SLUGS else None
    schedule = {"hours": hours, "active": bool(settings.run.sources)} if hours else {}
    return fields | {_PARAMETER + key: value for key, value in parameters.items()} | schedule


def now_fields(found: DeploymentResponse | None) -> dict[str, Any]:
    """The same, as it is on the server."""
    if found is None:
        return {}
    limit, options = found.global_concurrency_limit, found.concurrency_options
    fields = {
        "description": found.description,
        "tags": sorted(found.tags),
        "pool": [found.work_pool_name, found.work_queue_name],
        "job variables": found.job_variables or {},
        "concurrency limit": [limit.limit, options.collision_strategy.value if options else None] if limit else None,
    }
    schedule = _schedule_of(found)
    told = {"hours": _hours(schedule), "active": schedule.active} if schedule else {}
    return fields | {_PARAMETER + key: value for key, value in found.parameters.items()} | told


def first_made(name: str, now: Fields) -> Made:
    """What 1.0.0 made, which left no note. What is not as shipped then is a person's, but for the description."""
    if not now:
        return {}
    first = {"hours": FIRST[name], "active": True} if name in FIRST else {}
    return as_made({**first, "description": now["description"]}, [*first, "description"])


def tell(name: str, merged: Merged, wanted: Fields, found: DeploymentResponse | None) -> Iterator[str]:
    """What stays as a person made it, a line each."""
    kept, fields = merged.kept, merged.fields
    if found and found.paused:
        yield f"{name}: stays paused."
    for field in kept:
        if field == "hours" and not fields["hours"]:
            yield f"{name}: its schedule stays deleted; [schedule] says {in_words(wanted.get('hours'))}."
        elif field == "hours":
            says = in_words(wanted.get("hours"))
            yield f"{name}: its hours stay {in_words(fields['hours'])}, as set on the server; [schedule] says {says}."
        elif field == "active" and fields["hours"]:
            yield f"{name}: its schedule stays {'active' if fields['active'] else 'paused'}, as set on the server."
        elif field != "active":
            yield f"{name}: {field} as changed on the server."
    if fields.get("hours") and not fields["active"] and "active" not in kept:
        yield f"{name}: its schedule is paused until there are sources in the settings and set_up.py runs again."
    if found and (own := sum(schedule.slug != SLUGS.get(name) for schedule in found.schedules)):
        yield f"{name}: {own} schedule{'s' if own > 1 else ''} of your own stay{'' if own > 1 else 's'}."


def as_config(config: Config, merged: Merged, found: DeploymentResponse | None) -> Config:
    """What is handed to `prefect deploy`: all but schedules, which it would replace."""
    fields = merged.fields
    (pool, queue), limit = fields["pool"], fields["concurrency limit"]
    parameters = dict(found.parameters) if found else {}
    parameters |= {key.removeprefix(_PARAMETER): value for key, value in fields.items() if key.startswith(_PARAMETER)}
    return {key: value for key, value in config.items() if key not in ("own_pool", "concurrency_limit")} | {
        "description": fields["description"],
        "tags": fields["tags"],
        "parameters": {key: value for key, value in parameters.items() if value is not None},
        "work_pool": {"name": pool, "work_queue_name": queue, "job_variables": fields["job variables"]},
        "paused": found.paused if found else False,  # else it forgets what was paused
        "version": version_of(ROOT),
        "version_type": "prefect:simple",  # not the remote's address, which may hold a password
    } | ({"concurrency_limit": {"limit": limit[0], "collision_strategy": limit[1]}} if limit else {})  # fmt: skip


def _find(client: SyncPrefectClient, config: Config) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(full_name(config))
    except ObjectNotFound:
        return None


def _prefect_deploy(deployments: list[Config]) -> None:
    """By Prefect's own command."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"name": "pixelmill", "deployments": deployments}, file)
        file.flush()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", file.name, "--all"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")


def _schedule_of(found: DeploymentResponse) -> DeploymentSchedule | None:
    slug = SLUGS.get(found.name)
    return next((schedule for schedule in found.schedules if slug and schedule.slug == slug), None)


def _hours(schedule: DeploymentSchedule) -> list[str]:
    when = schedule.schedule
    cron = when.cron if isinstance(when, CronSchedule) else when.model_dump_json()
    return [cron, getattr(when, "timezone", None) or "UTC"]


def _set_schedule(client: SyncPrefectClient, config: Config, fields: Fields) -> None:
    """Make, change or delete the one schedule that is set_up.py's."""
    deployment = client.read_deployment_by_name(full_name(config))
    found, hours, active = _schedule_of(deployment), fields.get("hours"), bool(fields.get("active"))
    if hours is None:
        if found:
            client.delete_deployment_schedule(deployment.id, found.id)
    elif found is None:
        when = CronSchedule(cron=hours[0], timezone=hours[1])
        made = DeploymentScheduleCreate(schedule=when, active=active, slug=SLUGS[deployment.name])
        client.create_deployment_schedules(deployment.id, [made])
    else:
        client.update_deployment_schedule(
            deployment.id, found.id, active=active,
            schedule=None if hours == _hours(found) else CronSchedule(cron=hours[0], timezone=hours[1]),
            parameters={} if found.parameters == FIRST_PARAMETERS else None,
        )  # fmt: skip


def _read_note(client: SyncPrefectClient) -> dict[str, Made]:
    """By full name of the deployment. What somebody else has written there is no note."""
    variable = client.read_variable_by_name(NOTE)
    return variable.value if variable and isinstance(variable.value, dict) else {}


def _write_note(client: SyncPrefectClient, note: Mapping[str, Made]) -> None:
    value: dict[str, Any] = dict(note)
    if client.read_variable_by_name(NOTE):
        client.update_variable(VariableUpdate(name=NOTE, value=value))
    else:
        client.create_variable(VariableCreate(name=NOTE, value=value))
