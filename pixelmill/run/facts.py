"""Whether a run makes facts: of new stores, of those that have them, and where it is asked to."""

from __future__ import annotations

from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.run.job import Job
from pixelmill.store import column_writer
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Manifest


def facts_of(job: Job, manifest: Manifest) -> list[ColumnGroup]:
    """The facts that a job fills in a store that has begun with them; none, where it does not."""
    return [FACTS_GROUP] if job.facts is not False and manifest.group(FACTS_GROUP.fingerprint) else []


def begin_facts(job: Job, writer: StoreWriter) -> None:
    """Begin with facts in a store that holds nothing yet, and where the job asks for them; one from before there were
    any stays as it is."""
    if job.facts or (job.facts is None and not len(writer.snapshot())):
        column_writer.begin(writer, FACTS_GROUP)
