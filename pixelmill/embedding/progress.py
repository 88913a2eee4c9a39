"""Who is told how far embedding has come: whoever listens around it, however deep it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OnEmbedded = Callable[[str, int], None]
"""Called with the name of a model and how many more images it has embedded, in the thread that embeds."""

_listener: ContextVar[OnEmbedded | None] = ContextVar("on_embedded", default=None)


@contextmanager
def telling(on_embedded: OnEmbedded) -> Iterator[None]:
    """Have `on_embedded` told what is embedded in the block, also in threads that `watch.calls.answer` calls for it."""
    token = _listener.set(on_embedded)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(model: str, images: int) -> None:
    """Say that a model has embedded so many more images."""
    if (on_embedded := _listener.get()) is not None:
        on_embedded(model, images)
