"""The automations that are shipped: Prefect understands every key, and failing nights are told by each way, for real."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from apprise import Apprise
from apprise.plugins.email.base import NotifyEmail
from apprise.plugins.slack import NotifySlack
from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook, ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.server.events.actions import RunDeployment as RunDeploymentAction
from prefect.server.events.schemas.automations import (
    Automation,
    Firing,
    TriggeredAction,
    TriggerState,
)
from prefect.server.events.schemas.automations import (
    EventTrigger as ServerTrigger,
)
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.schemas.responses import FlowRunResponse
from prefect.states import Cancelling, InfrastructurePending, Pending, Retrying, Running, Submitting
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

from flows.digest import digest
from flows.vectorize import vectorize
from tests.support import waiting
from tests.support.deployed import misfits
from tests.support.notified import mails, posts
from tests.support.prefect_server import ROOT, PrefectServer, wait_until

FILES = sorted((ROOT / "deployments" / "automations").glob("*.yaml"))
SOME_ID = "00000000-0000-0000-0000-000000000000"
ACTIONS = {
    "change-flow-run-state": ChangeFlowRunState,
    "send-notification": SendNotification,
    "call-webhook": CallWebhook,
    "run-deployment": RunDeployment,
}
NOTIFY = ("slack", "mail", "webhook")


def template(kind: str) -> str:
    return (ROOT / "deployments" / "automations" / f"notify-{kind}.yaml").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_prefect_knows_every_key(file: Path) -> None:
    """Prefect ignores keys that it does not know, here too."""
    described = yaml.safe_load(file.read_text().replace("FILL-IN", SOME_ID))
    for automation in described.get("automations", [described]):
        assert list(misfits("", automation, AutomationCore)) == []
        assert list(misfits("trigger", automation["trigger"], EventTrigger)) == []
        for action in automation["actions"]:
            assert list(misfits("action", action, ACTIONS[action["type"]])) == []


def rendered(name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The parameters with which a template starts its run after an event with this payload, by the server's own code."""
    text = (ROOT / "deployments" / "automations" / f"{name}.yaml").read_text().replace("FILL-IN", SOME_ID)
    automation = Automation.model_validate(yaml.safe_load(text) | {"id": SOME_ID})
    now = datetime.now(UTC)
    event = ReceivedEvent.model_validate(
        {"id": SOME_ID, "occurred": now, "received": now, "event": "pixelmill.files.landed", "payload": payload,
         "resource": {"prefect.resource.id": "pixelmill.folder:/photos"}}
    )  # fmt: skip
    trigger, action = automation.trigger, automation.actions[0]
    assert isinstance(trigger, ServerTrigger)
    assert isinstance(action, RunDeploymentAction)
    firing = Firing(trigger=trigger, trigger_states={TriggerState.Triggered}, triggered=now, triggering_labels={})
    triggered = TriggeredAction(
        automation=automation, firing=firing, triggered=now, triggering_labels={}, triggering_event=event, action=action
    )
    return asyncio.run(action.render_parameters(triggered))


@pytest.mark.parametrize("sources", [["/photos/in"], ['/a "b"', "/é"], []])
def test_what_landed_is_what_is_embedded(sources: list[str]) -> None:
    """The event's sources are the run's, as a list, whatever they are called."""
    given = rendered("on-new-files", {"sources": sources})
    assert given == {"sources": sources}
    vectorize.validate_parameters(given)


def test_the_digest_is_called_as_it_can_be() -> None:
    """The names of the parameters are the flow's; the run's id, which the server has as a UUID, arrives as text."""
    text = (ROOT / "deployments" / "automations" / "digest.yaml").read_text().replace("FILL-IN", SOME_ID)
    (action,) = Automation.model_validate(yaml.safe_load(text) | {"id": SOME_ID}).actions
    assert isinstance(action, RunDeploymentAction)
    given = dict(action.parameters or {})
    action._upgrade_v1_templates(given)
    ended = {"flow_run": FlowRunResponse(id=UUID(SOME_ID), flow_id=UUID(SOME_ID), name="photos")}
    given = hydrate(given, HydrationContext(raise_on_error=True, render_jinja=True, jinja_context=ended))
    assert given == {"block": "slack-webhook/nights", "run": SOME_ID}
    digest.validate_parameters(given)


def test_a_template_is_shipped_for_each_way() -> None:
    notify = [f"notify-{kind}" for kind in sorted(NOTIFY)]
    assert [file.stem for file in FILES] == [
        "after-night",
        "crash-zombies",
        "digest",
        *notify,
        "on-new-files",
        "on-new-vectors",
    ]


