"""`[web]`: what people open in a browser."""

from __future__ import annotations

from pydantic import Field

from settings.group import Group


class WebSettings(Group):
    """`url` is the address under which people reach the gallery; reports link to it when it is up."""

    url: str | None = Field(None, pattern=r"^https?://[^\s<>()]+$")
