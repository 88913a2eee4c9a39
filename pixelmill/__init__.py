"""Pixelmill mills growing image collections into embedding matrices, every night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixelmill.store.reader import Store as Store

__all__ = ["Store", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`pixelmill.Store`, imported when it is asked for: the command line starts without NumPy."""
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pixelmill.store.reader import Store

    return Store
