"""Offers the models of `tests.remote.models` to the process that imports this; PyTorch is not imported before one is
loaded. Programs started with `environment(folder)` import it by themselves, workers of a cluster among them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pixelmill.models.backends import register
from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.models.weights import CachedFile
from tests.support.prefect_server import ROOT

NAME = "far"
LOG, ODD = "REMOTE_LOG", "REMOTE_ODD"
"""Variables of a worker: a file to which it adds a line for each batch, with its number of pictures; whether its vectors
are others than everybody's."""


class _Far:
    """A backend."""

    def load(self, spec: ModelSpec, file: CachedFile) -> Any:
        from tests.remote.models import Far

        return Far(spec, file.sha256)

    def instantiate(self, spec: ModelSpec) -> Any:
        from tests.remote.models import Far

        return Far(spec, "")


register(NAME, _Far())


def spec_of(name: str, folder: Path, dim: int = 12) -> ModelSpec:
    """A model whose weights are the file `weights` of a folder; its vectors are as long as you like."""
    (folder / "weights").write_bytes(b"weights")
    return ModelSpec(
        name=name, backend=NAME, architecture=name, pretrained="", dim=dim, image_size=8, parameters=0, licence="none",
        weights=WeightsSource(f"file:{folder}/weights"),
    )  # fmt: skip


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of programs that have these models."""
    start = folder / "startup" / "sitecustomize.py"
    start.parent.mkdir(exist_ok=True)
    start.write_text("import tests.remote.backend\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(start.parent), str(ROOT), *sys.path[1:]]), **variables}


def embedded(log: Path) -> int:
    """How many pictures the models of processes with this log were given."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0
