"""The command line as people and scripts meet it: output, JSON, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pixelmill import catalog
from pixelmill.store.reader import Store
from tests.conftest import SavePicture, is_tmpfs
from tests.support.commands import code
from tests.support.image_server import Faults, ImageServer

MODEL = "efficientnet_lite0"


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    for seed in range(4):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return tmp_path / "photos"


@pytest.fixture
def store(photos: Path) -> Path:
    """A store of the four pictures."""
    assert code("run", str(photos), "--store", "store", "--precision", "float32") == 0
    return Path("store")


def output(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints on stdout."""
    capfd.readouterr()
    assert code(*arguments) == 0
    return capfd.readouterr().out


def in_process(arguments: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pixelmill", *arguments], capture_output=True, text=True, timeout=240,
        env={**os.environ, **variables},
    )  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    """`pixelmill --help` answers at once: torch, Prefect, h5py and NumPy are not imported for it."""
    script = (
        "import sys\nfrom pixelmill.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'prefect', 'h5py', 'numpy', 'pydantic', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Store care:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_run_json_is_the_only_output_and_needs_no_server(photos: Path, memory: Path) -> None:
    """A fresh process without a Prefect server runs, and prints one JSON object of the documented shape on stdout; a
    warning, here of a store on a tmpfs, comes once on stderr."""
    home = {"PREFECT_HOME": str(photos.parent / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    done = in_process(["run", str(photos), "--store", str(memory / "store"), "--json"], **home)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lies in memory (tmpfs)") == is_tmpfs(memory)
    report = json.loads(done.stdout)
    assert set(report) == {
        "store", "started", "seconds", "sources", "images", "models", "bottleneck", "advice", "coverage", "folders",
        "failures", "nights", "notable", "warnings", "workers", "plan", "self_check", "failure", "failure_rate",
        "exceeded_failure_rate", "embedded_twice", "hung", "schema_version", "unreadable", "attention", "new_images",
        "ended", "error", "steps", "columns", "facts", "deliveries", "heads",
    }  # fmt: skip
    assert report["images"] == {
        "seen": 4, "new": 4, "changed": 0, "moved": 0, "duplicate": 0, "removed": 0, "quarantined": 0,
    }  # fmt: skip
    model = report["models"][MODEL]
    assert set(model) == {
        "embedded", "pending", "quarantined", "dim", "device", "precision", "decode", "images_per_second", "dataset",
        "precision_origin", "precision_measured",
    }  # fmt: skip
    assert (model["embedded"], model["pending"], model["dim"], model["decode"]) == (4, 0, 1280, "fast")
    assert model["precision"] == model["precision_measured"]["precision"]
    assert set(model["precision_measured"]) == {"precision", "pictures", "batch_size", "tried"}
    assert set(model["precision_measured"]["tried"][0]) == {"precision", "least_cosine", "speed"}
    assert model["images_per_second"] > 0
    assert report["bottleneck"] in ("read", "decode", "model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "Expected at least one SOURCE"),
        (("run", "nowhere"), "nowhere"),
        (("run", "PHOTOS", "--models", "openai_clip_vit_b23"), "Did you mean 'openai_clip_vit_b32'"),
        (("run", "PHOTOS", "--models", "resnet18,resnet18"), "each named once"),
        (("run", "PHOTOS", "--models", ""), "Got none"),
        (("run", "PHOTOS", "--deadline", "soon"), "deadline"),
        (("run", "PHOTOS", "--batch-size", "0"), "batch-size"),
        (("run", "PHOTOS", "--config", "missing.toml"), "missing.toml"),
        (("pull", "resnet19"), "resnet18"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_told_in_words(
    photos: Path, capfd: pytest.CaptureFixture[str], arguments: Sequence[str], words: str
) -> None:
    """What the user must change is named, on stderr, without a traceback."""
    assert code(*(str(photos) if a == "PHOTOS" else a for a in arguments)) == 2
    captured = capfd.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_no_store_is_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    """Looking at a store that is not there fails, and makes none."""
    for command in ("info", "verify", "compact", "quarantine", "repair"):
        assert code(command, "nothing") == 1
        assert "nothing" in capfd.readouterr().err
    assert not Path("nothing").exists()


def test_too_many_refused_images_are_exit_code_3(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Above max_failure_rate the run is done but says so; the quarantine names file, stage and reason; --retry empties it."""
    (photos / "bad.jpg").write_text("<html>no picture</html>")
    assert code("run", str(photos), "--store", "store", "--precision", "float32") == 3
    assert "20% of the images were refused or could not be read, and max_failure_rate is 5%" in capfd.readouterr().err
    told = json.loads(output(capfd, "quarantine", "store", "--json"))["quarantined"]
    assert [(Path(entry["path"]).name, entry["stage"]) for entry in told] == [("bad.jpg", "decode")]
    assert "HTML" in told[0]["reason"]
    assert "bad.jpg" in output(capfd, "quarantine", "store", "--retry")
    assert json.loads(output(capfd, "quarantine", "store", "--json"))["quarantined"] == []
    assert code("run", str(photos), "--store", "store", "--precision", "float32") == 3, "it was tried again"


def test_sources_that_cannot_be_read_are_exit_code_1(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing could be read, the run says so, with its report; beside others a source costs a warning, and an
    empty folder is none."""
    Path("a.tar").write_bytes(b"this is no tar archive" * 1000)
    run = ("run", "--store", "store", "--precision", "float32", "--json")
    assert code(*run, "a.tar") == 1
    told = capfd.readouterr()
    assert "a.tar" in json.loads(told.out)["warnings"][-1]
    assert "Error: Expected images in the sources" in told.err
    assert "a.tar" in json.loads(output(capfd, *run, "a.tar", str(photos)))["warnings"][-1]
    Path("empty").mkdir()
    assert json.loads(output(capfd, *run, "empty"))["images"]["seen"] == 0


def test_a_run_without_one_of_its_models_prints_its_report(
    photos: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, and what it did is told all the same, as JSON or in words."""
    monkeypatch.setenv("PIXELMILL_WEIGHTS__OFFLINE", "true")
    run = ("run", str(photos), "--store", "store", "--precision", "float32", "--models", "efficientnet_lite0,resnet18")
    assert code(*run, "--json") == 1
    told = capfd.readouterr()
    report = json.loads(told.out)
    assert (report["ended"], report["models"]["efficientnet_lite0"]["pending"]) == ("failed", 0)
    assert told.err.splitlines()[-1] == f"Error: {report['error']}"
    assert code(*run) == 1
    assert "efficientnet_lite0" in capfd.readouterr().out


def test_images_that_wait_are_exit_code_3(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A larger share than max_failure_rate that could not be read is pending, in the report and in the exit code."""
    with ImageServer().running() as web:
        web.files["/a.png"] = (photos / "0.png").read_bytes()
        web.faults["/a.png"] = Faults(cuts=[40] * 99)
        assert code("run", f"{web.url}/a.png", str(photos), "--store", "store", "--json") == 3
    report = json.loads(capfd.readouterr().out)
    assert (report["models"][MODEL]["embedded"], report["models"][MODEL]["pending"]) == (4, 1)


def test_info_tells_rows_coverage_and_fingerprint(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`info` shows what the file itself says, columns as well, with the number of rows that have a value."""
    told = json.loads(output(capfd, "info", str(store), "--json"))
    with h5py.File(store / "vectors.h5") as file:
        attrs = dict(file[f"vectors/{MODEL}"].attrs)
    assert told["rows"] == 4
    assert told["matrices"][0]["coverage"] == 1.0
    assert told["matrices"][0]["fingerprint"] == attrs["fingerprint"]
    known = {column["name"]: column for column in told["columns"]}
    assert known["brightness"] == {
        "name": "brightness", "kind": "float64", "unit": "grey levels, 0 to 255", "source": "fact",
        "version": known["brightness"]["version"], "values": 4,
    }  # fmt: skip
    assert known["taken_at"]["values"] == known["camera"]["values"] == 0
    assert MODEL in output(capfd, "info", str(store))
    assert "brightness" in output(capfd, "info", str(store))


def test_verify_finds_a_flipped_bit_and_repair_and_run_mend_it(
    store: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sound, damaged, repaired, embedded again, sound: each step says so in its exit code."""
    before = Store(store)[MODEL].read()
    assert "Sound" in output(capfd, "verify", str(store), "--deep")
    part = store / "parts" / next(iter(Store(store).manifest.used_parts()))
    content = bytearray(part.read_bytes())
    content[-100] ^= 4
    part.write_bytes(content)
    capfd.readouterr()
    assert code("verify", str(store)) == 1
    assert part.name in capfd.readouterr().out
    assert "4 rows without a vector" in output(capfd, "repair", str(store))
    assert code("run", str(photos), "--store", str(store), "--precision", "float32") == 0
    assert "Sound" in output(capfd, "verify", str(store))
    # Not to the bit: PyTorch sums in another order with another number of threads, or pictures in a batch.
    np.testing.assert_allclose(Store(store)[MODEL].read(), before, atol=1e-4)


def test_compact_leaves_one_part(store: Path, photos: Path, save_picture: SavePicture) -> None:
    """After two runs and `compact` the vectors are the same, in fewer files."""
    save_picture(photos / "more.png", 7)
    assert code("run", str(photos), "--store", str(store)) == 0
    before = Store(store)[MODEL].read()
    assert len(Store(store).manifest.used_parts()) == 2
    assert code("compact", str(store)) == 0
    assert len(Store(store).manifest.used_parts()) == 1
    np.testing.assert_array_equal(Store(store)[MODEL].read(), before)


@pytest.mark.parametrize("name", ["out.h5", "out.npy", "out.parquet"])
def test_export_gives_every_format_the_same_rows(store: Path, name: str) -> None:
    """Each format holds the normalised vectors with the path of each."""
    assert code("export", str(store), name, "--models", MODEL, "--normalize") == 0
    vectors, paths = read_export(Path(name))
    stored = Store(store)[MODEL].read()
    np.testing.assert_allclose(vectors, stored / np.linalg.norm(stored, axis=1, keepdims=True), rtol=1e-6)
    assert paths == ["0.png", "1.png", "2.png", "3.png"]


def test_export_refuses_what_it_cannot_write(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An unknown ending, model or number of weights is told, and no file is left."""
    before = set(Path().iterdir())
    assert code("export", str(store), "out.txt", "--models", MODEL) == 1
    assert code("export", str(store), "out.h5", "--models", "efficientnet_lite") == 2
    assert code("export", str(store), "out.h5", "--models", MODEL, "--weights", "1,2") == 1
    assert set(Path().iterdir()) == before


def read_export(out: Path) -> tuple[np.ndarray, list[str]]:
    if out.suffix == ".h5":
        with h5py.File(out) as file:
            return file["vectors"][:], list(file["path"].asstr()[:])
    if out.suffix == ".npy":
        import csv

        with out.with_suffix(".csv").open(newline="") as lines:
            return np.load(out), [row["path"] for row in csv.DictReader(lines)]
    import pyarrow.parquet as pq

    table = pq.read_table(out)
    return np.array(table["vector"].to_pylist(), dtype=np.float32), table["path"].to_pylist()


def test_models_lists_the_whole_catalog(capfd: pytest.CaptureFixture[str]) -> None:
    """`models --json` has every name with dim and input size; the table recommends."""
    listed: list[dict[str, Any]] = json.loads(output(capfd, "models", "--json"))["models"]
    assert [model["name"] for model in listed] == catalog.names()
    lite = next(model for model in listed if model["name"] == MODEL)
    assert (lite["dim"], lite["image_size"], lite["cached"]) == (1280, 224, True)
    table = output(capfd, "models")
    for choice in ("quick prototype", "best quality", "small machine", "batch work"):
        assert choice in table


def test_pull_verifies_and_says_where(capfd: pytest.CaptureFixture[str]) -> None:
    """`pull` of the embedded model needs no network and prints the checksum."""
    assert "sha256=579344248a93" in output(capfd, "pull", MODEL)


def test_a_dry_run_over_what_cannot_be_read_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the run would: exit code 1, and why, in words and in JSON; no store is made."""
    Path("broken.zip").write_bytes(b"PK\3\4 and no more")
    arguments = ("run", "broken.zip", "--store", "store", "--models", MODEL, "--dry-run", "--json")
    assert code(*arguments) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["failure"]
    assert "Error: Expected images in the sources. None was found" in told.err
    assert not Path("store").exists()
