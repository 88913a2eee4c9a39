"""Commands as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Done = subprocess.CompletedProcess[str]
Pixelmill = Callable[..., Done]


@pytest.fixture
def pixelmill() -> Pixelmill:
    """Run the command; its output, unless it goes elsewhere. Variables that are None are taken away."""

    def run(*arguments: str, variables: dict[str, str | None] | None = None, **how: Any) -> Done:
        environment = {**os.environ, **(variables or {})}
        return subprocess.run(
            [sys.executable, "-m", "pixelmill", *arguments], text=True, timeout=240, errors="replace",
            env={name: value for name, value in environment.items() if value is not None},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def some_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a store without a row."""
    from pixelmill.store.commit import StoreWriter

    folder = tmp_path_factory.mktemp("store")
    StoreWriter(folder).close()
    return str(folder)
