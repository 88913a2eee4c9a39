"""Pixelmill mills growing image collections into embedding matrices, every night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixelmill.version import VERSION

if TYPE_CHECKING:
    from pixelmill.api.delivering import deliver as deliver
    from pixelmill.api.embedding import embed as embed
    from pixelmill.api.loaded import release_models as release_models
    from pixelmill.api.own import own_model as own_model
    from pixelmill.api.reports import DryRunReport as DryRunReport
    from pixelmill.api.reports import RunReport as RunReport
    from pixelmill.api.results import SearchResults as SearchResults
    from pixelmill.api.running import run as run
    from pixelmill.api.store import Store as Store
    from pixelmill.errors import PixelmillError as PixelmillError

__all__ = [
    "DryRunReport", "PixelmillError", "RunReport", "SearchResults", "Store", "__version__", "deliver", "embed",
    "own_model", "release_models", "run",
]  # fmt: skip
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """What is offered, imported when it is asked for: the command line starts without NumPy."""
    if name == "run":
        import pixelmill.run as run

        return run
    if name == "deliver":
        import pixelmill.deliver as deliver

        return deliver
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pixelmill.api as api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
