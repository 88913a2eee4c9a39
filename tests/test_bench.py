"""`pixelmill bench`: what it measures, and how it tells it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pixelmill.bench import best_batch, rate
from pixelmill.cli.main import main
from tests.conftest import SavePicture


@pytest.mark.slow
def test_a_model_is_measured_over_images(
    tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures agree with each other: a run is no faster than its stages, and files that are no images do not count."""
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        save_picture(tmp_path / "photos" / f"{seed}.png", seed)
    (tmp_path / "photos" / "broken.png").write_bytes((tmp_path / "photos" / "0.png").read_bytes()[:200])
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "photos", "--models", "efficientnet_lite0", "--seconds", "0.5", "--json"])
    assert stopped.value.code == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert (found["model"], found["dim"], found["device"]) == ("efficientnet_lite0", 1280, "cpu")
    assert 0 < found["images_per_second"] < 1.5 * found["decode_images_per_second"]
    assert found["images_per_second"] < 1.5 * found["model_images_per_second"]
    assert found["ms_per_image"] == pytest.approx(1000 / found["images_per_second"], rel=0.05)
    assert found["bottleneck"] in ("read", "decode", "model")
    assert found["memory_mb"] > 100
    assert {path.name for path in tmp_path.iterdir()} <= {"photos", "cache"}, "it leaves something behind"


def test_without_an_image_there_is_nothing_to_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the source."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "photos", "--models", "efficientnet_lite0"])
    assert stopped.value.code == 2
    assert "Expected images to measure with in photos" in capsys.readouterr().err


def test_the_batch_size_is_the_smallest_that_is_about_as_fast_as_any() -> None:
    """A batch costs 4 ms, and 1 ms more for every image beyond 16: larger batches than that gain nothing."""

    def embed(images: int) -> int:
        time.sleep(0.004 + 0.001 * max(images - 16, 0))
        return images

    size, found = best_batch(embed, 0.05)
    assert size == 16
    assert 1000 < found <= 4000


def test_a_rate_counts_what_was_done() -> None:
    """So many images by the seconds that they took; the first time does not count, unless it takes all of them."""
    calls = []

    def work() -> int:
        calls.append(1)
        time.sleep(0.2 if len(calls) == 1 else 0.01)
        return 5

    assert 100 < rate(work, 0.3) <= 500
    assert len(calls) > 3
    calls.clear()
    assert 10 < rate(work, 0.1) <= 25
    assert len(calls) == 1


def test_a_slow_model_is_not_asked_for_more_than_the_time_allows() -> None:
    """At 50 images/s and half a second in all, no batch is tried that takes longer than that alone."""
    asked = []

    def embed(images: int) -> int:
        asked.append(images)
        time.sleep(0.02 * images)
        return images

    best_batch(embed, 0.5 / 9)
    assert sum(asked) * 0.02 < 1.5
