"""The addresses of targets: which kinds there are, what must not stand in one, how one is shown."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from pixelmill.errors import nearest
from pixelmill.sources.address import is_address, shown

EXAMPLES: Final = {
    "postgresql": "postgresql://app@db/photos",
    "lancedb": "lancedb:/data/lance",
    "qdrant": "qdrant://host:6333",
    "milvus": "milvus://host:19530",
    "chroma": "chroma://host:8000",
    "parquet": "parquet:s3://bucket/vectors",
}
"""An address of each kind of target, by its name, which is also that of the extra to be installed."""
_ALSO: Final = {"postgres": "postgresql"}
"""Kinds by another name."""
_TLS: Final = "+https"
_SERVERS: Final = ("postgresql", "qdrant", "chroma")
"""Kinds that are never a file."""
_LOGIN: Final = re.compile(r"//[^/]*:(?!\d+[,/?])[^@]*@")
"""Up to a host, by whatever letters a password has. A port is none."""
_KEY: Final = re.compile(
    r"[?&; ]([\w-]*(password|passwd|passfile|secret|token|signature|credential|(api|access|account)[-_]?key)[\w-]*"
    r"|auth|sig|jwt)\s*=",
    re.IGNORECASE,
)


def kind_of(to: str) -> str:
    """The kind of target that an address is of. Raises ValueError."""
    scheme = to.partition(":")[0].removesuffix(_TLS)
    scheme = _ALSO.get(scheme, scheme)
    if scheme not in EXAMPLES or ":" not in to:
        known = ", ".join(EXAMPLES.values())
        raise ValueError(f"Expected a target such as {known}. Got {shown_target(to)!r}.{nearest(scheme, EXAMPLES)}")
    return scheme


def checked_target(to: str) -> str:
    """The address of a target, without what lets in. Raises ValueError."""
    example = EXAMPLES[kind := kind_of(to)]
    if _LOGIN.search(to) or _KEY.search(unquote(to)):
        raise ValueError(
            f"Expected a target without a password or key, as {example}. Got one in {shown_target(to)!r}: put it "
            "into the variable that docs/deliveries.md names, or into the target's own configuration"
        )
    place = to.partition(":")[2]
    if not place.strip("/"):
        raise ValueError(f"Expected a place behind {to!r}, as {example}")
    if kind in _SERVERS and not place.startswith("//"):
        raise ValueError(f"Expected the address of a server, as {example}. Got {shown_target(to)!r}")
    return to


def shown_target(to: str) -> str:
    """A target as it may be shown: without login and query."""
    scheme, colon, rest = _LOGIN.sub("//", in_utf8(to)).partition(":")
    if rest.startswith("//"):
        return shown(f"{scheme}:{rest}")
    return f"{scheme}{colon}{shown(rest) if is_address(rest) else _KEY.split(rest)[0]}"


def in_utf8(words: str) -> str:
    r"""Words as JSON can keep them: of names of files, bytes that are no UTF-8 stand there as `\udcff`."""
    return words.encode(errors="backslashreplace").decode()
