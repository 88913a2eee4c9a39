"""The gallery's web application: pages, endpoints, and the guard around both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from pixelmill.version import VERSION
from pixelmill.web.api import evaluations, facets, overview, pictures, search, selecting, session, store
from pixelmill.web.assets import Assets
from pixelmill.web.gallery import Gallery
from pixelmill.web.problems import Problem, explain_problems
from pixelmill.web.security import LOOPBACK, Guard

_COMPRESSED_FROM: Final = 1000


def make_app(gallery: Gallery, *, url: str | None = None) -> FastAPI:
    """The application. `url` is the address by which people reach it if that is not a name of this machine."""
    app = FastAPI(
        title="Pixelmill gallery",
        version=VERSION,
        description="What the page asks, for scripts: search, images by row, labels, coverage, quarantine, reports.",
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.gallery = gallery
    for part in (search, pictures, selecting, facets, overview, evaluations, store, session):
        app.include_router(part.router)
    assets = Assets()
    app.add_api_route("/", assets.page, include_in_schema=False)
    app.add_api_route("/static/{path:path}", assets.file, methods=["GET", "HEAD"], include_in_schema=False)
    explain_problems(app)
    app.add_middleware(GZipMiddleware, minimum_size=_COMPRESSED_FROM)
    app.add_middleware(Guard, hosts=_hosts(url), door=gallery.door)
    _document(app)
    return app


def _hosts(url: str | None) -> Iterable[str]:
    named = urlsplit(url).hostname if url else None
    return LOOPBACK | ({named} if named else set())


def _document(app: FastAPI) -> None:
    """Add what problems look like to the OpenAPI document."""
    described = app.openapi()
    described["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    for path in described["paths"].values():
        for operation in path.values():
            if operation["responses"].get("422", {}).get("description") == "Validation Error":
                del operation["responses"]["422"]
