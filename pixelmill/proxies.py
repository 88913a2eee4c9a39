"""The proxies that the environment names, made fit for the clients here: this machine is reached without any."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Final

from pixelmill.errors import SettingsError

_HERE: Final = ("127.0.0.1", "localhost", "::1")
_NAMES: Final = ("http_proxy", "https_proxy", "all_proxy")


def settle_proxies(environment: MutableMapping[str, str]) -> None:
    """Let nothing on this machine be asked for through a proxy, and `socks://`, as desktops write it, be SOCKS 5."""
    if not any(_named(environment)):
        return
    for name, value in list(_named(environment)):
        environment[name] = re.sub("^socks://", "socks5://", value.strip(), flags=re.IGNORECASE)
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    around = [entry for entry in map(_entry, given.split(",")) if entry]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(dict.fromkeys([*around, *_HERE]))


def check_proxies(environment: Mapping[str, str]) -> None:
    """Raise SettingsError for a proxy that HTTP clients cannot use. A password in it is not shown."""
    for name, value in _named(environment):
        import httpx

        scheme, separator, _ = value.partition("://")
        try:
            httpx.Proxy(value if separator else f"http://{value}")
        except (ValueError, httpx.InvalidURL) as error:
            raise SettingsError(
                f"Expected {name} to be a proxy: http://, https://, socks5:// or socks5h://, a host and a port. "
                f"Got {scheme + '://…' if separator else 'something else'}. Correct the variable, or take it away."
            ) from error


def _named(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in environment.items() if name.lower() in _NAMES and value)


def _entry(entry: str) -> str:
    """A host to reach without a proxy, as HTTP clients read it; of IPv6, no brackets and no networks."""
    bare = entry.strip().strip("[]")
    if bare.count(":") < 2:
        return entry.strip()
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return ""
