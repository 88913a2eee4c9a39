"""What Chroma, or what stands before it, may answer."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import DeliveryError, DeliveryRefused, TargetUnavailable
from tests.support.between import LOST, between
from tests.support.delivered import store_of_blocks

SECRET = "t0ken-of-chroma"
HTML = b"<html>" + SECRET.encode() + b"</html>"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((500, b'{"error": "x", "message": "disk is full."}'), TargetUnavailable, "It cannot now: disk is full."),
        ((503, HTML), TargetUnavailable, "It cannot now: 503 Service Unavailable."),
        ((429, HTML), TargetUnavailable, "It cannot now: 429 Too Many Requests."),
        ((408, HTML), TargetUnavailable, "It cannot now: 408 Request Timeout."),
        ((LOST, b""), TargetUnavailable, "It cannot be reached: Server disconnected"),
        ((200, b"not gzip", {"Content-Encoding": "gzip"}), TargetUnavailable, "It cannot be reached: Error -3"),
        ((200, HTML), DeliveryRefused, "to be Chroma. It answers with no JSON."),
        ((200, b'{"title": "qdrant"}'), DeliveryRefused, "to be Chroma. It answers with something else."),
        ((200, b"5"), DeliveryRefused, "to be Chroma. It answers with something else."),
        ((200, b"[{}]"), DeliveryRefused, "to be Chroma. It answers with something else."),
        ((302, HTML), DeliveryRefused, "It does not: 302 Found."),
        ((401, HTML), DeliveryRefused, "PIXELMILL_PASSWORD_SEARCH is the token, or the password of the user"),
        ((403, HTML), DeliveryRefused, "PIXELMILL_PASSWORD_SEARCH is the token, or the password of the user"),
        ((404, HTML), DeliveryRefused, "to be Chroma 1.0 or newer, with the tenant"),
        ((413, HTML), DeliveryRefused, "Raise how much it takes, or what stands before it"),
        ((400, b'{"message": "' + b"x" * 5_000 + b'"}'), DeliveryRefused, "It does not: x{300}."),
    ],
)
def test_whatever_is_answered_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    answer: tuple[int, bytes], kind: type[DeliveryError], words: str,
) -> None:  # fmt: skip
    """By an error that says whether to try again, never with the token."""
    monkeypatch.setenv("PIXELMILL_PASSWORD_SEARCH", SECRET)
    caplog.set_level(0)
    store = store_of_blocks(tmp_path / "store")
    with between(1, lambda _: answer) as port, pytest.raises(DeliveryError, match=words) as error:
        deliver(store, Delivery(name="search", to=f"chroma://127.0.0.1:{port}", models=("a",)))
    assert type(error.value) is kind
    assert SECRET not in "".join(traceback.format_exception(error.value)) + str(error.value.delivered) + caplog.text
