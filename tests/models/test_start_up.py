"""What loading a model costs before the first picture: the weights read once, no other model library imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pixelmill import catalog
from pixelmill.models.load import load_file
from pixelmill.models.weights import WeightsCache, sha256_of
from tests.support.checkpoints import TinyModels

BACKENDS = ("openai_clip", "open_clip", "torchvision", "timm")
LIBRARIES = {"clip", "open_clip", "timm"}
NEEDED = {
    "openai_clip": {"clip"},
    "open_clip": {"open_clip", "timm", "transformers"},
    "torchvision": set[str](),
    "timm": {"timm"},
}
NEVER = {"prefect", "transformers", "pandas", "matplotlib", "faiss", "fastapi", "dask", "ray"}


def _bytes_read() -> int:
    """What this process has asked the kernel to read, in bytes; pages of mapped files do not count."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines())
    return int(lines["rchar"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_weights_are_read_once(backend: str, tiny: TinyModels, tmp_path: Path) -> None:
    """A file that was verified before is neither hashed nor read a second time when its model is loaded."""
    spec = getattr(tiny, backend)
    cache = tiny.cache(tmp_path / "cache")
    size = cache.fetch(spec.weights).path.stat().st_size
    load_file(spec, cache.fetch(spec.weights))  # what is imported and compiled on the way counts once
    before = _bytes_read()
    load_file(spec, WeightsCache(cache.cache_dir, offline=True).fetch(spec.weights))
    assert _bytes_read() - before < 1.3 * size
    sha256_of(cache.path_of(spec.weights))
    assert _bytes_read() - before > 0.9 * size, "reading is seen"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openai_clip_vit_b32", "open_clip_vit_b32_openai", "resnet18", "efficientnet_lite0"])
def test_a_model_imports_its_own_library_only(name: str) -> None:
    """A model of one backend imports no other backend's library, nor anything of flows or of the gallery."""
    code = (
        "import sys, json; from pixelmill import catalog; from pixelmill.models.load import instantiate;"
        f"instantiate(catalog.get({name!r})); print(json.dumps(sorted(n.partition('.')[0] for n in sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(json.loads(found.stdout))
    assert "torch" in imported
    assert imported & (NEVER | LIBRARIES) <= NEEDED[catalog.get(name).backend]
