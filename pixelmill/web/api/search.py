"""Search: by words, by images of the store, by pictures that were uploaded, and by sums of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import Field

from pixelmill.search.query import Picture, Term
from pixelmill.search.terms import row_term, text_term, weighed
from pixelmill.web.answers import Found, Hit, Uploaded
from pixelmill.web.api.filtering import InFilters
from pixelmill.web.gallery import Gallery, InGallery, ModelName, pictures
from pixelmill.web.problems import Answers, documented
from pixelmill.web.security import read_body
from pixelmill.web.thumbnails import SIZES

router = APIRouter(prefix="/api", tags=["search"])

_SUBTRACTS = "A leading minus subtracts it, a number and a colon say how much it counts: `-people`, `2:beach`."
Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Query(max_length=16)]
Rows = Annotated[list[Annotated[str, Field(max_length=30)]], Query(max_length=16)]
Images = Annotated[list[Annotated[str, Field(pattern=r"^[-+.:0-9]{0,12} ?[0-9a-f]{32}$")]], Query(max_length=8)]
_THUMBNAIL: Answers = {
    200: {"content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}},
    **documented(404, 422, 503),
}
_BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}


@router.get("/search", responses=documented(404, 422, 503))
def search(
    gallery: InGallery,
    filters: InFilters,
    text: Annotated[Words, Query(description=f"Words, if the model knows any. {_SUBTRACTS}")] = [],  # noqa: B006
    row: Annotated[Rows, Query(description=f"An image of the store. {_SUBTRACTS}")] = [],  # noqa: B006
    image: Annotated[Images, Query(description=f"A picture of `/api/uploads`. {_SUBTRACTS}")] = [],  # noqa: B006
    model: ModelName = None,
    k: Annotated[int, Query(ge=1, le=200, description="How many.")] = 60,
    offset: Annotated[int, Query(ge=0, le=5000, description="How many of the nearest to leave out.")] = 0,
    min_score: Annotated[float | None, Query(ge=-1, le=1, description="Leave out what has a lower score.")] = None,
) -> Found:
    """The images nearest to the sum of all terms, by cosine. Without a model, one that understands them is taken.

    `/api/search?text=beach&text=-people&row=12` is what is like "beach" and image 12, and unlike "people".
    """
    terms = [*_words(text), *map(row_term, row), *_pictures(image, gallery)]
    chosen = (model,) if model is not None else ()
    found = gallery.searcher.search(terms, offset + k + 1, filters, models=chosen, min_score=min_score)
    store = gallery.newest().store
    hits = [hit for hit in found.hits[offset : offset + k] if hit.row < len(store)]
    known = pictures(store, [hit.row for hit in hits], filters.globs)
    return Found(
        model=found.model,
        hits=[Hit(**known[hit.row].model_dump(), score=hit.score, copies=list(hit.copies)) for hit in hits],
        more=len(found.hits) > offset + k,
        notes=list(found.notes),
        best=found.best,
        reach=found.reach,
    )


@router.post(
    "/uploads", status_code=201, responses=documented(408, 413, 422, 429, 503), openapi_extra={"requestBody": _BODY}
)
async def upload(request: Request, gallery: InGallery) -> Uploaded:
    """Hand in a picture to search with, as the body. It stays in memory until others take its place."""
    with gallery.receives(request):
        data = await read_body(request, gallery.limits.upload_bytes)
        seen = await gallery.decoding(lambda: gallery.look_at(data))
    name = gallery.uploads.keep(data)
    return Uploaded(image=name, width=seen.width, height=seen.height, thumbnail=f"/api/uploads/{name}/thumbnail")


@router.get("/uploads/{image}/thumbnail", response_class=Response, responses=_THUMBNAIL)
async def upload_thumbnail(gallery: InGallery, image: Annotated[str, InPath(pattern=r"^[0-9a-f]{32}$")]) -> Response:
    """A picture that was uploaded, scaled down, as WebP."""
    data = gallery.uploads.get(image)
    made = await gallery.decoding(lambda: gallery.thumbnails.make(data, SIZES[0]))
    return Response(made, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})


def _words(given: list[str]) -> Iterator[Term]:
    return (text_term(text) for text in given if text.strip())


def _pictures(given: list[str], gallery: Gallery) -> Iterator[Term]:
    for weight, name in map(weighed, given):
        yield Picture(gallery.uploads.get(name.strip()), weight)
