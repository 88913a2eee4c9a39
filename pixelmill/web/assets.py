"""The page's own files, under addresses that change with what is in them: browsers may keep them for good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from fastapi.exceptions import HTTPException
from fastapi.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
_PAGE = "index.html"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


class Assets:
    """The files as they were when the server started, at `/static/<hash>/…` for good, and at `/static/…` to be asked
    for again. Another hash leads nowhere, so that nothing is kept under it which it does not stand for."""

    def __init__(self) -> None:
        self._files = read_files(FOLDER)
        self.hash = content_hash(self._files)

    def page(self) -> Response:
        """The page, with its files at their hashed addresses. It holds nothing of the store; its script asks."""
        text = self._files[_PAGE].decode().replace('"/static/', f'"/static/{self.hash}/')
        return Response(text, media_type=_TYPES[".html"], headers={"Cache-Control": _ASK_AGAIN})

    def file(self, path: str) -> Response:
        """One of the files. Raises the answer 404."""
        name = path.removeprefix(f"{self.hash}/")
        if name not in self._files:
            raise HTTPException(404, "Not Found")
        kept = _ASK_AGAIN if name == path else _FOR_GOOD
        media_type = _TYPES[PurePosixPath(name).suffix]
        return Response(self._files[name], media_type=media_type, headers={"Cache-Control": kept})


def read_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def content_hash(files: Mapping[str, bytes]) -> str:
    """16 hexadecimal digits of what is in files, all together: modules name each other by their names alone, so they
    change their addresses together."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(b"%s\0%s\0" % (name.encode(), hashlib.sha256(content).digest()))
    return digest.hexdigest()[:16]
