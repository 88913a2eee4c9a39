"""Where a path or an address is looked at and read: here, under HTTP, or by fsspec."""

from __future__ import annotations

from pixelmill.sources.address import is_address, is_http
from pixelmill.sources.files import Files
from pixelmill.sources.local import LocalFiles


def files_of(address: str) -> Files:
    """The files of which a path or an address names one. Raises SourceError for an address that nobody understands."""
    if not is_address(address):
        return LocalFiles()
    if is_http(address):
        from pixelmill.sources.http import http_files

        return http_files()
    from pixelmill.sources.fsspec import filesystem_files

    return filesystem_files(address)
