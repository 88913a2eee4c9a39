"""A head as it is now: what decides its values, in a fingerprint, and how its layers are made, once they are needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pixelmill.errors import NoTextTower
from pixelmill.heads.examples import Examples, of_column, of_pictures, read_pairs
from pixelmill.heads.head import ColumnHead, FileHead, LinearHead, ZeroShotHead
from pixelmill.heads.linear import learnt
from pixelmill.heads.logistic import require_sklearn
from pixelmill.heads.of_file import read_head, scorer_of
from pixelmill.heads.scorer import Scorer, layer
from pixelmill.search.encoder import QueryEncoder, has_text
from pixelmill.search.prompts import prompt_vectors
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import MatrixView, Store

VERSION = "1"
"""Changes whenever a value may come out otherwise than before."""
Encoders = Callable[[Provenance], QueryEncoder]
"""What makes vectors of texts for the matrix that was made so."""
Made = tuple[Scorer, tuple[str, ...]]
"""A head's layers, and what there is to tell of how they were made."""


@dataclass(frozen=True)
class Definition:
    """`fingerprint` (hex) over the parent's vectors and all that the head is; what there is to tell of what it is made
    of. Where `make` takes seconds, what it gives is worth keeping."""

    fingerprint: str
    make: Callable[[], Made]
    notes: tuple[str, ...] = ()
    is_worth_keeping: bool = True


def define(head: ColumnHead, store: Store, view: MatrixView, encoders: Encoders) -> Definition:
    """A head over the served vectors of its model. Raises PixelmillError and OSError for one that cannot be made."""
    if isinstance(head, ZeroShotHead):
        return _zero_shot(head, view, encoders)
    return _linear(head, store, view) if isinstance(head, LinearHead) else _file(head, view)


def _fingerprint(view: MatrixView, kind: str, *what: object) -> str:
    told = json.dumps([VERSION, view.provenance.fingerprint, kind, *what])
    return hashlib.sha256(told.encode()).hexdigest()


def _zero_shot(head: ZeroShotHead, view: MatrixView, encoders: Encoders) -> Definition:
    if not has_text(view.provenance):
        raise NoTextTower(f"Expected a model that understands words. {head.model} knows pictures only.")

    def make() -> Made:
        encoder = encoders(view.provenance)
        words = prompt_vectors(head.labels, head.prompts, lambda texts: encoder.texts(texts)[0])
        return Scorer(head.labels, (layer(words * np.float32(encoder.logit_scale())),), normalize=True), ()

    return Definition(_fingerprint(view, head.kind, head.labels, head.prompts), make)


def _linear(head: LinearHead, store: Store, view: MatrixView) -> Definition:
    require_sklearn("for a linear head")
    examples = _examples(head, store, view)
    labels = [examples.classes[n] for n in examples.labels.tolist()]
    digest = hashlib.sha256(examples.digests.tobytes()).hexdigest()
    return Definition(_fingerprint(view, head.kind, labels, digest), partial(learnt, view, examples), examples.notes)


def _examples(head: LinearHead, store: Store, view: MatrixView) -> Examples:
    dim = view.provenance.dim
    if head.column is not None:
        return of_column(store, head.column, view.embedded, dim)
    pairs = head.pairs() if head.examples_file is None else read_pairs(head.examples_file)
    return of_pictures(store, pairs, view.embedded, dim)


def _file(head: FileHead, view: MatrixView) -> Definition:
    content = read_head(head.file)
    scorer = scorer_of(head.file, content, view.provenance.dim, normalize=head.normalize)
    digest = hashlib.sha256(content).hexdigest()
    fingerprint = _fingerprint(view, head.kind, digest, head.normalize)
    return Definition(fingerprint, lambda: (scorer, ()), is_worth_keeping=False)
