"""`[web]`: what people open in a browser."""

from __future__ import annotations

from functools import partial

from pydantic import Field, SecretStr

from pixelmill.paths import cache_folder
from settings.group import Group, LocalPath


class WebSettings(Group):
    """`url` is the address under which people reach the gallery; reports link to it when it is up.

    `host` and `port` are where `pixelmill serve` listens. On anything but this machine's own addresses it asks for
    `token`. Thumbnails are kept in `cache_dir`, in at most `cache_gb`. `labels`: whether people may give pictures some.
    """

    url: str | None = Field(None, pattern=r"^https?://[^\s<>()]+$")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    token: SecretStr | None = None
    cache_dir: LocalPath = Field(default_factory=partial(cache_folder, "thumbnails"))
    cache_gb: float = Field(2.0, gt=0)
    max_upload_mb: float = Field(20.0, gt=0)
    uploads_per_minute: int = Field(30, ge=1)
    labels: bool = True