def test_a_run_is_watched_until_it_is_over() -> None:
    """By Prefect's own matching: each state that has a process starts the watch anew, each other ends it, whatever its
    name."""
    described = yaml.safe_load((ROOT / "deployments" / "automations" / "crash-zombies.yaml").read_text())
    trigger = ServerTrigger.model_validate(described["trigger"])
    alive = {state().name for state in (Pending, Submitting, InfrastructurePending, Running, Retrying, Cancelling)}
    over = {"Completed", "CompletedWithWarnings", "Failed", "Cancelled", "Crashed", "Late", "Paused", "anything else"}
    for event in (*alive, "heartbeat", "pull-step.executed", *over):
        name = f"prefect.flow-run.{event}"
        assert trigger.event_pattern.match(name), event
        assert trigger.expects(name), event
        assert trigger.starts_after(name) == (event not in over), event


def test_the_addresses_in_the_templates_are_what_they_say() -> None:
    """Apprise, which Prefect's blocks hand an address to, takes the examples for Slack and for mail."""
    slack = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
    (mail,) = re.findall(r'url="(mailtos:[^"]+)"', template("mail"))
    assert isinstance(Apprise.instantiate(slack), NotifySlack)
    sender = Apprise.instantiate(mail)
    assert isinstance(sender, NotifyEmail)
    assert (sender.smtp_host, sender.port, sender.secure) == ("mail.example", 465, True)
    assert (sender.from_addr[1], sender.targets[0][1]) == ("pixelmill@mail.example", "you@mail.example")


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_a_night_that_fails_or_does_not_begin_is_told(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """Each template, filled in as it says, tells by its way which night went wrong, why, and where to look; once."""
    with posts() as (address, posted), mails() as (mail_address, mailed), prefect_server.used():
        blocks: dict[str, Block] = {
            "slack": SlackWebhook(url=f"{address.replace('http', 'json')}/slack"),
            "mail": SlackWebhook(url=f"{mail_address}?from=pixelmill@localhost&to=you@localhost"),
            "webhook": Webhook(url=f"{address}/webhook"),
        }
        prefect_server.prefect("work-pool", "create", "nights", "--type", "process")
        for kind, block in blocks.items():
            fill_in(prefect_server, kind, block.save(f"night-{kind}", overwrite=True), tmp_path)
        waiting.deploy("nightly", "nights")
        waiting.deploy("by-day", "nights")
        late = waiting.start("nightly", 0)
        wait_until(lambda: len(posted) + len(mailed) >= 3, 300, "three words of the night that did not begin")
        with prefect_server.worker("nights"):
            assert prefect_server.wait_for(late, seconds=300).name == "Completed"
            failed = waiting.start("nightly", -1)
            prefect_server.wait_for(failed, seconds=300)
            prefect_server.wait_for(waiting.start("by-day", -1), seconds=300)
            wait_until(lambda: len(posted) + len(mailed) >= 6, 300, "three words of the night that failed")
        with get_client(sync_client=True) as client:
            for automation in client.read_automations():
                client.delete_automation(automation.id)
        name = prefect_server.run(failed).name
    begun, hooked = (body for path, body in posted if path == "/webhook")
    assert begun | {"night": "not begun", "deployment": "nightly", "state": "Late"} == begun
    assert hooked | {"night": "failed", "deployment": "nightly", "run": name, "state": "Failed"} == hooked
    assert "sleep length must be non-negative" in hooked["message"]
    assert str(failed) in hooked["url"]
    (_, slack) = (body for path, body in posted if path == "/slack")
    for body in (slack["message"], mailed[1].get_body(("plain",)).get_content()):
        assert name in body
        assert "sleep length must be non-negative" in body
        assert str(failed) in body
    assert [mail["Subject"] for mail in mailed] == ["Pixelmill: nightly has not begun", "Pixelmill: nightly Failed"]
    assert (len(posted), len(mailed)) == (4, 2)


@pytest.mark.system
def test_a_template_that_is_not_filled_in_is_refused(prefect_server: PrefectServer) -> None:
    """Otherwise a person would believe to be told."""
    with pytest.raises(AssertionError, match="valid UUID"):
        prefect_server.prefect("automation", "create", "--from-file", "deployments/automations/notify-slack.yaml")


def fill_in(server: PrefectServer, kind: str, block: UUID, folder: Path) -> None:
    """As the template says; half an hour is ten seconds here."""
    filled = folder / f"notify-{kind}.yaml"
    filled.write_text(template(kind).replace("FILL-IN", str(block), 2).replace("within: 1800", "within: 10"))
    server.prefect("automation", "create", "--from-file", str(filled))
