"""`[weights]`: where model weights are kept and where they come from."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from settings.group import Group, LocalPath, as_local, cache_folder

NOT_SHOWN = "login_in_address"
"""The kind of error whose input is not shown."""


class WeightsSettings(Group):
    """`mirrors` maps an upstream host ("huggingface.co", "*" for every one) to an http(s) address or a folder; one
    address or folder alone, such as a bundle, is the mirror of every host."""

    cache_dir: LocalPath = Field(default_factory=partial(cache_folder, "weights"))
    mirrors: dict[str, str] | str = Field(default_factory=dict)
    offline: bool = False

    @field_validator("mirrors")
    @classmethod
    def _mapped(cls, given: dict[str, str] | str) -> dict[str, str]:
        mirrors = given if isinstance(given, dict) else {"*": given}
        return {host: _checked(place) for host, place in mirrors.items()}


def _checked(place: str) -> str:
    """A mirror that another process, in another folder, finds as well, and that tells nobody a password."""
    if not place.startswith(("http://", "https://", "file:")):
        return str(as_local(place).absolute())
    return without_login(place)


def without_login(address: str) -> str:
    """An address that holds no password, which would travel with a run to its workers and into messages."""
    if "@" in urlsplit(address).netloc:
        raise PydanticCustomError(NOT_SHOWN, "Expected an address without user and password; they belong into ~/.netrc")
    return address
