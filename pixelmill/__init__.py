"""Pixelmill mills growing image collections into embedding matrices, every night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixelmill.version import VERSION

if TYPE_CHECKING:
    from pixelmill.store.reader import Store as Store

__all__ = ["Store", "__version__"]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """`pixelmill.Store`, imported when it is asked for: the command line starts without NumPy."""
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pixelmill.store.reader import Store

    return Store
