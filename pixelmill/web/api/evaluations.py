"""Models compared on the store's own pictures, as `pixelmill evaluate` did it last."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.exceptions import HTTPException

from pixelmill.evaluation.kept import NAME, Kept, names, read_kept
from pixelmill.evaluation.told import Evaluation
from pixelmill.formatting import printable
from pixelmill.report.evaluation import headline, left_out, taken, verdicts
from pixelmill.web.escaping import escaped
from pixelmill.web.evaluation_answers import Compared, Evaluated, Evaluations
from pixelmill.web.gallery import InGallery
from pixelmill.web.problems import documented

router = APIRouter(prefix="/api", tags=["store"], responses=documented(503))

Name = Annotated[str, InPath(pattern=f"^{NAME.pattern}$", description="One of `/api/evaluations`.")]


@router.get("/evaluations")
def evaluations(gallery: InGallery) -> Evaluations:
    """Which comparisons of models are kept with the store, the newest first."""
    folder = gallery.newest.folder
    kept = [one for name in names(folder) if (one := read_kept(folder, name))]
    return Evaluations(evaluations=[_listed(one) for one in kept])


@router.get("/evaluations/{name}", responses=documented(404, 422))
def evaluation(gallery: InGallery, name: Name) -> Compared:
    """One of them: each measure of each model with its interval, what they cost, how alike they are, and in words."""
    kept = read_kept(gallery.newest.folder, name)
    if kept is None:
        raise HTTPException(404, f"There is no evaluation {name} any more. `/api/evaluations` says which there are.")
    told = kept.evaluation
    return Compared(
        **_listed(kept).model_dump(),
        headline=printable(headline(told)),
        measures=taken(told),
        verdicts=list(map(printable, verdicts(told))),
        left_out=list(map(printable, left_out(told))),
        evaluation=Evaluation.model_validate(escaped(told.model_dump(mode="json"))),
    )


def _listed(kept: Kept) -> Evaluated:
    told = kept.evaluation
    return Evaluated(
        name=kept.name, made=kept.made.isoformat(timespec="seconds"), labels=printable(told.labels),
        where=None if told.where is None else printable(told.where),
        models=[printable(one.name) for one in told.scores],
        pictures=told.pictures.compared, classes=told.pictures.classes,
    )  # fmt: skip
