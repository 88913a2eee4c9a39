"""One head of `[heads.NAME]`: which model's vectors it looks at, and what it makes labels of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pixelmill.choices import PROMPTS

NAME: Final = r"[A-Za-z][A-Za-z0-9_]{0,39}"
"""What a head may be called: its columns are NAME and NAME.score."""
MOST_LABELS: Final = 10_000
Label = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Example = int | str
"""A picture by its row, its sha256 in hex, or its path."""


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str
    """Whose vectors it looks at."""


class ZeroShotHead(_Head):
    """Labels, of which a picture gets the one whose words, put into `prompts`, are nearest to it."""

    kind: Literal["zero_shot"]
    labels: tuple[Label, ...] = Field(min_length=2, max_length=MOST_LABELS)
    prompts: tuple[str, ...] = Field(PROMPTS, min_length=1)

    @field_validator("labels")
    @classmethod
    def _each_once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted(label for label, times in Counter(labels).items() if times > 1):
            raise ValueError(f"Expected each label once. {', '.join(twice)} is there twice")
        return labels

    @field_validator("prompts")
    @classmethod
    def _with_a_place(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        for prompt in prompts:
            if "{}" not in prompt:
                raise ValueError(f"Expected {{}} where the label goes, as in {PROMPTS[0]!r}. Got {prompt!r}")
        return prompts


class LinearHead(_Head):
    """A linear classifier that is learnt: from the labels in a `column` of the store, from `examples` by label, or from
    those in a CSV file of labels and pictures, `examples_file`."""

    kind: Literal["linear"]
    column: str | None = None
    examples: dict[Label, tuple[Example, ...]] | None = None
    examples_file: Path | None = None

    @model_validator(mode="after")
    def _learns_from_one(self) -> LinearHead:
        if sum(given is not None for given in (self.column, self.examples, self.examples_file)) != 1:
            raise ValueError("Expected one of column, examples and examples_file, to learn from")
        return self

    def pairs(self) -> Iterator[tuple[str, Example]]:
        """Each label of `examples` with each of its pictures."""
        return ((label, one) for label, some in (self.examples or {}).items() for one in some)


class FileHead(_Head):
    """A head that a person has trained: a linear one, or an MLP, in a safetensors `file`. `normalize`: on vectors of
    length 1."""

    kind: Literal["file"]
    file: Path
    normalize: bool = False


class PcaHead(_Head):
    """The vectors, of length 1, projected to their first `components` principal ones: a matrix of its own, in the space
    of which pictures are searched as in a model's. `whiten`: each component is divided by its deviation."""

    kind: Literal["pca"]
    components: int = Field(ge=1, le=4096)
    whiten: bool = False


ColumnHead = ZeroShotHead | LinearHead | FileHead
"""What fills columns."""
Head = Annotated[ColumnHead | PcaHead, Field(discriminator="kind")]
KINDS: Final = ("zero_shot", "linear", "file", "pca")
