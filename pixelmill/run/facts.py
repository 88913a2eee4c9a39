"""Whether a run makes columns: in new stores, in those that have them, and where it is asked to."""

from __future__ import annotations

from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.run.job import Job
from pixelmill.store import column_writer
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Manifest
from pixelmill.store.reader import Store


def facts_of(job: Job, manifest: Manifest) -> list[ColumnGroup]:
    """The facts that a job fills in a store that has begun with them; none, where it does not."""
    return [FACTS_GROUP] if job.facts is not False and manifest.group(FACTS_GROUP.fingerprint) else []


def reads_beside(job: Job, store: Store | None) -> bool:
    """Whether a job reads what came with pictures: a store from before there were columns stays as it is."""
    if job.beside is not None:
        return job.beside
    return bool(job.facts) or not store or not len(store) or bool(store.manifest.columns)


def begin_facts(job: Job, writer: StoreWriter) -> None:
    """Begin with facts in a store that holds nothing yet, and where the job asks for them; one from before there were
    any stays as it is."""
    if job.facts or (job.facts is None and not len(writer.snapshot())):
        column_writer.begin(writer, FACTS_GROUP)
