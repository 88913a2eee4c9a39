"""Files whose time is up: parts of older snapshots, and what writers left that died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pixelmill.errors import StoreError
from pixelmill.store.commit import StoreWriter
from pixelmill.store.durable import sync_folder
from pixelmill.store.filesystem import clock
from pixelmill.store.labels import FOLDER as LABELS
from pixelmill.store.manifest import Manifest, Retired
from pixelmill.store.master import PARTS, publish
from pixelmill.store.presence import WRITERS
from pixelmill.store.revisions import REVISIONS


def delete_expired(writer: StoreWriter, manifest: Manifest, retention: float) -> int:
    """Delete parts that were replaced, or that no snapshot names, longer than `retention` seconds ago; how many."""
    now = clock(writer.folder)
    limit, since = now - retention, writer.ledger.runs.steady_since(now)
    if any(retired.at > now for retired in manifest.retired):
        # The clock was wrong when they were replaced: before it was set right, so much is sure.
        again = tuple(Retired(file=r.file, at=r.at if r.at <= now else since or now) for r in manifest.retired)
        manifest = publish(writer.folder, manifest.model_copy(update={"retired": again}))
    if since > limit:
        return 0  # a clock that has jumped says of nothing how old it is: a reader may have begun a moment ago
    expired = {retired.file for retired in manifest.retired if retired.at <= limit}
    if expired:
        kept = tuple(retired for retired in manifest.retired if retired.file not in expired)
        manifest = publish(writer.folder, manifest.model_copy(update={"retired": kept}))
    folder = writer.folder / PARTS
    named = {*manifest.parts, *(retired.file for retired in manifest.retired)}
    parts = [f for f in folder.iterdir() if f.name in expired or (f.name not in named and _is_older(f, limit))]
    doomed = [*parts, *(f for f in _temporary(writer.folder) if _is_older(f, limit))]
    try:
        for file in doomed:
            file.unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise StoreError(
            f"Expected to delete {len(doomed)} files from {folder} whose time was up. Not all could be: "
            f"{error.strerror or error}. The last published snapshot is intact; the next compaction tries again."
        ) from error
    return len(doomed)


def _temporary(folder: Path) -> Iterator[Path]:
    """The files of writers at work, or that died, outside the parts."""
    for place in (folder, folder / REVISIONS, folder / WRITERS, folder / LABELS):
        yield from place.glob(".*.tmp")


def _is_older(file: Path, limit: float) -> bool:
    try:
        return file.stat().st_mtime <= limit
    except FileNotFoundError:  # another writer's temporary file, which has its real name by now
        return False
