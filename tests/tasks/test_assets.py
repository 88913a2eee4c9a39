"""What a run tells Prefect of the matrices that it made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.assets import Asset

from pixelmill.report.model import RunReport, read_report
from tasks._assets import asset_key, matrices

KEPT = Path(__file__).parents[1] / "report" / "golden" / "0.1.0-night-3.json"
MODEL = "efficientnet_lite0"


@pytest.fixture
def report() -> RunReport:
    report = read_report(json.loads(KEPT.read_text()))
    assert report
    return report


def test_a_matrix_is_an_asset_with_its_counts(report: RunReport) -> None:
    ((asset, metadata),) = matrices(report, [], 26, "http://server/runs/flow-run/1").items()
    assert asset.key == f"pixelmill:///stores/nightly/{MODEL}"
    assert asset.properties
    assert asset.properties.url == "http://server/runs/flow-run/1"
    assert metadata == {
        "store": "/stores/nightly", "rows": 26, "dim": 1280, "embedded": 1, "pending": 0, "quarantined": 1,
        "coverage": 25 / 26, "dataset": f"vectors/{MODEL}", "fingerprint": None,
    }  # fmt: skip


def test_a_night_without_news_makes_none(report: RunReport) -> None:
    """A matrix that is as it was has not been made anew; one that lost a row, or filled up, has."""
    images = report.images.model_copy(update={"new": 0, "duplicate": 0})
    models = {MODEL: report.models[MODEL].model_copy(update={"embedded": 0})}
    quiet = report.model_copy(update={"images": images, "models": models})
    removed = images.model_copy(update={"removed": 1})
    assert matrices(quiet, [], 26, None) == {}
    assert len(matrices(quiet.model_copy(update={"images": removed}), [], 26, None)) == 1
    assert len(matrices(quiet.model_copy(update={"models": report.models}), [], 26, None)) == 1


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("/photos", "file:///photos"),
        ("/", "file:///"),
        ("@/lists/new.txt", "file:///lists/new.txt"),
        ("s3://bucket/photos/", "s3://bucket/photos"),
        ("/my photos/100%/[x]/a\nb", "file:///my_photos/100_/_x_/a_nb"),
        ("/caf\udce9", "file:///caf_udce9"),
        ("https://host/list?token=1", "https://host/list"),
        ("@https://host/list.txt?token=1", "https://host/list.txt"),
        ("@s3://bucket/list.txt", "s3://bucket/list.txt"),
        ("s3://bucket/what?/photos", "s3://bucket/what_/photos"),
        ("sftp://me@host/photos", "sftp://host/photos"),
    ],
)
def test_any_source_has_a_key_that_prefect_takes(place: str, key: str) -> None:
    assert asset_key(place) == key
    Asset(key=key)


def test_a_model_without_a_matrix_makes_none(report: RunReport) -> None:
    """One that could not be had, in a night with new images: there is nothing of it that could be used."""
    left_out = report.models[MODEL].model_copy(update={"embedded": 0, "dataset": "vectors/other"})
    beside = report.model_copy(update={"models": {**report.models, "other": left_out}})
    ((asset, _),) = matrices(beside, [], 26, None).items()
    assert asset.key.endswith(MODEL)
