"""A flow that does not come to its end leaves its report in the UI as well."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.vectorize import AS_TASKS, vectorize
from pixelmill.errors import StoreDamaged
from pixelmill.report.history import recorded
from pixelmill.store.readonly import ledger_of
from tests.conftest import SavePicture


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("error", [StoreDamaged("A part is missing."), KeyboardInterrupt()], ids=repr)
def test_its_report_is_an_artifact_of_the_run(
    error: BaseException, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a run that failed, and one of a run that somebody stopped."""

    def ends(*_: object) -> Any:
        raise error

    save_picture(Path("photos/0.png"), 0)
    monkeypatch.setattr(sys.modules["flows.vectorize"], "AS_TASKS", replace(AS_TASKS, embed=ends))
    with pytest.raises(type(error)):
        vectorize(["photos"], store="store", precision="float32")
    ended = "failed" if isinstance(error, Exception) else "cancelled"
    with ledger_of(Path("store")) as ledger, get_client(sync_client=True) as client:
        assert ledger
        (report,) = recorded(ledger, 9)
        texts = [str(artifact.data) for artifact in client.read_artifacts() if str(report.store) in str(artifact.data)]
    assert (report.ended, report.models["efficientnet_lite0"].pending) == (ended, 1)
    assert [text for text in texts if text.startswith(f"# {ended.capitalize()}. 1 vector pending.")]
