"""Who is told how far a run has come: whoever listens around it, however deep it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SEEN = ""
"""Stands for a model where images are found, not embedded."""
OnImages = Callable[[str, int], None]
"""Called with the name of a model and how many more images it has embedded, in the thread that embeds; with SEEN for
those that were found in the sources."""

_listener: ContextVar[OnImages | None] = ContextVar("on_images", default=None)


@contextmanager
def telling(on_images: OnImages) -> Iterator[None]:
    """Have `on_images` told of images in the block, also in threads that `watch.calls.answer` calls for it."""
    token = _listener.set(on_images)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(model: str, images: int) -> None:
    """Say that a model has embedded so many more images, or that so many more were SEEN."""
    if (on_images := _listener.get()) is not None:
        on_images(model, images)
