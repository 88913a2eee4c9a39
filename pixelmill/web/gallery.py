"""What the endpoints share: the store's newest snapshot, thumbnails, uploads, the searcher, and limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, TypeVar, cast

import numpy as np
from fastapi import Depends, Query, Request
from fastapi.exceptions import HTTPException

from pixelmill.formatting import printable
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import Pixels, scaled_in_sandbox
from pixelmill.search.searcher import Searcher, default_model
from pixelmill.store.reader import Store
from pixelmill.web.answers import Label, Picture, Place
from pixelmill.web.known import caption_of
from pixelmill.web.labels import labels_at, why_not_written
from pixelmill.web.originals import Located, locate
from pixelmill.web.security import Door, RateLimit, client_of, kept_secret
from pixelmill.web.snapshot import Newest
from pixelmill.web.thumbnails import SIZES, Thumbnails
from pixelmill.web.uploads import Uploads

Result = TypeVar("Result")
_AT_ONCE = 8
"""Uploads whose bytes are in memory before they are known to be pictures."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`upload_bytes` is the largest picture that can be searched with, `uploads_per_minute` of one client."""

    upload_bytes: int = 20 << 20
    uploads_per_minute: int = 30
    token_tries_per_minute: int = 10
    thumbnail_bytes: int = 2 << 30
    labels_per_minute: int = 120


class Gallery:
    """The state of the application. `options` says which files are too much to decode or to read, `labels` whether
    people may give some, `learning` by column which heads learn from it."""

    def __init__(
        self, searcher: Searcher, *, cache: Path, options: DecodeOptions, limits: Limits, token: str | None = None,
        labels: bool = True, learning: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.searcher = searcher
        self.newest = Newest(searcher)
        self.options = options
        self.limits = limits
        self.thumbnails = Thumbnails(cache, most_bytes=limits.thumbnail_bytes, options=options)
        self.uploads = Uploads()
        self.upload_rate = RateLimit(limits.uploads_per_minute)
        self.label_rate = RateLimit(limits.labels_per_minute)
        self._labels = labels
        self.learning = {column: list(heads) for column, heads in learning.items()}
        tries = RateLimit(limits.token_tries_per_minute)
        self.door = Door(token, secret=kept_secret(cache), tries=tries) if token else None
        self.receiving = 0
        # Apart from the threads that answer other requests: a page of thumbnails must not hold up a search.
        self._decoding = ThreadPoolExecutor(os.cpu_count() or 2, "decode")

    def model_named(self, model: str | None) -> str:
        """A model of the store: the one asked for, or the default. Raises UnknownModel, or QueryError."""
        store = self.newest().store
        return default_model(store, ()) if model is None else store[model].provenance.model

    def why_no_labels(self) -> str | None:
        """Why nobody can give a label here; None where people can."""
        if not self._labels:
            return "This gallery is for looking only: `[web] labels = false`."
        return why_not_written(self.newest.folder)

    @contextmanager
    def receives(self, request: Request) -> Iterator[None]:
        """An upload on its way. Raises the answers 429 for one client too many a minute, 503 for too many at once."""
        self.upload_rate.check(client_of(request.scope))
        if self.receiving >= _AT_ONCE:
            raise HTTPException(503, "Too many pictures are on their way. Try again in 5 s.", {"Retry-After": "5"})
        self.receiving += 1
        try:
            yield
        finally:
            self.receiving -= 1

    def look_at(self, data: bytes) -> Pixels:
        """The size of an uploaded picture, which also shows that it is one. Raises like `scaled_in_sandbox`."""
        return scaled_in_sandbox(data, self.options, longest=SIZES[0])

    async def decoding(self, work: Callable[[], Result]) -> Result:
        """Do what decodes pictures: no more at once than there are cores."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)


def gallery_of(request: Request) -> Gallery:
    return cast("Gallery", request.app.state.gallery)


InGallery = Annotated[Gallery, Depends(gallery_of)]
ModelName = Annotated[str | None, Query(max_length=200, description="A model of the store; see `/api/store`.")]


def pictures(store: Store, rows: Sequence[int], globs: Sequence[str] = ()) -> dict[int, Picture]:
    """Rows as every endpoint tells them, by the files that fit `globs` if any does. Raises NoSuchRow."""
    known = locate(store, rows, globs)
    labels = labels_at(store, np.array(list(known), np.int64), [place.sha256 for place in known.values()])
    return {row: _picture(store, place, its) for (row, place), its in zip(known.items(), labels, strict=True)}


def _picture(store: Store, content: Located, labels: list[Label]) -> Picture:
    row, shown = content.row, content.places[0]
    return Picture(
        row=row,
        name=printable(content.name),
        path=printable(shown.path),
        source=printable(shown.source),
        places=[Place(path=printable(place.path), source=printable(place.source)) for place in content.places],
        width=int(store.column("images/width", row, row + 1)[0]),
        height=int(store.column("images/height", row, row + 1)[0]),
        thumbnail=f"/api/images/{row}/thumbnail?v={content.sha256.hex()[:12]}",
        file=f"/api/images/{row}",
        caption=caption_of(store, row),
        labels=labels,
    )
