"""What somebody asks for: texts, pictures and rows, each added or subtracted, as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import ImageRejected, QueryError
from pixelmill.formatting import number_of
from pixelmill.search.encoder import Encoder
from pixelmill.store.reader import MatrixView

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Text:
    """Words; a negative weight subtracts them."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of an image file; a negative weight subtracts it. `name` is for messages."""

    data: bytes
    weight: float = 1.0
    name: str = "The picture"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the store; a negative weight subtracts it."""

    row: int
    weight: float = 1.0


Term = Text | Picture | Row


@dataclass(frozen=True, slots=True)
class Query:
    """The unit vector of some terms in the space of one model, and what was lost of them."""

    vector: Float32
    notes: tuple[str, ...] = ()


def query_for(terms: Sequence[Term], view: MatrixView, encoder: Encoder) -> Query:
    """The sum of the terms' unit vectors by their weights, as a unit vector float32 (dim,).

    Raises QueryError for no terms, a row without a vector, or terms that cancel each other out; NoTextTower for words
    where the model has none; ImageRejected for a picture that cannot be decoded.
    """
    if not terms:
        raise QueryError("Expected something to search for: a text, a picture or a row. Got nothing.")
    total, notes = np.zeros(view.shape[1], np.float64), []
    for term in terms:
        if isinstance(term, Text):
            vectors, cut = encoder.texts([term.text])
            notes += [_cut(term.text, tokens, encoder) for tokens in cut if tokens]
            vector = vectors[0]
        elif isinstance(term, Picture):
            vector = _of_picture(term, encoder)
        else:
            vector = _stored(term.row, view)
        total += term.weight * unit(vector)
    length = np.linalg.norm(total)
    if not length > 1e-6 * sum(abs(term.weight) for term in terms) or not np.isfinite(length):
        raise QueryError("Expected terms that leave a direction. These cancel each other out.")
    return Query(unit(total).astype(np.float32), tuple(notes))


def unit(vector: np.ndarray) -> NDArray[np.float64]:
    """The vector at length 1, in float64; zeros stay zeros."""
    length = np.linalg.norm(vector.astype(np.float64))
    return vector.astype(np.float64) / (length or 1.0)


def _of_picture(term: Picture, encoder: Encoder) -> np.ndarray:
    try:
        return encoder.picture(term.data)
    except ImageRejected as error:
        raise ImageRejected(error.stage, f"{term.name}: {error.reason}") from error


def _stored(row: int, view: MatrixView) -> np.ndarray:
    if not 0 <= row < len(view):
        raise QueryError(f"Expected a row from 0 to {len(view) - 1}. Got {row}.")
    if not view.embedded[row]:
        raise QueryError(
            f"Expected a row with a vector of {view.provenance.model}. Row {row} has none (pending or refused)."
        )
    vector: np.ndarray = view.take([row])[0]
    return vector


def _cut(text: str, tokens: int, encoder: Encoder) -> str:
    return (
        f"{encoder.model} takes {encoder.context_length} tokens of a text. {number_of(tokens, 'token')} at the end had "
        f"no say: {text[:40]!r}{'…' if len(text) > 40 else ''}"
    )
