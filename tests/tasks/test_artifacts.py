"""What is shown in the Prefect UI, and cannot be."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from tasks import _artifacts
from tasks._artifacts import not_needed


def test_a_server_that_is_away_is_not_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shown of work that goes on is asked for once; what goes wrong is told, not every few seconds."""
    monkeypatch.setattr(_artifacts, "_told", {})
    for _ in range(3):
        with not_needed("progress", at_once=True):
            assert PREFECT_CLIENT_MAX_RETRIES.value() == 0
            raise ConnectionError("refused")
    assert caplog.messages == ["progress could not be shown in the Prefect UI: ConnectionError: refused"]
    with not_needed("report"):
        assert PREFECT_CLIENT_MAX_RETRIES.value() > 0
