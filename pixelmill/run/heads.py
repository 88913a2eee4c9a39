"""The heads of a run: filled when all is published, from stored vectors, before anything is delivered."""

from __future__ import annotations

from pixelmill.heads.compute import compute_heads
from pixelmill.heads.told import HeadReport
from pixelmill.models.base import ModelSpec
from pixelmill.run.job import Job
from pixelmill.search.encoder import QueryEncoder, from_catalog
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Provenance
from pixelmill.watch.saying import saying

Filled = tuple[HeadReport, ...]
"""What there is to tell of each head."""


@saying("Filling the columns of heads")
def fill_heads(job: Job) -> Filled:
    """Bring the columns of a job's heads up to date; what there is to tell of each."""
    specs = {spec.name: spec for spec in job.specs}

    def find(name: str) -> ModelSpec:
        return specs.get(name) or from_catalog(name)

    def encoder(made: Provenance) -> QueryEncoder:
        """In float32, whatever its matrix is in: texts are few, and the scale of logits is rounded with the weights."""
        return QueryEncoder(made.model_copy(update={"precision": "float32"}), find, job.cache.open())

    with StoreWriter(job.store) as writer:
        return compute_heads(writer, job.heads, encoder, deadline=job.deadline)
