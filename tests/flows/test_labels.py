"""What runs are called and tagged with, looked up at a real Prefect API."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.utilities.names import generate_slug

from flows._run_names import is_made_up
from flows.vectorize import vectorize
from tests.conftest import SavePicture

pytestmark = pytest.mark.usefixtures("prefect_api")
MODEL = "efficientnet_lite0"


def run_of(**parameters: Any) -> Any:
    """The flow run of a `vectorize` with these parameters, whatever became of it."""
    state = vectorize(**parameters, store="store", dry_run=True, return_state=True)
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(str(state.state_details.flow_run_id)))


def test_a_run_says_its_sources_and_models(tmp_path: Path, save_picture: SavePicture) -> None:
    """Its name and its tags hold the folders' names and the models', and nothing of the folders above."""
    save_picture(tmp_path / "photos" / "a.png")
    run = run_of(sources=[str(tmp_path / "photos")], models=[MODEL])
    assert run.name == f"photos with {MODEL} (dry run)"
    assert set(run.tags) == {"photos", MODEL}


def test_what_the_settings_say_is_said_as_well(save_picture: SavePicture) -> None:
    """A run without parameters is named by what the settings hold."""
    save_picture(Path("photos/a.png"))
    Path("pixelmill.toml").write_text('[run]\nsources = ["photos"]\n')
    run = run_of()
    assert run.name == f"photos with {MODEL} (dry run)"
    assert set(run.tags) == {"photos", MODEL}


def test_long_lists_are_counted(save_picture: SavePicture) -> None:
    """A name says three of each; the tags are all there, so that the filter finds them."""
    folders = [f"folder{number}" for number in range(5)]
    for seed, folder in enumerate(folders):
        save_picture(Path(folder, "a.png"), seed)
    models = [MODEL, "resnet18", "resnet34", "resnet50"]
    run = run_of(sources=folders, models=models)
    assert run.name == (f"folder0, folder1, folder2 and 2 more with {MODEL}, resnet18, resnet34 and 1 more (dry run)")
    assert set(run.tags) == {*folders, *models}


def test_a_run_that_cannot_begin_has_a_name(save_picture: SavePicture) -> None:
    """A wrong model's run is named by its parameters, and fails with the sentence that says what is wrong."""
    save_picture(Path("photos/a.png"))
    run = run_of(sources=["photos"], models=["efficientnet_lite"])
    assert run.name == "photos with efficientnet_lite (dry run)"
    assert run.state.is_failed()
    first, *_ = run.state.message.splitlines()
    assert "Got 'efficientnet_lite'. Did you mean 'efficientnet_lite0'" in first


def test_a_folder_whose_name_is_no_text_has_one(save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` is called what the folder is called, also where that is not UTF-8."""
    save_picture(Path("caf\udce9/a.png"))
    monkeypatch.chdir("caf\udce9")
    assert run_of(sources=["."]).name == f"caf� with {MODEL} (dry run)"


def test_a_name_that_somebody_chose_stays(save_picture: SavePicture) -> None:
    """One that Prefect made up is replaced, before the run and within it."""
    save_picture(Path("photos/a.png"))
    named = vectorize.with_options(flow_run_name="the big one")
    state = named(sources=["photos"], store="store", dry_run=True, return_state=True)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(state.state_details.flow_run_id)))
    assert run.name == "the big one"
    assert set(run.tags) == {"photos", MODEL}


@pytest.mark.parametrize(
    ("name", "made_up"),
    [
        ("phi3-andromedae", True), ("alpha42-ursae-majoris-nebula", True), ("Rustic-Borek", True), ("Small-Çiğ K", True),
        ("the big one", False), ("summer-holiday", False), ("alpha-release", False), ("photos with resnet18", False),
        ("Small-test", False), ("2026-05-01", False), ("", False),
    ],
)  # fmt: skip
def test_which_names_are_made_up(name: str, made_up: bool) -> None:
    """The forms of the server's UIs fill in stars, and goods."""
    assert is_made_up(name) is made_up


def test_the_servers_own_names_are_made_up() -> None:
    """Two words of its lists."""
    assert [name for name in (generate_slug(2) for _ in range(20)) if not is_made_up(name)] == []
