"""What went wrong, as JSON that scripts can read (RFC 9457), in the words of the library's own errors."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from pixelmill.errors import PixelmillError
from pixelmill.formatting import printable
from pixelmill.web.originals import OriginalGone

MEDIA_TYPE = "application/problem+json"
Answers = dict[int | str, dict[str, Any]]
"""What a route documents of its answers, by status."""


class Problem(BaseModel):
    """Why a request was not answered."""

    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What was expected, what was found, what to do.")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what went wrong."""
    told = Problem(title=HTTPStatus(status).phrase, status=status, detail=printable(detail))
    return JSONResponse(told.model_dump(), status, dict(headers or {}), MEDIA_TYPE)


def documented(*statuses: int) -> Answers:
    """For a route's `responses`: the problems that it may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def explain_problems(app: FastAPI) -> None:
    """Let every error of a route be answered as a problem."""
    app.add_exception_handler(PixelmillError, _library)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def status_of(error: PixelmillError) -> int:
    """The status for an error: the request's fault, what is not there, or what the server lacks now."""
    if isinstance(error, OriginalGone):
        return 410
    if isinstance(error, LookupError):
        return 404
    return 422 if isinstance(error, ValueError) else 503


def _library(_: Request, error: Exception) -> Response:
    assert isinstance(error, PixelmillError)
    return problem(status_of(error), str(error))


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = (f"{'.'.join(map(str, wrong['loc'][1:]))}: {wrong['msg']}." for wrong in error.errors())
    return problem(422, " ".join(told))
