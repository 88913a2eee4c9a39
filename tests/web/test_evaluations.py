"""Models that were compared are told as `pixelmill evaluate` kept them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pixelmill.evaluation.kept import FOLDER, keep
from pixelmill.evaluation.told import Evaluation
from pixelmill.report.evaluation import headline, left_out, verdicts
from tests.support.compared import TOLD
from tests.support.gallery import told
from tests.web.conftest import ClientOf, Collection


@pytest.fixture
def compared(collection: Collection, tmp_path: Path) -> Collection:
    """A store with two comparisons, the second one of some pictures only, and a damaged one."""
    made = replace(collection, store=tmp_path / "store")
    shutil.copytree(collection.store, made.store)
    keep(made.store, TOLD)
    keep(made.store, TOLD.model_copy(update={"labels": "kind", "where": "bytes > 3"}))
    (made.store / FOLDER / "20990101T000000.000Z.json").write_text("{")
    return made


def test_what_is_kept_is_told(compared: Collection, client_of: ClientOf) -> None:
    """The newest first, in numbers and in the words of the command; what is damaged is not among it."""
    client = client_of(compared)
    second, first = told(client, "evaluations")["evaluations"]
    assert [one["labels"] for one in (second, first)] == ["kind", "folder"]
    assert (second["where"], first["where"], second["models"]) == ("bytes > 3", None, [one.name for one in TOLD.scores])
    one = told(client, f"evaluations/{first['name']}")
    assert Evaluation.model_validate(one["evaluation"]) == TOLD
    assert one["headline"] == headline(TOLD)
    assert one["verdicts"] == list(verdicts(TOLD))
    assert one["left_out"] == list(left_out(TOLD))
    assert one["measures"] == {"neighbours_5": "5-NN", "probe": "probe"}


def test_without_any_there_are_none(client: TestClient) -> None:
    """No error; one that is not there is told as gone, and what is no name of one as that."""
    assert told(client, "evaluations") == {"evaluations": []}
    assert client.get("/api/evaluations/20240101T000000.000Z").status_code == 404
    assert client.get("/api/evaluations/..%2Fvectors").status_code in (404, 422)


def test_odd_letters_are_escaped(compared: Collection, client_of: ClientOf) -> None:
    """A folder may be called by bytes that are no UTF-8."""
    keep(compared.store, TOLD.model_copy(update={"labels": "a\udcff", "notes": ("\udc80",)}))
    client = client_of(compared)
    newest = told(client, "evaluations")["evaluations"][0]
    assert newest["labels"] == "a\\udcff"
    assert told(client, f"evaluations/{newest['name']}")["evaluation"]["notes"] == ["\\udc80"]
