"""What a run says in its log of what it has found, and of what it is going to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.embedding.progress import Progress, telling
from pixelmill.formatting import in_words, number_of
from pixelmill.run.orders import RunOrders
from pixelmill.run.prepare import Prepared
from pixelmill.store.rows import KINDS, Changes
from pixelmill.watch.saying import saying


def found(seen: int, seconds: float) -> str:
    """`5,000 images in the sources, found in 12 s.` Which of them are new, their contents tell."""
    return f"{number_of(seen, 'image')} in the sources, found in {in_words(seconds)}."


def planned(prepared: Prepared) -> str:
    """`To embed: 100 images with resnet18, 5,000 images with clip.`"""
    names = {matrix.provenance.fingerprint: matrix.provenance.model for matrix in prepared.matrices}
    pending = dict(prepared.plan.pending)
    facts = pending.pop(FACTS_GROUP.fingerprint, 0)
    told = [f"{number_of(n, 'image')} with {names[fingerprint]}" for fingerprint, n in pending.items() if n]
    told += [f"the facts of {number_of(facts, 'image')}"] if facts > max(pending.values(), default=0) else []
    told += [f"what {one.model} lacks, which a worker finds out first" for one in prepared.unsettled]
    return f"To embed: {', '.join(told) or 'nothing'}."


def changed(changes: Changes) -> str:
    """`Since the last run: 100 new, 4 removed.`"""
    told = [f"{count:,} {kind}" for kind in KINDS if (count := getattr(changes, kind))]
    return f"Since the last run: {', '.join(told) or 'no image changed'}."


class Elsewhere(Protocol):
    """Who knows what others are at, by their names."""

    at: dict[str, str]


@contextmanager
def embedding_told(orders: RunOrders, *workers: str, at: Elsewhere | None = None) -> Iterator[None]:
    """Say in the log how far the images of some workers, or of all, have come while the block runs, and what others
    are `at`; or, where there are none yet, that workers find out which matrices models fill."""
    totals = sum((Counter(orders.images(worker)) for worker in workers or orders.shares), Counter[str]())
    progress = Progress(totals)

    def words() -> str:
        others = sorted(at.at.items()) if at else ()
        how_far = [progress.words()] if totals else []
        return "; ".join([*how_far, *(f"{worker} is at: {doing}" for worker, doing in others)])

    with telling(progress.add), saying("Embedding" if totals else "Finding out what models fill", words):
        yield
