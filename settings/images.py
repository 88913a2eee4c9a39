"""`[images]`: what counts as an image, and how it becomes pixels."""

from __future__ import annotations

from pixelmill.run.options import ImageOptions
from settings.group import Group


class ImageSettings(ImageOptions, Group):
    """The same for every model and run."""
