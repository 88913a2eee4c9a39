"""A server that vectors are delivered to, as `to` names it: `kind[+https]://[user@]host[:port][/path]`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

from pixelmill.deliver.address import EXAMPLES, kind_of, shown_target
from pixelmill.deliver.delivery import VARIABLE, Delivery
from pixelmill.errors import DeliveryRefused

_HTTPS: Final = 443
_TOKEN: Final = re.compile("[!-~]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens, with TLS or without, as whom it is asked, and the names behind its address."""

    host: str
    port: int
    is_secure: bool
    user: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, to: str, *, port: int, secure_port: int = _HTTPS) -> Self:
        """What `to` says; without a port the usual one of its kind, or the one with TLS. Raises DeliveryRefused."""
        try:
            parts = urlsplit(to)
            host, given = parts.hostname, parts.port
        except ValueError:
            host = given = None
        if not host or re.search(r"[\s%]", host) or parts.query or parts.fragment:
            raise DeliveryRefused(
                f"Expected a host behind {kind_of(to)}://, as {EXAMPLES[kind_of(to)]}. Got {shown_target(to)!r}."
            )
        is_secure = parts.scheme.endswith("+https")
        path = tuple(unquote(name) for name in parts.path.split("/") if name)
        usual = secure_port if is_secure else port
        return cls(host, usual if given is None else given, is_secure, unquote(parts.username or ""), path)

    @property
    def url(self) -> str:
        """As an address of HTTP, without user and path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_secure else 'http'}://{host}:{self.port}"

    @property
    def prefix(self) -> str:
        """The path as it stands in an address: each name behind a slash; '' for none."""
        return "".join(f"/{quote(name, safe='')}" for name in self.path)


def variable_of(delivery: Delivery) -> str:
    """The variable that holds what lets a delivery in."""
    return f"{VARIABLE}{delivery.name.upper()}"


def token_of(delivery: Delivery, *also: str) -> str | None:
    """The token that lets a delivery in, of its own variable or of one that its target has `also`; None for none.
    Raises DeliveryRefused for what no header of HTTP can carry: a client would show it in its words."""
    for variable in (variable_of(delivery), *also):
        if token := os.environ.get(variable, "").rstrip("\r\n"):
            if not _TOKEN.fullmatch(token):
                raise DeliveryRefused(f"Expected {variable} to be a token: letters and signs of ASCII, no spaces.")
            return token
    return None
