"""Progress as the Prefect UI gets it, from a real run at a real API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from flows.vectorize import vectorize
from pixelmill.embedding.progress import tell
from tasks._artifacts import key_of
from tasks._progress import progress_of, reach, shown
from tests.conftest import SavePicture

pytestmark = pytest.mark.usefixtures("prefect_api")


def progress_of_run(state: Any) -> Any:
    """The one progress artifact of the flow run that ended in `state`."""
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts()
    mine = [a for a in artifacts if a.type == "progress" and a.flow_run_id == state.state_details.flow_run_id]
    (artifact,) = mine
    return artifact


def test_the_last_state_is_all_of_it(save_picture: SavePicture) -> None:
    """A refused picture is done with: nothing is left, and the last words are the report's."""
    for seed in range(3):
        save_picture(Path(f"photos/{seed}.png"), seed)
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    artifact = progress_of_run(vectorize(["photos"], store="store", precision="float32", return_state=True))
    assert artifact.key == key_of("progress", "store")
    assert artifact.data == 100.0
    assert artifact.description.startswith("100%: 4 new images. 3 vectors made in ")


def test_progress_is_told_while_it_runs(save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two batches, not only at the end."""
    told: list[float] = []
    monkeypatch.setattr("tasks._progress._EVERY", 0.0)
    monkeypatch.setattr("tasks._progress._MOST_HELD_UP", float("inf"))
    monkeypatch.setattr("tasks._progress.update_progress_artifact", lambda _id, percent, _words: told.append(percent))
    for seed in range(4):
        save_picture(Path(f"photos/{seed}.png"), seed)
    vectorize(["photos"], store="store", precision="float32", batch_size=1)
    assert told == [25.0, 50.0, 75.0, 100.0, 100.0, 100.0]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """What the UI is told of the one artifact that is made."""
    said: list[tuple[float, str]] = []
    made = iter([UUID(int=1)])
    monkeypatch.setattr("tasks._progress._EVERY", 0.0)
    monkeypatch.setattr("tasks._progress._MOST_HELD_UP", float("inf"))
    monkeypatch.setattr("tasks._progress.create_progress_artifact", lambda *_, **__: next(made))
    monkeypatch.setattr(
        "tasks._progress.update_progress_artifact", lambda _id, percent, words: said.append((percent, words))
    )
    return said


def test_workers_and_rounds_are_one_artifact(told: list[tuple[float, str]]) -> None:
    """Two workers say how far they are and hand that in, which counts once; one is lost, and what it left is given out
    again."""
    with progress_of(Path("store")):
        with shown({"a": 100}):
            reach([{"a": 30}, {"a": 10}])
            tell("a", 30)
            reach([{"a": 40}, {"a": 10}])
        assert [percent for percent, _ in told] == [40.0, 40.0, 50.0, 50.0]
        with shown({"a": 50}):
            reach([{"a": 20}])
            tell("a", 50)
    assert [percent for percent, _ in told][4:] == [70.0, 100.0, 100.0]
    assert "100 of 100 with a" in told[-1][1]


def test_a_run_that_fails_says_how_far_it_came(told: list[tuple[float, str]]) -> None:
    """It does not look as if it went on."""

    def fail() -> None:
        with progress_of(Path("store")), shown({"a": 4}):
            tell("a", 1)
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        fail()
    assert told[-1] == (25.0, "Stopped at 25%: 1 of 4 with a")


def test_a_server_that_hangs_does_not_hold_up_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that it is told something it takes a minute, in which nothing is embedded: so it is told seldom. One
    that answers is told every few seconds."""
    now, asked = [1000.0], []
    monkeypatch.setattr("tasks._progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tasks._progress.create_progress_artifact", lambda *_, **__: UUID(int=1))

    def work(seconds: int, seconds_each: float) -> float:
        """For how much of the time that it takes so many seconds' work is held up."""

        def hang(*_: object) -> None:
            asked.append(now[0])
            now[0] += seconds_each

        monkeypatch.setattr("tasks._progress.update_progress_artifact", hang)
        began = now[0]
        with progress_of(Path("store")), shown({"a": seconds}):
            for _ in range(seconds):
                now[0] += 1.0
                tell("a", 1)
        return 1 - seconds / (now[0] - began)

    assert work(3600, 60.0) < 0.12
    asked.clear()
    assert work(300, 0.05) < 0.02
    assert len(asked) > 300 / 7


def test_keys_are_what_prefect_takes_and_one_a_store() -> None:
    """Stores of one name in two folders have two, whatever they are called; a store has one, however it is written."""
    names = ("/a/store", "/b/store", "/a/Übersee 2024", "/a/写真", "/a/" + "long" * 40)
    keys = [key_of("report", name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,60}", key) for key in keys)
    assert keys[0].startswith("report-store-")
    assert key_of("report", Path("/a/b/../store")) == keys[0]
