"""What a run would do: how many images each model lacks, found without any model, and written nowhere."""

from __future__ import annotations

from collections.abc import Mapping

from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.plan import Plan, count_pending, cut
from pixelmill.run.facts import facts_of
from pixelmill.run.job import Job
from pixelmill.run.matrices import existing_matrices
from pixelmill.store.ledger import Ledger
from pixelmill.store.master import MASTER, home_of
from pixelmill.store.newer import refuse_newer
from pixelmill.store.reader import Store


def store_as_it_is(job: Job) -> Store | None:
    """The snapshot of the job's store; None if there is no store yet. Raises StoreError for one that is damaged or too
    new."""
    folder = home_of(job.store)
    if not (folder / MASTER).exists():
        return None
    refuse_newer(folder)
    return Store(folder)


def count_missing(job: Job, ledger: Ledger, store: Store | None, scan: int) -> dict[str, int]:
    """How many images of a scan each model of the job lacks; nothing is fetched, loaded or made."""
    cache = job.cache.open()
    pending = {}
    for spec in job.specs:
        file = cache.cached(spec.weights)
        sha256 = file.sha256 if file else spec.weights.sha256 if spec.weights.pinned else None
        found = existing_matrices(store.manifest, job, spec, sha256) if store and sha256 else []
        if store and found:
            pending[spec.name] = count_pending(ledger, store, found[:1], scan).total()
        else:
            pending[spec.name] = sum(1 for _ in ledger.worklist.images(scan))
    return pending


def count_facts(job: Job, ledger: Ledger, store: Store | None, scan: int) -> int | None:
    """Of how many images of a scan facts would be made; None where none are."""
    if store and len(store):
        asked = job.facts or facts_of(job, store.manifest)
        return count_pending(ledger, store, [FACTS_GROUP], scan).total() if asked else None
    return None if job.facts is False else sum(1 for _ in ledger.worklist.images(scan))


def plan_of(job: Job, pending: Mapping[str, int]) -> Plan:
    """A plan for so many images by model, to reckon with: none is recorded."""
    images = max(pending.values(), default=0)
    return Plan(dict(pending), images, cut(images, job.shard_size, job.parallel))
