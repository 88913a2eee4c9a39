"""Many pictures at once: which ones a filter finds, a table of those that are picked, labels for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import HTTPException
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixelmill.store.forgotten import are_forgotten
from pixelmill.store.labels import MOST_LETTERS, NAME, LabelFile, as_label
from pixelmill.store.reader import Store
from pixelmill.web import labels
from pixelmill.web.api.filtering import InFilters
from pixelmill.web.gallery import Gallery, InGallery
from pixelmill.web.problems import documented
from pixelmill.web.security import client_of, read_body
from pixelmill.web.selection import MOST, named, table

router = APIRouter(prefix="/api", tags=["selecting"])

_MOST_BYTES = 4 << 20
_COMMONEST = 100
_Row = Annotated[int, Field(ge=0, lt=2**48)]
_Rows = Annotated[list[_Row], Field(min_length=1, max_length=MOST)]
_Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Asked = TypeVar("Asked", bound=BaseModel)


class Selection(BaseModel):
    """The images that pass the filters, those that came last first."""

    images: int = Field(description="How many there are in all.")
    rows: list[int] = Field(description=f"At most {MOST} of them.")


class LabelValue(BaseModel):
    """One of the labels by a name, and how many images have it."""

    value: str
    images: int


class GivenLabels(BaseModel):
    """The labels by one name."""

    name: str
    images: int
    values: list[LabelValue] = Field(description="The commonest first.")
    is_column: bool = Field(description="Whether a run has made a column of it.")


class Labels(BaseModel):
    """What people called images. Runs make columns of it."""

    why_not: str | None = Field(description="Why none can be given here; null: they can.")
    labels: list[GivenLabels]
    heads: dict[str, list[str]] = Field(description="By column the heads of the settings that learn from it.")
    problems: list[str] = Field(description="What of the labels cannot be read.")


class Given(BaseModel):
    """What came of giving a label."""

    images: int = Field(description="How many have another label by that name than before.")
    value: str | None = Field(description="The label in the spelling in which it was kept.")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewLabel(_Asked):
    """What `/api/labels/{name}` takes."""

    rows: _Rows
    value: Annotated[str, Field(max_length=4 * MOST_LETTERS)] | None


class Picked(_Asked):
    """What `/api/selection/table` takes."""

    rows: _Rows
    scores: Annotated[list[float | None], Field(max_length=MOST)] = []
    label: tuple[_Name, Annotated[str, Field(max_length=4 * MOST_LETTERS)]] | None = None


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


@router.get("/selection", responses=documented(422, 503))
def selection(gallery: InGallery, filters: InFilters) -> Selection:
    """The rows of all images that pass the filters."""
    rows = gallery.newest().passing(filters)
    return Selection(images=len(rows), rows=rows[::-1][:MOST].tolist())


@router.post(
    "/selection/table", response_class=Response, openapi_extra=_body(Picked),
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
               **documented(403, 404, 408, 413, 415, 422, 429, 503)},
)  # fmt: skip
async def save_as_table(request: Request, gallery: InGallery) -> Response:
    """A CSV file of images, in the order asked for: row, sha256, place, size, score, all that is known of each, and a
    label that all of them get."""
    asked = await _read(request, Picked)
    store = gallery.newest().store
    await run_in_threadpool(named, store, asked.rows)
    scores = [*asked.scores, *[None] * (len(asked.rows) - len(asked.scores))]
    label = (asked.label[0], as_label(asked.label[1])) if asked.label else None
    name = label[0] if label else "images"
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(table(store, asked.rows, scores, label), media_type="text/csv", headers=headers)


@router.get("/labels", responses=documented(422, 503))
def known_labels(gallery: InGallery) -> Labels:
    """The labels that lie in the store."""
    store = gallery.newest().store
    problems = list[str]()
    return Labels(
        why_not=gallery.why_no_labels(), heads=gallery.learning, problems=problems,
        labels=[
            GivenLabels(
                name=name, images=len(values), is_column=name in store.columns,
                values=[
                    LabelValue(value=value, images=images)
                    for value, images in Counter(values.values()).most_common(_COMMONEST)
                ],
            )
            for name, values in labels.given(store.folder, problems.append).items()
        ],
    )  # fmt: skip


@router.post(
    "/labels/{name}", openapi_extra=_body(NewLabel), responses=documented(403, 404, 408, 413, 415, 422, 429, 503)
)
async def give_label(request: Request, gallery: InGallery, name: Annotated[str, InPath(pattern=f"^{NAME}$")]) -> Given:
    """Give images a label in place of the one by that name that they have; null takes theirs away. It lies beside the
    store's rows until the next run makes a column of it."""
    if why_not := gallery.why_no_labels():
        raise HTTPException(403, why_not)
    gallery.label_rate.check(client_of(request.scope))
    asked = await _read(request, NewLabel)
    return await run_in_threadpool(_given, gallery, name, asked)


def _given(gallery: Gallery, name: str, asked: NewLabel) -> Given:
    store = gallery.newest().store
    labels.require_free(store, name)
    value = None if asked.value is None else as_label(asked.value)
    file, pictures = LabelFile(store.folder, name), _pictures(store, asked.rows)
    images = file.give(value, pictures)
    # What was forgotten while this waited for its turn would keep a label that nobody takes away any more.
    gone = pictures.keys() - _pictures(gallery.newest().store, asked.rows).keys()
    if value is not None and gone:
        images -= file.give(None, dict.fromkeys(gone, ""))
    return Given(images=images, value=value)


def _pictures(store: Store, rows: Sequence[int]) -> dict[bytes, str]:
    """By their sha256 the pictures of rows, as people read them; a row that was forgotten has none. Raises
    NoSuchRow."""
    found = {one.sha256: one.shown for one in named(store, rows).values()}
    forgotten = are_forgotten(np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32))
    return {digest: shown for (digest, shown), is_gone in zip(found.items(), forgotten, strict=True) if not is_gone}


async def _read(request: Request, model: type[Asked]) -> Asked:
    """The body as JSON, which a form of another site cannot send."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Expected a body of the type application/json.")
    body = await read_body(request, _MOST_BYTES)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        told = (f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}." for wrong in error.errors()[:3])
        raise HTTPException(422, " ".join(told)) from error
