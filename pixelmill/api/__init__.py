"""What is called from Python: `run`, `embed`, `deliver`, `Store` and what they give. `pixelmill` offers it, lazily."""

from __future__ import annotations

from pixelmill.api.delivering import deliver
from pixelmill.api.embedding import embed
from pixelmill.api.loaded import release_models
from pixelmill.api.own import own_model
from pixelmill.api.reports import DryRunReport, RunReport
from pixelmill.api.results import SearchResults
from pixelmill.api.running import run
from pixelmill.api.store import Store
from pixelmill.errors import PixelmillError

__all__ = [
    "DryRunReport", "PixelmillError", "RunReport", "SearchResults", "Store", "deliver", "embed", "own_model",
    "release_models", "run",
]  # fmt: skip
