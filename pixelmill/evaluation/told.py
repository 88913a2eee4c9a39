"""What an evaluation tells, as types: what `evaluate --json` prints. Shares are from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Measured(_Told):
    """A mean over so many `pictures`, and the interval that holds it in 95% of resamplings of them."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    pictures: NonNegativeInt


class Cost(_Told):
    """`dim` numbers a vector; gigabytes (1e9 bytes) per million vectors as the store keeps them; images a second, and
    milliseconds an image, as runs of this store were measured: None where none was."""

    dim: NonNegativeInt
    gb_per_million: FiniteFloat
    images_per_second: FiniteFloat | None = None
    ms_per_image: FiniteFloat | None = None


class Scores(_Told):
    """What a model, or models side by side, come to. `weights` are as `pixelmill ensemble --weights` takes them; where
    `is_searched`, each fold was measured by those of `weights_by_fold`, found on the other folds.

    `measures` by name, in the order of MEASURES; one that could not be taken is not among them.
    """

    name: str
    models: tuple[str, ...]
    weights: tuple[FiniteFloat, ...]
    is_searched: bool = False
    weights_by_fold: tuple[tuple[FiniteFloat, ...], ...] = ()
    measures: Mapping[str, Measured]
    cost: Cost


class Agreement(_Told):
    """How alike the vectors of two models are: linear CKA, 1 the same up to turning and scaling."""

    models: tuple[str, str]
    cka: FiniteFloat


class Pictures(_Told):
    """Which pictures were looked at: of all `rows`, those that fulfil the condition, have a file, a label and a vector
    of each model, are `usable`; `compared` are as many of them as were asked for. Rows are counted under the first
    reason that leaves them out. `single_classes` is how many classes have one picture among those compared; it stays
    among the others, but nothing is asked of it where an answer needs a second one. A few of them are `singles`.
    """

    rows: NonNegativeInt
    not_asked: NonNegativeInt = 0
    without_file: NonNegativeInt = 0
    without_label: NonNegativeInt = 0
    without_vector: Mapping[str, NonNegativeInt] = {}
    usable: NonNegativeInt
    compared: NonNegativeInt
    classes: NonNegativeInt
    single_classes: NonNegativeInt = 0
    singles: tuple[str, ...] = ()


class Evaluation(_Told):
    """Models compared on the pictures of a store. `labels` is a column, or `folder`; `probe` says which linear
    classifier. `best` has, by measure, the greatest and all that it is not told apart from: the 95% interval of the
    difference, picture by picture, holds 0. `where` is the condition of the pictures that were asked for."""

    store: str
    labels: str
    where: str | None = None
    pictures: Pictures
    folds: NonNegativeInt
    seed: NonNegativeInt
    probe: str
    scores: tuple[Scores, ...]
    best: Mapping[str, tuple[str, ...]]
    agreement: tuple[Agreement, ...] = ()
    notes: tuple[str, ...] = ()
