"""Tasks of the flow `digest`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from apprise import NotifyFormat, NotifyType
from prefect import task
from prefect.blocks.abstract import NotificationError
from prefect.blocks.core import Block
from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging import LogEavesdropper
from prefect.utilities.urls import url_for

from pixelmill.errors import PixelmillError, SettingsError
from pixelmill.report.digest import Digest, Ended, digest, pictures_in, report_of
from pixelmill.report.history import TIMED, recorded
from pixelmill.report.model import RunReport
from pixelmill.store.readonly import ledger_of

log = logging.getLogger("pixelmill.tasks")
SENT_AGAIN = (30.0, 120.0)
"""Seconds before a digest that could not be sent is sent again."""
_COLOURS = {"Completed": NotifyType.SUCCESS, "Failed": NotifyType.FAILURE, "Crashed": NotifyType.FAILURE}


@dataclass(frozen=True, slots=True)
class Told:
    """A digest, the colour that chats give it, and the pictures that go with it: JPEG by file name."""

    digest: Digest
    colour: NotifyType
    pictures: dict[str, bytes]


@task(name="find run", cache_policy=NO_CACHE)
def find_run(run: str | None) -> FlowRun:
    """A flow run by its id, else the last one of `vectorize` that ended. Raises SettingsError if there is none."""
    with get_client(sync_client=True) as client:
        if run:
            return client.read_flow_run(UUID(run))
        ended = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["vectorize"])),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": sorted(TERMINAL_STATES)}}}),
            sort=FlowRunSort.END_TIME_DESC, limit=1,
        )  # fmt: skip
    if not ended:
        raise SettingsError("Expected a run of vectorize that has ended. The Prefect server has none.")
    return ended[0]


@task(name="compose digest", cache_policy=NO_CACHE)
def compose_digest(run: UUID, store: Path | None, gallery: str | None) -> Told:
    """The digest of a flow run, by the report that it left in its store, if that is known."""
    with get_client(sync_client=True) as client:
        ended = _as_ended(client.read_flow_run(run))
    report = report_of(ended, _reports(store)) if store else None
    return Told(digest(ended, report, gallery), _COLOURS.get(ended.state, NotifyType.WARNING), _pictures(run))


def was_not_sent(_task: object, _run: object, state: Any) -> bool:
    """Whether it is worth another try: what is wrong with a block stays wrong."""
    return isinstance(state.result(raise_on_failure=False), NotificationError)


@task(
    name="send digest", cache_policy=NO_CACHE, retries=len(SENT_AGAIN), retry_delay_seconds=list(SENT_AGAIN),
    retry_condition_fn=was_not_sent,
)  # fmt: skip
def send_digest(block: str, told: Told) -> None:
    """Send a digest. Raises SettingsError for a block that can send none, NotificationError with the words of Apprise
    when it was not sent."""
    service = _loaded(block)
    client = service._apprise_client
    as_html = all(each.notify_format == NotifyFormat.HTML for each in client)
    in_text = told.pictures if all(getattr(each, "inline", False) for each in client) else ()
    with TemporaryDirectory() as folder, LogEavesdropper("apprise", logging.WARNING) as heard:
        sent = client.notify(
            title=told.digest.subject, notify_type=told.colour, attach=_attached(Path(folder), told.pictures),
            body=told.digest.as_html(in_text) if as_html else told.digest.as_text(),
            body_format=NotifyFormat.HTML if as_html else NotifyFormat.TEXT,
        )  # fmt: skip
    if not sent:
        raise NotificationError(heard.text())


def _loaded(block: str) -> AbstractAppriseNotificationBlock:
    try:
        found: Any = Block.load(block)
    except ValueError as error:
        raise SettingsError(f"Expected a notification block, as slack-webhook/nights. {error}") from error
    if not isinstance(found, AbstractAppriseNotificationBlock):
        raise SettingsError(
            f"Expected a notification block that Apprise sends for. {block} is a {type(found).__name__}. A Slack "
            "Webhook block takes any address of Apprise's: jsons:// posts JSON, mailtos:// is mail."
        )
    return found


def _attached(folder: Path, pictures: dict[str, bytes]) -> list[str] | None:
    for name, jpeg in pictures.items():
        (folder / name).write_bytes(jpeg)
    return [str(folder / name) for name in pictures] or None


def _pictures(run: UUID) -> dict[str, bytes]:
    """The pictures of the report that a run shows in the Prefect UI."""
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        shown = [each.data for each in client.read_artifacts(artifact_filter=mine) if isinstance(each.data, str)]
    try:
        return {name: jpeg for markdown in shown for name, jpeg in pictures_in(markdown).items()}
    except (OSError, ValueError) as error:
        log.warning("The digest goes without pictures: %s", error)
        return {}


def _as_ended(run: FlowRun) -> Ended:
    state = run.state
    assert state is not None
    url = url_for("flow-run", run.id) or ""
    began = run.start_time.timestamp() if run.start_time else None
    ended = (run.end_time or state.timestamp).timestamp()
    return Ended(run.name, state.name or StateType(state.type).value, state.message or "", url, began, ended)


def _reports(store: Path) -> Sequence[RunReport]:
    try:
        with ledger_of(store) as ledger:
            return recorded(ledger, TIMED) if ledger else []
    except PixelmillError as error:
        log.warning("The digest goes without a report: %s", error)
        return []
