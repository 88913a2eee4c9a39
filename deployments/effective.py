"""What a deployment says of itself: what it does, and what its runs take for parameters that are left empty."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from pixelmill.deliver.address import shown_target
from pixelmill.sources.address import shown_path
from pixelmill.version import VERSION
from settings import Settings


def version_of(root: Path) -> str:
    """Pixelmill's version; in a checkout also the commit, as in "1.0.0 (1a2b3c4)"."""
    if not (root / ".git").exists():
        return VERSION
    # The user of the service does not own the checkout, which git refuses unless it is told to trust it.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    except OSError:
        return VERSION
    return VERSION if done.returncode else f"{VERSION} ({done.stdout.strip()})"


def describe(name: str, summary: str, settings: Settings) -> str:
    """The summary of deployment `name`, and a table of what its runs take from the settings; no secret is in it."""
    rows = list(_ROWS[name](settings)) if name in _ROWS else []
    if not rows:
        return summary
    table = "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows)
    told = "What is left empty is as in the settings. When `set_up.py` ran last, they said (a run reads them anew):"
    return f"{summary}\n\n{told}\n\n| | |\n|---|---|\n{table}"


def _vectorize(settings: Settings) -> Iterator[tuple[str, object]]:
    run = settings.run
    yield "sources", ", ".join(map(shown_path, run.sources))
    yield "models", ", ".join(run.models)
    yield "store", run.store.absolute()
    yield "device", run.device
    yield "batch size", run.batch_size
    yield "precision", run.precision
    yield "decode", run.decode or "as the store's matrices; fast for new ones"
    yield "deadline", run.deadline
    yield "paranoid", "yes" if run.paranoid else "no"
    yield "work is done by", _who(settings)
    yield "heads", ", ".join(settings.heads)
    yield from _deliveries(settings)
    yield "gallery", settings.web.url and shown_path(settings.web.url)


def _nightly(settings: Settings) -> Iterator[tuple[str, object]]:
    for key, value in _vectorize(settings):
        yield key, (settings.schedule.deadline or value) if key == "deadline" else value


def _store(settings: Settings) -> Iterator[tuple[str, object]]:
    yield "store", settings.run.store.absolute()


def _deliver(settings: Settings) -> Iterator[tuple[str, object]]:
    yield from _store(settings)
    yield from _deliveries(settings)


def _deliveries(settings: Settings) -> Iterator[tuple[str, object]]:
    yield "deliveries", ", ".join(f"{one.name} to {shown_target(one.to)}" for one in settings.deliveries)


_ROWS = {
    "nightly": _nightly, "vectorize": _vectorize, "maintain": _store, "index": _store, "deliver": _deliver,
    "evaluate": _store,
}  # fmt: skip


def _who(settings: Settings) -> str:
    if settings.run.fan_out == "inline":
        return "the process of the run"
    if settings.run.fan_out == "workers":
        return "the workers " + ", ".join(worker.name for worker in settings.workers)
    return f"a cluster of {settings.run.fan_out.capitalize()}"


def _cell(value: object) -> str:
    """In one line of a table. Prefect would fill in what stands in double braces."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("{{", "{ {") if value not in (None, "") else "none"
