"""Look at the sources."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run.job import Job
from pixelmill.run.scan import Scan, scan_sources
from pixelmill.store.commit import StoreWriter
from pixelmill.store.living import keep


@task(name="discover", cache_policy=NO_CACHE)
def discover_images(job: Job) -> Scan:
    """Record what the sources hold now; the images found wait under the scan's number, which `holding` takes over."""
    with StoreWriter(job.store) as writer:
        writer.warn()
        scan = scan_sources(
            writer.ledger, job.sources,
            paranoid=job.paranoid, threads=job.threads, max_bytes=job.max_bytes, deadline=job.deadline,
        )  # fmt: skip
        keep(writer.folder, scan.number)
        return scan
