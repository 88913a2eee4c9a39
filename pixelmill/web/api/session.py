"""Where a browser hands in the token, and gets a cookie for it that no script can read."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from pixelmill.web.gallery import InGallery
from pixelmill.web.problems import documented
from pixelmill.web.security import COOKIE, client_of, read_body

router = APIRouter(prefix="/api", tags=["session"])

_MOST_BYTES = 4096
_A_MONTH = 30 * 86_400


class Credentials(BaseModel):
    """What `/api/session` takes."""

    token: str


@router.post(
    "/session", status_code=204, response_class=Response, responses=documented(401, 408, 413, 422, 429),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {
        "type": "object", "required": ["token"], "properties": {"token": {"type": "string"}},
    }}}}},
)  # fmt: skip
async def open_session(request: Request, gallery: InGallery) -> Response:
    """Exchange the token for a cookie. Scripts send `Authorization: Bearer …` instead."""
    try:
        given = Credentials.model_validate_json(await read_body(request, _MOST_BYTES)).token
    except ValidationError as error:
        raise HTTPException(422, 'Expected {"token": "…"}.') from error
    if gallery.door is None:
        return Response(status_code=204)
    if not gallery.door.takes(given, client_of(request.scope)):
        raise HTTPException(401, "That is not the gallery's token.", {"WWW-Authenticate": "Bearer"})
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE, gallery.door.session, max_age=_A_MONTH,
        httponly=True, samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer
