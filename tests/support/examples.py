"""The scripts of examples/ as modules; they import each other by their bare names, as scripts do."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def example(name: str) -> Any:
    """The module of examples/NAME.py."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(name)


def captions() -> dict[str, str]:
    """What each picture in examples/images shows, by its path below that folder."""
    with (EXAMPLES / "captions.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["caption"] for row in csv.DictReader(file)}
