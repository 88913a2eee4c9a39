"""The whole of it on a machine without a network: a namespace with no route, weights from a bundle, nothing calls out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pixelmill import catalog
from pixelmill.models.own import own_spec
from pixelmill.models.pack import pack
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TINY_OPEN_CLIP, path_under, shaken
from tests.support.server import WeightsServer

ROOT = Path(__file__).parents[1]
TOKEN = "hf_sentinel_that_must_not_be_seen"
NET = ["unshare", "--map-root-user", "--net"]
WORDS = "https://models.example/words.safetensors"
NETWORK = "timm:mobilenetv3_small_050.lamb_in1k"
CANARY = """
import os, socket
def told(what):
    with open(os.environ["CANARY"], "a") as file: file.write(what + "\\n")
for name in ("connect", "connect_ex", "sendto"):
    def spy(self, *args, _real=getattr(socket.socket, name), _name=name):
        address = args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(("127.", "::1")):
            told(f"{_name} {address}")
        return _real(self, *args)
    setattr(socket.socket, name, spy)
def look(host, *args, _real=socket.getaddrinfo, **kwargs):
    if host not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1"):
        told(f"getaddrinfo {host!r}")
    return _real(host, *args, **kwargs)
socket.getaddrinfo = look
"""


def namespaces() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*NET, "true"], capture_output=True).returncode == 0


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with pictures, a bundle of two models that the real download path filled, and a settings file; an own CLIP
    by URL and a published network of timm's, random weights in the real formats."""
    import timm
    from open_clip import CLIP
    from safetensors.torch import save_file

    upstream = tmp_path / "upstream"
    (tmp_path / "words.json").write_text(json.dumps(TINY_OPEN_CLIP))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        save_file(shaken(CLIP(**TINY_OPEN_CLIP)).state_dict(), path_under(upstream, WORDS))
        published = catalog.get(NETWORK)
        module = shaken(timm.create_model("mobilenetv3_small_050"))
        save_file(module.state_dict(), path_under(upstream, published.weights.url))
    own = own_spec("words", backend="open_clip", architecture=str(tmp_path / "words.json"), checkpoint=WORDS)
    machine = tmp_path / "machine"
    with WeightsServer(upstream).running() as server:
        pack([own, published], WeightsCache(tmp_path / "cache", mirrors={"*": server.url}), machine / "bundle")
    shutil.rmtree(upstream)
    shutil.copytree(ROOT / "examples" / "images", machine / "images")
    shutil.copy(tmp_path / "words.json", machine / "words.json")
    (machine / "pixelmill.toml").write_text(
        '[weights]\nmirrors = "bundle/"\ncache_dir = "cache"\n'
        f'[models.words]\nbackend = "open_clip"\narchitecture = "words.json"\ncheckpoint = "{WORDS}"\n'
    )
    (machine / "canary").mkdir()
    (machine / "canary" / "sitecustomize.py").write_text(CANARY)
    return machine


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not namespaces(), reason="this kernel lets nobody make a network namespace")
def test_everything_works_without_a_route_and_nothing_calls_out(machine: Path) -> None:
    """Run, look, search by words, check and export where only the loopback is: all succeed, no process asks for a name or
    an address elsewhere, and the hub's token, which is set, is in no file and no output."""
    log = machine / "called"
    environment = {
        **os.environ, "HF_TOKEN": TOKEN, "CANARY": str(log), "HOME": str(machine / "home"),
        "PYTHONPATH": os.pathsep.join([str(machine / "canary"), str(ROOT)]), "PREFECT_HOME": str(machine / "prefect"),
    }  # fmt: skip
    for name in ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        environment.pop(name, None)  # what the program itself sees to
    models = f"efficientnet_lite0,words,{NETWORK}"
    lines = [
        f"run images --models {models} --store store --json",
        f"run images --models {models} --store by-prefect --prefect --json", "info store", "report store", "models",
        "weights list",
        "models check words", "search store --text 'a_boat' --model words --json", "search store --row 3 -k 3",
        "verify store --deep", "export store out.npy --models words --normalize",
    ]  # fmt: skip
    told = ""
    for line in lines:
        command = f"ip link set lo up; exec {sys.executable} -m pixelmill {line}"
        done = subprocess.run(
            [*NET, "sh", "-c", command], cwd=machine, env=environment, capture_output=True, text=True, timeout=600
        )
        told += done.stdout + done.stderr
        assert done.returncode == 0, (line, done.stdout[-1000:], done.stderr[-2000:])
        if line.startswith("run"):
            report = json.loads(done.stdout)
            assert {model["embedded"] for model in report["models"].values()} == {report["images"]["seen"]} != {0}
    assert not log.exists(), log.read_text()
    assert TOKEN not in told
    holding = [path for path in machine.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holding == []


@pytest.mark.slow
@pytest.mark.skipif(not namespaces(), reason="this kernel lets nobody make a network namespace")
def test_the_canary_sings(machine: Path) -> None:
    """Where something does call out, it is seen."""
    environment = {**os.environ, "CANARY": str(machine / "called"), "PYTHONPATH": str(machine / "canary")}
    code = "import urllib.request as r\ntry: r.urlopen('http://huggingface.co', timeout=2)\nexcept OSError: pass"
    subprocess.run([*NET, sys.executable, "-c", code], env=environment, check=True)
    assert "huggingface.co" in (machine / "called").read_text()
