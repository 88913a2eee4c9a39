"""The flow that tells how a run ended, against a real Prefect API and real servers for what it sends."""

from __future__ import annotations

from base64 import b64decode, b64encode
from io import BytesIO

import pytest
from PIL import Image
from prefect import flow
from prefect.blocks.abstract import NotificationError
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.states import Failed

from flows.digest import digest
from pixelmill.errors import SettingsError
from tasks.digest import send_digest
from tests.support.notified import mails, posts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def failed_run() -> str:
    """The id of a run that ended before it did anything, but for an artifact with a picture."""
    webp = BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(webp, "WEBP")
    told = f"## New images\n\n![Some](data:image/webp;base64,{b64encode(webp.getvalue()).decode()})"
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(flow(name="vectorize")(lambda: None), name="photos", state=Failed(message="No."))
        client.create_artifact(ArtifactCreate(key="report", type="markdown", data=told, flow_run_id=run.id))
    return str(run.id)


def test_a_run_that_failed_is_told_by_mail_and_as_json() -> None:
    """By one block each, in the form that its service shows, with the picture of its report."""
    run = failed_run()
    with posts() as (address, posted), mails() as (mail_address, mailed):
        SlackWebhook(url=f"{address.replace('http', 'json')}/json").save("json", overwrite=True)
        SlackWebhook(url=f"{mail_address}?from=pixelmill@localhost&to=you@localhost&inline=yes").save(
            "mail", overwrite=True
        )
        subject = digest("slack-webhook/json", run)
        digest("slack-webhook/mail", run)
    assert subject == "Pixelmill: Failed. No."
    ((path, body),) = posted
    assert (path, body["title"], body["type"]) == ("/json", subject, "failure")
    assert run in body["message"]
    (mail,) = mailed
    assert mail["Subject"] == subject
    assert "<h2>No.</h2>" in mail.get_body(("html",)).get_content()
    assert '<h3>New images</h3><img src="cid:new-images.jpg"' in mail.get_body(("html",)).get_content()
    assert "No." in mail.get_body(("plain",)).get_content()
    (shown,) = (part.get_payload(decode=True) for part in mail.walk() if part.get_filename() == "new-images.jpg")
    (posted_picture,) = (b64decode(each["base64"]) for each in body["attachments"])
    assert shown == posted_picture
    with Image.open(BytesIO(shown)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (40, 30))


def test_what_cannot_send_is_told() -> None:
    """A block that is not there, one of another kind."""
    Secret(value="x").save("no-words", overwrite=True)
    for block, words in {
        "slack-webhook/nobody": "nobody",
        "secret/no-words": "is a Secret",
        "nights": "nights",
    }.items():
        with pytest.raises(SettingsError, match=words):
            digest(block, failed_run())


def test_what_was_not_sent_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that somebody who looks for the mail finds why there is none; the night itself is not touched."""
    monkeypatch.setattr(send_digest, "retry_delay_seconds", [0.0, 0.0])
    SlackWebhook(url="json://127.0.0.1:9/").save("gone", overwrite=True)
    with pytest.raises(NotificationError) as raised:
        digest("slack-webhook/gone", failed_run())
    assert "Connection error" in raised.value.log
