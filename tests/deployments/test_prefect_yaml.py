"""deployments/prefect.yaml says what Prefect understands, and names what exists. Prefect ignores what it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    WorkPoolConfig,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.flows import load_flow_from_entrypoint
from prefect.server.schemas.schedules import CronSchedule
from prefect.utilities.schema_tools.validation import validate
from prefect.workers.process import ProcessVariables

from deployments.deploy import PREFECT_FILE
from deployments.hours import SLUGS, hours_of
from deployments.set_up import queues_of
from settings import RunSettings, Settings, WorkerSettings
from tests.support.deployed import misfits
from tests.support.prefect_server import ROOT

CONFIG = yaml.safe_load(PREFECT_FILE.read_text())
DEPLOYMENTS: list[dict[str, Any]] = CONFIG["deployments"]
DEFAULTS = {name: hours for name in SLUGS if (hours := hours_of(name, Settings()))}
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])


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


def test_prefect_knows_every_key() -> None:
    """Each key, at each level, is one of Prefect's models, and its value is of the right type."""
    assert list(problems(CONFIG)) == []


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ([], "deployment", []),
        (["deployments", 0], "concurency_limit", 1),
        (["deployments", 0], "parameters", "deadline"),
        (["deployments", 0, "concurrency_limit"], "strategy", "ENQUEUE"),
        (["deployments", 0, "concurrency_limit"], "collision_strategy", "CANCEL_OLD"),
        (["deployments", 0, "work_pool"], "queue", "gpu0"),
        (["deployments", 3, "work_pool", "job_variables"], "environment", {}),
        (["deployments", 3, "work_pool", "job_variables"], "stream_output", "perhaps"),
        (["deployments", 3, "work_pool", "job_variables"], "envs", {"CUDA_VISIBLE_DEVICES": "0"}),
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
    """`nightly`, `vectorize`, `demo`, one `embed` for each pool, `deliver`, `evaluate`, `maintain`, `index`, `digest`."""
    assert [deployment["name"] for deployment in DEPLOYMENTS] == [
        "nightly",
        "vectorize",
        "demo",
        "embed-cpu",
        "embed-gpu",
        "deliver",
        "evaluate",
        "maintain",
        "index",
        "digest",
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


@pytest.mark.parametrize("name", SLUGS)
def test_what_runs_by_itself_has_all_that_its_flow_needs(name: str) -> None:
    """Nobody is there at night to add a parameter, or to read that one is wrong."""
    deployment = next(deployment for deployment in DEPLOYMENTS if deployment["name"] == name)
    parameters = deployment.get("parameters", {})
    flow_of(deployment).validate_parameters(parameters)
    settings = {name: value for name, value in parameters.items() if name in RunSettings.model_fields}
    assert settings == parameters
    RunSettings(**settings)


@pytest.mark.parametrize(("name", "days", "hour"), [("nightly", 1, 22), ("maintain", 7, 12), ("index", 1, 6)])
def test_what_runs_by_itself_comes_when_it_should(name: str, days: int, hour: int) -> None:
    """By default: nightly once a day, eight hours before its deadline; maintain once a week, by day; index after the night."""
    cron, timezone = DEFAULTS[name]
    dates = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(3))
    first, second, third = (date.astimezone(ZoneInfo(timezone)) for date in dates)
    assert (third - second).days == (second - first).days == days
    assert first.hour == hour


def test_prefects_own_command_leaves_schedules_alone() -> None:
    """`prefect deploy` replaces the schedules of a deployment by those of the file: there are none."""
    assert not [deployment["name"] for deployment in DEPLOYMENTS if "schedules" in deployment]
    assert set(SLUGS) < {deployment["name"] for deployment in DEPLOYMENTS}


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
