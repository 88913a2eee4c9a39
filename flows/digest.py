"""Tell how a night ended, good or bad: headline, pictures and links, by one of Prefect's notification blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows._begin import begin
from pixelmill.errors import SettingsError
from pixelmill.version import VERSION
from settings import Settings, load_settings
from tasks.digest import compose_digest, find_run, send_digest


@flow(name="digest", version=VERSION)
def digest(block: str, run: str | None = None) -> str:
    """Send the digest of a run of `vectorize`; what it is about in one line.

    Args:
        block: The notification block, as slack-webhook/nights: the type's slug and the block's name.
        run: The id of the flow run. Default: the last one that ended.
    """
    begin()
    ended = find_run(run)
    settings = settings_of(ended.parameters)
    store, gallery = (settings.run.store, settings.web.url) if settings else (None, None)
    told = compose_digest(ended.id, store, gallery)
    send_digest(block, told)
    return told.digest.subject


def settings_of(parameters: dict[str, Any]) -> Settings | None:
    """The settings of a run with these parameters; None where they are wrong, of which the run itself died."""
    config, store = parameters.get("config"), parameters.get("store")
    try:
        return load_settings(Path(config) if config else None, {"run": {"store": store}})
    except SettingsError as error:
        get_run_logger().warning(f"The digest goes without a report. {error}")
        return None
