"""What is known of real pictures, from the files beside them to a search, an export and the page."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import pixelmill
from pixelmill.cli.main import cli

STAMPS = Path(os.environ.get("STAMPS", "/usr/share/tuxpaint/stamps"))
"""Of the Debian package tuxpaint-stamps-default: 796 pictures, with a caption in a `.txt` beside each."""
IMAGES = Path(__file__).parent.parent / "examples" / "images"

pytestmark = pytest.mark.slow


def command(*arguments: str) -> str:
    outcome = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


@pytest.mark.skipif(
    not STAMPS.is_dir(), reason=f"tuxpaint-stamps-default is not installed ({STAMPS}; STAMPS names it)."
)
def test_captions_of_real_pictures(tmp_path: Path) -> None:
    """A run takes them in; conditions, exports and tables have them; a second run does nothing."""
    store, table = str(tmp_path / "store"), tmp_path / "stamps.parquet"
    first = json.loads(command("run", str(STAMPS / "animals"), "--store", store, "--json"))
    assert first["columns"]["beside"]["read"] > 100
    found = json.loads(
        command("search", store, "--row", "0", "--where", "caption LIKE '%horse%'", "-k", "50", "--json")
    )
    paths = {Path(one["path"]).stem for one in found["results"]}
    assert {"horse", "seahorse"} <= paths
    for stem in paths:
        (text,) = STAMPS.glob(f"animals/**/{stem}.txt")
        assert "horse" in text.read_text("utf-8").splitlines()[0]
    command("export", store, str(table), "--models", "efficientnet_lite0")
    exported = pq.read_table(table).to_pylist()
    captions = {row["path"]: row["caption"] for row in exported}
    for path, caption in captions.items():
        text = (STAMPS / "animals" / path).with_suffix(".txt")
        assert caption == (text.read_text("utf-8").splitlines()[0].strip() if text.exists() else None)
    frame = pixelmill.Store(store).to_pandas(where="caption LIKE '%horse%'")
    assert set(frame["path"].map(lambda path: Path(path).stem)) == paths
    again = json.loads(command("run", str(STAMPS / "animals"), "--store", store, "--json"))
    assert (again["images"]["new"], again["columns"]["rows"], again["columns"]["beside"]["read"]) == (0, 0, 0)


def test_members_columns_and_what_a_phone_sends(tmp_path: Path) -> None:
    """A WebDataset tar with texts and JSON, a Parquet with captions and labels, and a Takeout folder, in one run."""
    names = ["sea/far.webp", "city/river.jpg", "flowers/close.jpg"]
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for key, text in {"000.txt": "far out", "000.json": json.dumps({"score": 0.5, "tags": ["a"]})}.items():
            (tmp_path / key).write_text(text)
            tar.add(tmp_path / key, key)
        tar.add(IMAGES / names[0], "000.webp")
    row = {"image": (IMAGES / names[1]).read_bytes(), "caption": "a river", "label": 7}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    takeout = tmp_path / "Takeout"
    takeout.mkdir()
    (takeout / "IMG_1.jpg").write_bytes((IMAGES / names[2]).read_bytes())
    told = {"title": "IMG_1.jpg", "description": "Blumen", "photoTakenTime": {"timestamp": "1717236000"},
            "geoData": {"latitude": 48.1, "longitude": 11.5, "altitude": 520.0}}  # fmt: skip
    (takeout / "IMG_1.jpg.supplemental-metadata.json").write_text(json.dumps(told))
    store = str(tmp_path / "store")
    sources = [str(tmp_path / name) for name in ("shard.tar", "rows.parquet", "Takeout")]
    command("run", *sources, "--store", store)
    frame = pixelmill.Store(store).to_pandas().set_index("caption")
    assert sorted(frame.index) == ["Blumen", "a river", "far out"]
    assert frame.loc["far out", "score"] == 0.5
    assert frame.loc["a river", "label"] == 7
    assert frame.loc["Blumen", "takeout_latitude"] == 48.1
    opened = pixelmill.Store(store)
    assert len(opened.rows_where("takeout_taken_at::DATE = DATE '2024-06-01'")) == 1
    assert len(opened.rows_where("tags LIKE '%\"a\"%' AND label IS NULL")) == 1
