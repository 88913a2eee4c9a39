"""deployments/prefect.yaml says what Prefect understands, and names what exists. Prefect ignores what it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.flows import load_flow_from_entrypoint
from prefect.server.schemas.schedules import CronSchedule
from prefect.utilities.schema_tools.validation import validate
from prefect.workers.process import ProcessVariables

from deployments.set_up import PREFECT_FILE, queues_of
from settings import RunSettings, Settings, WorkerSettings
from tests.support.deployed import misfits
from tests.support.prefect_server import ROOT

CONFIG = yaml.safe_load((ROOT / PREFECT_FILE).read_text())
DEPLOYMENTS: list[dict[str, Any]] = CONFIG["deployments"]
SCHEDULES = [(deployment, schedule) for deployment in DEPLOYMENTS for schedule in deployment.get("schedules", [])]
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
each_schedule = pytest.mark.parametrize(("deployment", "schedule"), SCHEDULES, ids=lambda part: part.get("slug"))


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    """Loaded as Prefect's worker does it."""
    return load_flow_from_entrypoint(str(ROOT / deployment["entrypoint"]))


def problems(config: dict[str, Any]) -> Iterator[str]:
    """What Prefect's own models refuse or would ignore, by place."""
    yield from misfits("", config, PrefectYamlModel)
    for deployment in config["deployments"]:
        name = deployment.get("name")
        yield from misfits(name, deployment, DeploymentConfig)
        pool = deployment.get("work_pool", {})
        yield from misfits(f"{name}.work_pool", pool, WorkPoolConfig)
        yield from misfits(f"{name}.job_variables", pool.get("job_variables", {}), ProcessVariables)
        if isinstance(limit := deployment.get("concurrency_limit"), dict):
            yield from misfits(f"{name}.concurrency_limit", limit, ConcurrencyLimitSpec)
            if limit.get("collision_strategy") not in list(ConcurrencyLimitStrategy):
                yield f"{name}.concurrency_limit: collision_strategy"
        for schedule in deployment.get("schedules", []):
            yield from misfits(f"{name}.schedules", schedule, RawScheduleConfig)


def test_prefect_knows_every_key() -> None:
    """Each key, at each level, is one of Prefect's models, and its value is of the right type."""
    assert list(problems(CONFIG)) == []


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ([], "deployment", []),
        (["deployments", 0], "concurency_limit", 1),
        (["deployments", 0], "parameters", "deadline"),
        (["deployments", 0, "schedules", 0], "time_zone", "UTC"),
        (["deployments", 0, "schedules", 0], "cron", None),
        (["deployments", 0, "concurrency_limit"], "strategy", "ENQUEUE"),
        (["deployments", 0, "concurrency_limit"], "collision_strategy", "CANCEL_OLD"),
        (["deployments", 0, "work_pool"], "queue", "gpu0"),
        (["deployments", 2, "work_pool", "job_variables"], "environment", {}),
        (["deployments", 2, "work_pool", "job_variables"], "stream_output", "perhaps"),
        (["deployments", 2, "work_pool", "job_variables"], "envs", {"CUDA_VISIBLE_DEVICES": "0"}),
    ],
)
def test_a_wrong_key_or_value_is_found(where: list[Any], key: str, value: object) -> None:
    """The check above sees a slip at each level."""
    config = deepcopy(CONFIG)
    place = config
    for step in where:
        place = place[step]
    place[key] = value
    assert any(key in problem or not value for problem in problems(config))


def test_the_deployments_are_those_of_the_documents() -> None:
    """`nightly`, `vectorize`, one `embed` for each pool, `maintain`, `index`."""
    assert [deployment["name"] for deployment in DEPLOYMENTS] == [
        "nightly",
        "vectorize",
        "embed-cpu",
        "embed-gpu",
        "maintain",
        "index",
    ]


@each_deployment
def test_an_entrypoint_is_a_flow(deployment: dict[str, Any]) -> None:
    """Each entrypoint loads, and is a flow."""
    assert isinstance(flow_of(deployment), Flow)


@each_deployment
def test_parameters_fit_the_flow(deployment: dict[str, Any]) -> None:
    """Parameters have names and types of the flow's signature."""
    given = deployment.get("parameters", {})
    schema = flow_of(deployment).parameters.model_dump()
    assert validate(given, schema, raise_on_error=False, ignore_required=True) == []
    assert set(given) <= set(schema["properties"])


@each_schedule
def test_a_schedule_has_all_that_its_flow_needs(deployment: dict[str, Any], schedule: dict[str, Any]) -> None:
    """Nobody is there at night to add a parameter, or to read that one is wrong."""
    parameters = deployment.get("parameters", {}) | schedule.get("parameters", {})
    flow_of(deployment).validate_parameters(parameters)
    settings = {name: value for name, value in parameters.items() if name in RunSettings.model_fields}
    assert settings == parameters
    RunSettings(**settings)


@each_schedule
def test_a_schedule_comes_when_it_should(deployment: dict[str, Any], schedule: dict[str, Any]) -> None:
    """nightly: once a day, eight hours before its deadline; maintain: once a week, by day; index: after the night. On a clock that is named."""
    assert schedule["timezone"] in available_timezones()
    cron = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    first, second, third = (date.astimezone(ZoneInfo(schedule["timezone"])) for date in asyncio.run(cron.get_dates(3)))
    days = {"nightly": 1, "maintain": 7, "index": 1}[deployment["name"]]
    assert (third - second).days == (second - first).days == days
    assert first.hour == {"nightly": 22, "maintain": 12, "index": 6}[deployment["name"]]


def test_what_runs_by_itself_has_a_schedule() -> None:
    """The night, the weekly maintenance and the index have one schedule each, by a name that a new deployment replaces."""
    assert [(deployment["name"], schedule["slug"]) for deployment, schedule in SCHEDULES] == [
        ("nightly", "nightly"),
        ("maintain", "weekly"),
        ("index", "daily"),
    ]


@each_deployment
def test_pools_and_queues_are_made_by_the_set_up(deployment: dict[str, Any]) -> None:
    """A deployment waits in a pool and a queue that deployments/set_up.py makes."""
    pool = deployment["work_pool"]
    queues = queues_of(Settings(), gpus=0)
    assert pool.get("work_queue_name", "default") in ["default", *queues[pool["name"]]]


def test_each_device_has_its_queue() -> None:
    """A queue for each GPU of this machine and for each of [[workers]], on other machines too; `default` is always there."""
    workers = (
        WorkerSettings(name="a", device="cuda:0", work_pool="gpu", work_queue="gpu0"),
        WorkerSettings(name="b", device="cuda:0", work_pool="gpu", work_queue="attic-gpu0"),
        WorkerSettings(name="c", work_pool="cpu"),
    )
    assert queues_of(Settings(workers=workers), gpus=2) == {"cpu": [], "gpu": ["attic-gpu0", "gpu0", "gpu1"]}
