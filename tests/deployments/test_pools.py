"""`embed` in pools of docker and kubernetes: a server takes what deployments/ and runs say, and workers make jobs of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.utilities.templating import find_placeholders

from deployments.set_up import CONTAINERS, kind_of
from flows._workers import variables_for
from tests.support.jobs import configuration_of, job_of, start
from tests.support.prefect_server import ROOT, PrefectServer

FILE = "deployments/pools/prefect.yaml"
POOLS = ("docker", "docker-gpu", "kubernetes", "kubernetes-gpu")
KINDS = ("docker", "kubernetes")
WORKERS = [{"name": pool, "device": "cuda:1", "work_pool": pool, "work_queue": "one"} for pool in POOLS]
DEVICES = ("cpu", "cuda:1", "cuda", "auto")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server without the internet, set up as a person does it whose [[workers]] name pools of containers."""
    with PrefectServer(tmp_path_factory.mktemp("prefect"), HTTPS_PROXY="http://127.0.0.1:9") as server:
        variables = server.env | {"PIXELMILL_WORKERS": json.dumps(WORKERS)}
        for _ in range(2):
            subprocess.run([sys.executable, "deployments/set_up.py"], cwd=ROOT, env=variables, check=True, timeout=300)
        yield server


@pytest.fixture
def client(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with server.used(), get_client(sync_client=True) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_uses_what_it_offers(kind: str) -> None:
    """Each variable goes into the job, and each place in the job is a variable: a pool page offers nothing in vain."""
    _, template = kind_of(kind)
    used = {placeholder.name for placeholder in find_placeholders(template["job_configuration"])}
    assert used | {"env"} == set(template["variables"]["properties"])  # Prefect adds that to the job's `env` by itself
    assert kind_of(f"{kind}-gpu") == (kind, template)


def test_other_pools_are_of_processes() -> None:
    """A name without a template is that of a pool of processes, as before."""
    assert {kind_of(pool)[0] for pool in ("cpu", "gpu", "attic", "prefect")} == {"process"}


@pytest.mark.system
@pytest.mark.parametrize("pool", POOLS)
def test_set_up_makes_pool_queue_and_deployment(client: SyncPrefectClient, pool: str) -> None:
    """Of the type that the name says, with the worker's queue; the code is where the image has it."""
    assert client.read_work_pool(pool).type == pool.removesuffix("-gpu")
    assert client.read_work_queue_by_name("one", work_pool_name=pool).concurrency_limit == 1
    deployment = client.read_deployment_by_name(f"embed/embed-{pool}")
    (step,) = deployment.pull_steps or []
    workdir = [
        line.split()[1] for line in (ROOT / "deployments/Dockerfile").read_text().splitlines() if "WORKDIR" in line
    ]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": workdir[-1]}}
    assert (deployment.entrypoint, deployment.work_pool_name) == ("flows/embed.py:embed", pool)


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_a_template_fits_the_server_and_the_worker(server: PrefectServer, kind: str) -> None:
    """Variables that the server's own template of this type has too are of the same type; fields are the worker's."""
    view = httpx.get(f"{server.url}/collections/views/aggregate-worker-metadata").raise_for_status().json()
    default = view[f"prefect-{kind}"][kind]["default_base_job_configuration"]["variables"]["properties"]
    _, template = kind_of(kind)
    ours = template["variables"]["properties"]
    assert {name: ours[name]["type"] for name in ours.keys() & default} == {
        name: default[name]["type"] for name in ours.keys() & default
    }
    assert set(template["job_configuration"]) <= set(configuration_of(kind).model_fields)
    assert {"image", "env", "image_pull_policy", "command"} <= ours.keys() & default.keys()


@pytest.mark.system
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pool", POOLS)
def test_the_server_takes_what_a_run_sends(client: SyncPrefectClient, pool: str, device: str) -> None:
    """A run's job variables pass the pool's schema, and reach the job beside those of the pool and the deployment."""
    with temporary_settings({PREFECT_HOME: Path("/of/the/worker")}):
        env = job_of(client, start(client, pool, variables_for(device))).env
    assert env["PIXELMILL_WEIGHTS__CACHE_DIR"] == "/cache/pixelmill/weights"
    assert env.get("CUDA_VISIBLE_DEVICES") == {"cpu": "", "cuda:1": "1"}.get(device)
    assert env["PREFECT_API_URL"].endswith("/api")
    assert env["PREFECT_HOME"] == "/tmp/prefect"  # the worker's is no folder of the image


@pytest.mark.system
@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_pools_of_processes_take_it_too(client: SyncPrefectClient, pool: str) -> None:
    """What the run says of its device counts, whatever the deployment says."""
    assert job_of(client, start(client, pool, variables_for("cuda:1"))).env["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.system
def test_a_deployment_hides_gpus_where_no_run_names_one(client: SyncPrefectClient) -> None:
    """`embed-cpu` for device "auto" sees none."""
    assert job_of(client, start(client, "cpu", variables_for("auto"))).env["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.system
@pytest.mark.parametrize(
    ("pool", "variables", "told"),
    [
        ("docker", {"evn": {}}, "'evn' was unexpected"),
        ("docker", {"env.CUDA_VISIBLE_DEVICES": "0"}, "'env.CUDA_VISIBLE_DEVICES' was unexpected"),
        ("docker", {"env": {"CUDA_VISIBLE_DEVICES": 0}}, "0 is not of type 'string'"),
        ("docker", {"image_pull_policy": "ifnotpresent"}, "field 'image_pull_policy'"),
        ("docker", {"volumes": "weights:/cache"}, "field 'volumes'"),
        ("docker-gpu", {"device_requests": [{"capability": [["gpu"]]}]}, "'capability' was unexpected"),
        ("kubernetes", {"gpu": 1}, "'gpu' was unexpected"),
        ("kubernetes-gpu", {"gpus": "1"}, "field 'gpus'"),
        ("kubernetes", {"tolerations": [{"efect": "NoSchedule"}]}, "'efect' was unexpected"),
        ("kubernetes", {"node_selector": {"gpu": True}}, "True is not of type 'string'"),
    ],
)
def test_the_server_refuses_a_slip(client: SyncPrefectClient, pool: str, variables: dict[str, Any], told: str) -> None:
    """A name that the pool has not, or a value of another type, is refused when the run is made, and says which."""
    with pytest.raises(PrefectHTTPStatusError) as refused:
        start(client, pool, variables)
    assert refused.value.response.status_code == 422
    assert told in refused.value.response.json()["detail"]


@pytest.mark.system
@pytest.mark.parametrize(
    ("slip", "told"),
    [("imaeg=pixelmill:2", "'imaeg' was unexpected"), ("gpus=many", "'many' is not of type 'integer'")],
)
def test_deploying_refuses_a_slip(server: PrefectServer, slip: str, told: str) -> None:
    """So is one that a person deploys."""
    with pytest.raises(AssertionError) as refused:
        server.prefect("deploy", "--prefect-file", FILE, "--name", "embed-kubernetes", "--job-variable", slip)
    assert told in str(refused.value).replace("\\", "")


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_prefects_command_makes_the_pool(server: PrefectServer, client: SyncPrefectClient, kind: str) -> None:
    """`prefect work-pool create --base-job-template` with our file makes the same pool."""
    file = CONTAINERS / f"{kind}.json"
    server.prefect("work-pool", "create", f"by-hand-{kind}", "--type", kind, "--base-job-template", str(file))
    pools = client.read_work_pool(f"by-hand-{kind}"), client.read_work_pool(kind)
    assert pools[0].base_job_template == pools[1].base_job_template == json.loads(file.read_text())


@pytest.mark.system
@pytest.mark.parametrize("pool", ["docker", "docker-gpu"])
def test_docker_gets_a_container_with_the_weights_alone(client: SyncPrefectClient, pool: str) -> None:
    """What docker-py makes of it: image, command, one volume, GPUs as they were asked for, nothing privileged."""
    from docker.models.containers import _create_container_args
    from prefect_docker.worker import DockerWorker

    job = job_of(client, start(client, pool, variables_for("cuda:1")))
    given = DockerWorker(work_pool_name=pool)._build_container_settings(FakeVersion(), job)
    made = _create_container_args({**given, "version": "1.50"})
    host = made["host_config"]
    assert (made["image"], made["command"]) == ("pixelmill", "prefect flow-run execute")
    assert host["Binds"] == ["pixelmill-weights:/cache"]
    assert (host["Init"], host["AutoRemove"], host.get("Privileged", False)) == (True, True, False)
    gpus = [{"Driver": "nvidia", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}]
    assert host["DeviceRequests"] == (gpus if pool == "docker-gpu" else [])
    assert job._determine_image_pull_policy().value == "IfNotPresent"


@pytest.mark.system
@pytest.mark.parametrize("pool", ["kubernetes", "kubernetes-gpu"])
def test_kubernetes_gets_a_job_that_it_takes(client: SyncPrefectClient, pool: str) -> None:
    """Its own schema has nothing against the Job, without an unknown field; each volume that is mounted is there."""
    import kubernetes_validate

    job = manifest_of(client, start(client, pool, variables_for("cuda:1")))
    kubernetes_validate.validate(job, "1.34", strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["args"]) == ("pixelmill", ["prefect", "flow-run", "execute"])
    assert {"name": "CUDA_VISIBLE_DEVICES", "value": "1"} in container["env"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1 if pool == "kubernetes-gpu" else 0}
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]]
    claim = yaml.safe_load((CONTAINERS / "weights-claim.yaml").read_text())
    assert pod["volumes"] == [{"name": "weights", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}]
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    kubernetes_validate.validate(claim, "1.34", strict=True)


@pytest.mark.system
def test_kubernetes_takes_what_a_person_may_set(client: SyncPrefectClient) -> None:
    """Every variable of the pool, set, gives a Job that Kubernetes takes, with each value in its place."""
    import kubernetes_validate

    given = {
        "image": "registry.example/pixelmill:1", "image_pull_policy": "Always", "image_pull_secrets": [{"name": "login"}],
        "namespace": "photos", "env": {"A": "b"}, "secret": "keys", "weights_claim": "claim", "gpus": 2,
        "cpu_request": "500m", "cpu_limit": "4", "memory_request": "1Gi", "memory_limit": "16Gi",
        "node_selector": {"gpu": "yes"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "service_account_name": "reader", "finished_job_ttl": 60, "name": "nightly", "labels": {"team": "photos"},
        "command": "prefect flow-run execute",
    }  # fmt: skip
    assert given.keys() == kind_of("kubernetes")[1]["variables"]["properties"].keys()
    job = manifest_of(client, start(client, "kubernetes-gpu", given))
    kubernetes_validate.validate(job, "1.34", strict=True)
    flat = json.dumps(job)
    names = ("registry.example/pixelmill:1", "login", "photos", "keys", "claim", "500m", "16Gi", "reader", "nightly-")
    assert all(f'"{name}"' in flat for name in names)


@pytest.mark.system
def test_kubernetes_refuses_a_wrong_place(client: SyncPrefectClient) -> None:
    """The check above sees a field that Kubernetes does not know, and a value of another type."""
    import kubernetes_validate

    job = manifest_of(client, start(client, "kubernetes", {}))
    job["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.34", strict=True)


class FakeVersion:
    """A Docker daemon that says its version, and nothing else."""

    def version(self) -> dict[str, str]:
        return {"Version": "28.0.0"}


def manifest_of(client: SyncPrefectClient, run: FlowRun) -> dict[str, Any]:
    """The Job, without the two fields that Prefect insists on in a place where Kubernetes ignores them."""
    job: dict[str, Any] = job_of(client, run).job_manifest
    for ignored in ("parallelism", "completions"):
        del job["spec"]["template"]["spec"][ignored]
    return job
