"""Where a weights file is really asked for: upstream, or the mirror that the settings or HF_ENDPOINT name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pixelmill.paths import local_path
from pixelmill.sources.address import is_http, shown

HUB = "huggingface.co"


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: an http(s) URL or a local path, and whether the Hugging Face token may be shown there.

    `folder` is the mirror folder that a local path lies in.
    """

    address: str
    trusted: bool = False
    folder: str = ""

    @property
    def is_http(self) -> bool:
        """Whether this is asked for over the network."""
        return self.address.startswith(("http://", "https://"))

    @property
    def shown(self) -> str:
        """The address as it may be shown."""
        return without_secrets(self.address)


def checked_mirrors(given: Mapping[str, str] | str) -> dict[str, str]:
    """`mirrors` as another process, in another folder, finds them; one alone is that of every host. Raises ValueError,
    in words, for a folder that is none, and for an address with a password."""
    mirrors = {"*": given} if isinstance(given, str) else given
    return {host: _checked(place) for host, place in mirrors.items()}


def _checked(place: str) -> str:
    if not place.startswith(("http://", "https://", "file:")):
        return str(local_path(place).absolute())
    return without_login(place)


def without_login(address: str) -> str:
    """An address that holds no password, which would travel with a run to its workers and into messages. Raises
    ValueError for one that does."""
    if "@" in urlsplit(address).netloc:
        raise ValueError("Expected an address without user and password; they belong into ~/.netrc")
    return address


def locate(url: str, mirrors: Mapping[str, str]) -> Place:
    """The place to ask for upstream `url`.

    A key of `mirrors` is a host (`huggingface.co`), an URL prefix (`https://huggingface.co/laion`) or `*` for every
    host; the longest that fits wins. What follows the key in the URL follows the mirror's address; under `*` the host's
    name comes first. A mirror is an http(s) URL or a folder.
    """
    host, path = urlsplit(url).netloc, urlsplit(url).path
    fitting = [key for key in mirrors if key != "*" and _fits(key, url)]
    if fitting:
        key = max(fitting, key=lambda k: len(_without_scheme(k)))
        return _under(mirrors[key], _without_scheme(url)[len(_without_scheme(key).rstrip("/")) :])
    if "*" in mirrors:
        return _under(mirrors["*"], f"/{place_under('', url)}")
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    if host == HUB:
        return Place(f"{endpoint}{path}" if endpoint else url, trusted=True)
    return Place(url)


def _fits(key: str, url: str) -> bool:
    prefix = _without_scheme(key).rstrip("/")
    return (_without_scheme(url) + "/").startswith(prefix + "/")


def _without_scheme(url: str) -> str:
    return url.partition("://")[2] or url


def _under(base: str, rest: str) -> Place:
    base = base.rstrip("/")
    if base.startswith(("http://", "https://")):
        return Place(base + rest)
    folder = unquote(urlsplit(base).path) if base.startswith("file://") else os.path.expanduser(base)  # noqa: PTH111
    return Place(folder + unquote(rest), folder=folder)


def place_under(folder: str, url: str) -> str:
    """Where a `*` mirror keeps the file of an upstream URL: the host's name, then the path."""
    parts = urlsplit(url)
    return f"{folder}{parts.netloc}{unquote(parts.path)}"


def without_secrets(url: str) -> str:
    """A URL as it may be shown: without user, password and query, in which signatures travel."""
    return shown(url) if is_http(url) else url
