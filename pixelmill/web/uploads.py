"""Pictures to search with: kept in memory under a name that nobody can guess, the last ones only."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from pixelmill.errors import PixelmillError

_MOST_BYTES = 128 << 20


class UploadGone(PixelmillError, LookupError):
    """A picture that was never uploaded, or so long ago that others have taken its place."""


class Uploads:
    """The last uploads, of at most 128 MiB in all. Safe to use from many threads."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def keep(self, data: bytes) -> str:
        """The name of a picture from now on; the oldest ones make room for it."""
        name = secrets.token_hex(16)
        with self._guard:
            self._kept[name] = data
            while sum(map(len, self._kept.values())) > self._most and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a picture. Raises UploadGone."""
        with self._guard:
            data = self._kept.get(name)
            if data is not None:
                self._kept.move_to_end(name)
                return data
        raise UploadGone("The picture you searched with is not here any more. Drop it once again.")
