"""What the endpoints of evaluations answer."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pixelmill.evaluation.told import Evaluation


class Evaluated(BaseModel):
    """A comparison of models that is kept with the store."""

    name: str
    made: str = Field(description="When, ISO 8601.")
    labels: str = Field(description="The column, or `folder`.")
    where: str | None = Field(description="The condition of the pictures that were compared.")
    models: list[str]
    pictures: int
    classes: int


class Evaluations(BaseModel):
    """Comparisons of models, the newest first. `pixelmill evaluate` makes them."""

    evaluations: list[Evaluated]


class Compared(Evaluated):
    """One comparison, in numbers and in words."""

    headline: str
    measures: dict[str, str] = Field(
        description="What was measured, by its name in `evaluation`: how a table heads it."
    )
    verdicts: list[str]
    left_out: list[str]
    evaluation: Evaluation
