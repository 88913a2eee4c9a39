"""Addresses of images elsewhere: which texts are some, and what they must not hold."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urldefrag, urlsplit

from pixelmill.errors import SourceError

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PART: Final = re.compile(r"[?&;]([^=&;?#/]+)=([^&;#]*)")
_SECRETS: Final = frozenset(
    {
        "x_amz_signature", "x_amz_security_token", "x_amz_credential", "x_goog_signature", "x_goog_credential",
        "x_oss_signature", "signature", "sig", "token", "access_token", "auth_token", "auth", "jwt", "api_key",
        "apikey", "x_api_key", "client_secret", "secret", "password", "passwd", "credential", "credentials",
    }
)  # fmt: skip
"""Parts of a query that let whoever reads them in: of signed links, and keys."""
_NOT_ELSEWHERE: Final = frozenset(
    {
        "file", "local", "dir", "reference", "generic", "async_wrapper", "asyncwrapper", "simplecache", "filecache",
        "blockcache", "cached", "zip", "tar", "libarchive", "git", "data",
    }
)  # fmt: skip
"""What fsspec has for this machine's files, and for wrapping others."""
_ARCHIVES: Final = {".zip": "zip", ".tar": "tar", ".parquet": "parquet"}
_COMPRESSED: Final = (
    ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4", ".tar.z",
)  # fmt: skip
UNPACK: Final = (
    "Expected a tar archive that is not compressed: members of others cannot be read one by one. Unpack it, as with "
    "gunzip or unzstd, and name what comes out."
)
_ENDINGS: Final = tuple(_ARCHIVES)


def is_address(text: str) -> bool:
    """Whether a text is an address, such as s3://bucket/folder, and no path."""
    return _ADDRESS.match(text) is not None


def is_http(text: str) -> bool:
    """Whether an address is asked for by HTTP."""
    return text[:8].lower().startswith(("http://", "https://"))


def archive_kind(name: str) -> str | None:
    """zip, tar or parquet by the end of a name; None for others."""
    return _ARCHIVES.get(os.path.splitext(name)[1].lower())  # noqa: PTH122 - addresses as well


def is_compressed_tar(name: str) -> bool:
    """Whether a name ends like that of a tar archive that is compressed as a whole, which is not read."""
    return name.lower().endswith(_COMPRESSED)


def is_archive(source: str) -> bool:
    """Whether a source root is an archive, rather than a folder that is called like one."""
    if not source.lower().endswith(_ENDINGS):
        return False
    if is_address(source):  # a host or a bucket may be called so as well
        return "/" in source.partition("://")[2]
    return os.path.isfile(source)  # noqa: PTH113


def checked_address(text: str, *, kept: bool = True) -> str:
    """The address as it is kept, without a fragment. Raises SourceError for one that would let its readers in: what is
    embedded is known by its address, in the store, in reports and in logs. One that is not `kept` may be signed."""
    scheme, _, rest = text.partition("://")
    text = f"{scheme.lower()}://{rest}"
    if "::" in text or scheme.lower() in _NOT_ELSEWHERE:
        raise SourceError(
            f"Expected an address of one place elsewhere. Got {shown(text)!r}: name a file here by its path, an "
            "archive by its own address, as s3://bucket/a.zip."
        )
    if kept and any(_is_secret(name, value) for name, value in _PART.findall(text)):
        raise _unfit(text, "a signature or a key", "the environment: s3:// and gs:// addresses need none")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"Expected an address in UTF-8, or %-escaped. Got {shown(text)!r}.") from error
    if not is_http(text):
        if re.match(r"[^/@]*:[^@]*@", rest):
            raise _unfit(text, "a password", "the environment or the configuration of fsspec")
        return _with_a_name(text)
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError as error:
        raise SourceError(f"Expected an address. Got {shown(text)!r}: {error}.") from error
    if "@" in parts.netloc:
        raise _unfit(text, "a login", "~/.netrc")
    if not host or not parts.path or (parts.path.endswith("/") and not parts.query):
        raise SourceError(
            f"Expected the address of a file. Got {shown(text)!r}: HTTP knows no folders. Name files, or a list of "
            "addresses as @list.txt or @https://…"
        )
    return _with_a_name(urldefrag(text).url)


def _is_secret(name: str, value: str) -> bool:
    return name.lower().replace("-", "_") in _SECRETS or value.startswith("AIza")


def _with_a_name(text: str) -> str:
    rest = text.partition("://")[2]
    host, _, path = rest.partition("/")
    if not host or path.startswith("/"):
        raise SourceError(f"Expected a host or a bucket, and a path that begins with one slash. Got {shown(text)!r}.")
    return text


def _unfit(text: str, what: str, where: str) -> SourceError:
    return SourceError(
        f"Expected an address without {what}, which would be kept in the store. Got {shown(text)!r}. "
        f"It belongs into {where}."
    )


def shown_path(source: str) -> str:
    """A source as it may be shown."""
    return shown(source) if is_address(source) else source


def shown(address: str) -> str:
    """An address as it may be shown: without user, password and query."""
    scheme, _, rest = address.partition("://")
    whole, slash, path = rest.partition("/")
    host = re.split("[?#;]", whole, maxsplit=1)[0]
    if host != whole:  # a query follows at once; or it was a password with such a sign, where an @ comes later
        host, slash, path = "" if "@" in rest[len(host) :] else host, "", ""
    path = path if scheme.lower() in ("s3", "gs") and not _PART.search(path) else re.split("[?#;]", path, maxsplit=1)[0]
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
