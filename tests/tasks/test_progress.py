"""Progress as the Prefect UI gets it, from a real run at a real API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.vectorize import vectorize
from tests.conftest import SavePicture

pytestmark = pytest.mark.usefixtures("prefect_api")


def progress_of(state: Any) -> Any:
    """The one progress artifact of the flow run that ended in `state`."""
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts()
    mine = [a for a in artifacts if a.type == "progress" and a.flow_run_id == state.state_details.flow_run_id]
    (artifact,) = mine
    return artifact


def test_progress_is_an_artifact_of_the_run_that_was_started(save_picture: SavePicture) -> None:
    """Not of the one that embeds, which nobody looks at; it counts what was embedded, and a refused picture is not."""
    for seed in range(3):
        save_picture(Path(f"photos/{seed}.png"), seed)
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    artifact = progress_of(vectorize(["photos"], store="store", precision="float32", return_state=True))
    assert artifact.data == 75.0
    assert artifact.description == "75%: 3 of 4 with efficientnet_lite0 (photos)"


def test_progress_is_told_while_it_runs(save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two batches, not only at the end."""
    told: list[float] = []
    monkeypatch.setattr("tasks._progress._EVERY", 0.0)
    monkeypatch.setattr("tasks._progress.update_progress_artifact", lambda _id, percent, _words: told.append(percent))
    for seed in range(4):
        save_picture(Path(f"photos/{seed}.png"), seed)
    vectorize(["photos"], store="store", precision="float32", batch_size=1)
    assert told == [25.0, 50.0, 75.0, 100.0, 100.0]
