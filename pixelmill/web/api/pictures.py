"""Images of the store, by row: pages of them, details, thumbnails, the files themselves."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from pixelmill.errors import ImageRejected
from pixelmill.sources.reading import is_there, modified_ns
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from pixelmill.web.answers import Details, Page, RowModel
from pixelmill.web.api.filtering import InFilters
from pixelmill.web.gallery import Gallery, InGallery, pictures
from pixelmill.web.known import known_of
from pixelmill.web.originals import (
    TYPES,
    Located,
    NoPicture,
    Original,
    OriginalGone,
    locate,
    media_type,
    read_original,
    sha256_of,
)
from pixelmill.web.problems import Answers, documented
from pixelmill.web.thumbnails import forget

router = APIRouter(prefix="/api", tags=["images"])

Row = Annotated[int, InPath(ge=0, lt=2**48, description="The image's row in every matrix.")]
Size = Literal["160", "320", "640", "1600"]
_FOR_GOOD = "private, max-age=31536000, immutable"
_ASK_AGAIN = "private, no-cache"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PROBLEMS = documented(404, 410, 422, 503)
_THUMBNAIL: Answers = {200: {"content": {"image/webp": _BINARY}}, **_PROBLEMS}
_FILE: Answers = {200: {"content": dict.fromkeys(TYPES.values(), _BINARY)}, **_PROBLEMS}


@router.get("/rows", responses=documented(422, 503))
def pages(
    gallery: InGallery,
    filters: InFilters,
    before: Annotated[int | None, Query(ge=0, lt=2**48, description="Only rows below this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> Page:
    """Images that are there, could be decoded, and pass the filters; those that came last first."""
    snapshot = gallery.newest()
    rows = snapshot.passing(filters)
    below = rows if before is None else rows[: np.searchsorted(rows, before)]
    shown = below[::-1][:limit].tolist()
    following = shown[-1] if len(below) > limit else None
    told = pictures(snapshot.store, shown, filters.globs)
    return Page(images=len(rows), pictures=[told[row] for row in shown], next=following)


@router.get("/rows/{row}", responses=documented(404, 422, 503))
def details(gallery: InGallery, row: Row) -> Details:
    """All that is known of one image, and whether its file is still there."""
    store = gallery.newest().store
    place = locate(store, [row])[row]
    state, size, modified = _state(place, gallery)
    return Details(
        **pictures(store, [row])[row].model_dump(),
        sha256=place.sha256.hex(),
        state=state,
        bytes=size,
        modified=modified,
        models=_models(store, gallery, row),
        columns=list(known_of(store, row)),
    )


@router.get("/images/{row}/thumbnail", response_class=Response, responses=_THUMBNAIL)
async def thumbnail(
    request: Request,
    gallery: InGallery,
    row: Row,
    size: Annotated[Size, Query(description="The longer edge in pixels, at most.")] = "320",
    v: Annotated[str, Query(max_length=64, description="The sha256's start: the answer may be kept for good.")] = "",
) -> Response:
    """The image, upright and scaled down, as WebP. Made once for each content, then kept on disk."""
    store = gallery.newest().store
    sha256 = sha256_of(store, row)
    content = sha256.hex()
    headers = {
        "ETag": f'"{content}-{size}"',
        "Cache-Control": _FOR_GOOD if len(v) >= 12 and content.startswith(v) else _ASK_AGAIN,
    }
    if not store.location(row)[1]:
        raise OriginalGone(f"The file of row {row} is gone since the last run.")
    if _has(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)

    def read() -> bytes:
        return _read(locate(store, [row])[row], gallery).data

    made = await gallery.decoding(lambda: gallery.thumbnails.get(sha256, int(size), read))
    if sha256_of(gallery.newest().store, row) != sha256:
        forget(gallery.thumbnails.folder, [sha256])  # it was forgotten while this waited for its turn
        raise OriginalGone(f"Row {row} was forgotten.")
    return Response(made, media_type="image/webp", headers=headers)


@router.get("/images/{row}", response_class=Response, responses=_FILE)
async def original(request: Request, gallery: InGallery, row: Row) -> Response:
    """The file as it is, with its own type, if it still is what was embedded; else another one that holds the same."""

    def read() -> tuple[Located, bytes]:
        content = locate(gallery.newest().store, [row])[row]
        return content, _read(content, gallery).data

    place, data = await gallery.decoding(read)
    headers = {
        "ETag": f'"{place.sha256.hex()}"',
        "Cache-Control": _ASK_AGAIN,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(os.fsencode(place.name), safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    }
    if _has(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type(place, data), headers=headers)


def _read(place: Located, gallery: Gallery) -> Original:
    return read_original(place, max_bytes=gallery.options.max_bytes)


def _has(request: Request, etag: str) -> bool:
    """Whether the asker has this version already (RFC 9110, 13.1.2)."""
    return etag in (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))


def _state(place: Located, gallery: Gallery) -> tuple[str, int | None, str | None]:
    """Whether a row's file is there, its size in bytes, and its mtime."""
    try:
        original = _read(place, gallery)
        media_type(place, original.data)
    except (OriginalGone, NoPicture, ImageRejected):
        there = any(at.path and is_there(at.file) for at in place.places)
        return ("changed" if there else "gone"), None, None
    modified = modified_ns(original.file)
    when = datetime.fromtimestamp(modified / 10**9, UTC).isoformat(timespec="seconds") if modified else None
    return "there", len(original.data), when


def _models(store: Store, gallery: Gallery, row: int) -> list[RowModel]:
    embedded = {model: not np.isnan(store[model].take([row])).any() for model in store.models}
    reasons = {} if all(embedded.values()) else _reasons(gallery, row)
    return [
        RowModel(name=model, embedded=has, reason=None if has else reasons.get(model, reasons.get("")))
        for model, has in embedded.items()
    ]


def _reasons(gallery: Gallery, row: int) -> dict[str, str]:
    """Why a row is in quarantine, by model; '' stands for every model."""
    with ledger_of(gallery.newest.folder) as ledger:
        refused = [entry for entry in ledger.quarantine.entries() if entry.row == row] if ledger else []
    return {entry.model: f"{entry.stage}: {entry.reason}" for entry in refused}
