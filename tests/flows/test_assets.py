"""A run tells Prefect of the matrices that it made, by events of assets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker

from flows.vectorize import vectorize
from tests.conftest import SavePicture

MODEL = "efficientnet_lite0"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def told(photos: Path) -> list[Any]:
    """The events of assets that a run over a folder sends."""
    AssertingEventsClient.reset()
    EventsWorker.set_client_override(AssertingEventsClient)
    try:
        vectorize([str(photos)], store="store", precision="float32")
        EventsWorker.drain_all()
    finally:
        EventsWorker.set_client_override(None)
    sent = [event for client in AssertingEventsClient.all for event in client.events]
    return [event for event in sent if event.event.startswith("prefect.asset.")]


def test_a_matrix_that_was_made_is_told_once(save_picture: SavePicture, tmp_path: Path) -> None:
    """With its counts, beside the run and the sources; a run that changes nothing tells of none."""
    save_picture(tmp_path / "photos" / "a.png", 1)
    source, made = told(tmp_path / "photos")
    assert (source.event, source.resource.id) == ("prefect.asset.referenced", f"file://{tmp_path}/photos")
    assert made.event == "prefect.asset.materialization.succeeded"
    assert made.resource.id == f"pixelmill://{Path('store').absolute()}/{MODEL}"
    assert (made.payload["rows"], made.payload["embedded"], made.payload["pending"]) == (1, 1, 0)
    assert len(made.payload["fingerprint"]) == 64
    related = [resource.id for resource in made.related]
    assert source.resource.id in related
    assert any(each.startswith("prefect.flow-run.") for each in related)
    assert told(tmp_path / "photos") == []
