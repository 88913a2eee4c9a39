"""Bundles: packed where there is a network, the mirror of everything where there is none, checked file by file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixelmill import catalog
from pixelmill.cli.main import main
from pixelmill.errors import WeightsRefused, WeightsUnavailable
from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.models.fetch.bundle import MANIFEST
from pixelmill.models.load import load
from pixelmill.models.pack import pack
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TinyModels, path_under
from tests.support.server import WeightsServer

HUB = "https://huggingface.co/some/repo/resolve/main"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WeightsServer]:
    with WeightsServer(tmp_path / "upstream").running() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, server: WeightsServer) -> WeightsCache:
    """Of the machine that has a network."""
    return WeightsCache(tmp_path / "cache", mirrors={"*": server.url})


@pytest.fixture
def spec(server: WeightsServer) -> ModelSpec:
    """A model of which upstream publishes no sha256, with its weights only as `.bin` and one of two tokenizer files."""
    for name, content in (("open_clip_pytorch_model.bin", b"w" * 5000), ("tokenizer.json", b"{}")):
        path_under(server.folder, f"{HUB}/{name}").write_bytes(content)
    weights = WeightsSource(f"{HUB}/model.safetensors", alternative=f"{HUB}/open_clip_pytorch_model.bin")
    others = tuple(WeightsSource(f"{HUB}/{name}", optional=True) for name in ("tokenizer.json", "vocab.txt"))
    return replace(catalog.get("openai_clip_vit_b32"), name="one", weights=weights, others=others)


def carried(tmp_path: Path) -> WeightsCache:
    """The cache of the machine that has only the bundle."""
    return WeightsCache(tmp_path / "elsewhere", mirrors={"*": str(tmp_path / "bundle")}, offline=True)


def test_all_that_a_model_needs_comes_out_again(
    tmp_path: Path, cache: WeightsCache, spec: ModelSpec, server: WeightsServer
) -> None:
    """Weights under their second name and the files beside them are there, the same bytes, and nobody is asked."""
    bundle = pack([spec], cache, tmp_path / "bundle")
    server.requests.clear()
    there = carried(tmp_path)
    files = [there.fetch_if_there(source) for source in spec.files]
    assert [file and file.path.read_bytes() for file in files] == [b"w" * 5000, b"{}", None]
    assert server.requests == []
    assert bundle.models == {"one": [f"huggingface.co/some/repo/resolve/main/{n}" for n in (
        "open_clip_pytorch_model.bin", "tokenizer.json")]}  # fmt: skip


def test_every_backend_loads_from_a_bundle(tmp_path: Path, tiny: TinyModels) -> None:
    """Models of all backends, packed together, load where nothing but the bundle is."""
    pack(tiny.specs, tiny.cache(tmp_path / "cache"), tmp_path / "bundle")
    for spec in tiny.specs:
        assert load(spec, carried(tmp_path)).spec == spec


def test_packing_again_copies_nothing_and_adds_what_is_new(
    tmp_path: Path, cache: WeightsCache, spec: ModelSpec, server: WeightsServer
) -> None:
    """What is in a bundle stays as it is; another model joins it."""
    pack([spec], cache, tmp_path / "bundle")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "bundle").rglob("*.bin")}
    path_under(server.folder, "https://example.org/two.pth").write_bytes(b"two")
    two = replace(spec, name="two", weights=WeightsSource("https://example.org/two.pth"), others=())
    bundle = pack([spec, two], cache, tmp_path / "bundle")
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert bundle.models["two"] == ["example.org/two.pth"]
    assert carried(tmp_path).fetch(two.weights).path.read_bytes() == b"two"


@pytest.mark.parametrize("damage", [b"w" * 4999 + b"x", b"w" * 4000, b""], ids=["altered", "cut off", "empty"])
def test_a_damaged_bundle_is_refused_and_mended(
    tmp_path: Path, cache: WeightsCache, spec: ModelSpec, damage: bytes
) -> None:
    """Where upstream publishes no sha256 the manifest's is expected: the file is named, not used; packing mends it."""
    pack([spec], cache, tmp_path / "bundle")
    (packed,) = (tmp_path / "bundle").rglob("*.bin")
    packed.write_bytes(damage)
    with pytest.raises(WeightsRefused, match=r"open_clip_pytorch_model\.bin"):
        carried(tmp_path).fetch(spec.weights)
    pack([spec], cache, tmp_path / "bundle")
    assert carried(tmp_path).fetch(spec.weights).path.read_bytes() == b"w" * 5000


def test_a_file_that_the_manifest_does_not_name_is_refused(
    tmp_path: Path, cache: WeightsCache, spec: ModelSpec
) -> None:
    """What somebody put beside the packed files is not taken for one of them."""
    pack([spec], cache, tmp_path / "bundle")
    path_under(tmp_path / "bundle", f"{HUB}/model.safetensors").write_bytes(b"strange")
    with pytest.raises(WeightsRefused, match="not named there"):
        carried(tmp_path).fetch(spec.weights)


@pytest.mark.parametrize("content", ["{", '{"format": 1, "files": []}', '{"format": 99}'])
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path, spec: ModelSpec, content: str) -> None:
    """A bundle whose manifest is broken, or of a later format, is not a folder of unchecked files."""
    path_under(tmp_path / "bundle", f"{HUB}/model.safetensors").write_bytes(b"w")
    (tmp_path / "bundle" / MANIFEST).write_text(content)
    with pytest.raises(WeightsRefused, match="bundle"):
        carried(tmp_path).fetch(spec.weights)


def test_a_model_that_is_not_in_the_bundle_is_named(tmp_path: Path, cache: WeightsCache, spec: ModelSpec) -> None:
    """The message says which file was looked for where."""
    pack([spec], cache, tmp_path / "bundle")
    with pytest.raises(WeightsUnavailable, match=r"bundle/example\.org/other\.pth"):
        carried(tmp_path).fetch(WeightsSource("https://example.org/other.pth"))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_the_commands(
    tmp_path: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`weights bundle` packs by name, `mirrors = "bundle"` is all that the other machine needs, `list` tells what is
    held and of which model, `prune` removes it, and only says so with --dry-run."""
    body = b"o" * 3000
    digest = hashlib.sha256(body).hexdigest()
    path_under(server.folder, "https://example.org/own.pth").write_bytes(body)
    own = (
        '[models.mine]\nbackend = "torchvision"\narchitecture = "resnet18"\n'
        f'checkpoint = "https://example.org/own.pth"\nsha256 = "{digest}"\n'
    )
    Path("pixelmill.toml").write_text(f'[weights]\nmirrors = "{server.url}"\n{own}')
    assert run("weights", "bundle", "mine", "efficientnet_lite0", "-o", "bundle") == 0
    assert "mine: 1 files, 3.0 kB" in (told := capsys.readouterr().out)
    assert "efficientnet_lite0: 0 files" in told, "its package ships it"
    Path("pixelmill.toml").write_text(f'[weights]\nmirrors = "bundle/"\noffline = true\n{own}')
    monkeypatch.setenv("PIXELMILL_WEIGHTS__CACHE_DIR", str(tmp_path / "other"))
    server.requests.clear()
    assert run("pull", "mine") == 0
    assert server.requests == []
    capsys.readouterr()
    assert run("weights", "list", "--json") == 0
    (held,) = json.loads(capsys.readouterr().out)["files"]
    assert (held["models"], held["bytes"], held["whole"]) == (["mine"], 3000, True)
    assert run("weights", "prune", "mine", "--dry-run") == 0
    assert Path(held["path"]).exists()
    assert run("weights", "prune", "--unused-for", "1") == 0
    assert Path(held["path"]).exists(), "it was used just now"
    assert run("weights", "prune", "mine") == 0
    assert not Path(held["path"]).exists()
    assert run("weights", "prune") == 2
    capsys.readouterr()
    assert run("weights", "list") == 0
    assert "0 files, 0 B" in capsys.readouterr().out


def test_what_a_broken_download_left_is_listed_and_pruned(
    tmp_path: Path, cache: WeightsCache, spec: ModelSpec, server: WeightsServer
) -> None:
    """A partial file counts as held, as cut off, and goes with its notes."""
    from pixelmill.models.inventory import inventory, remove

    path_under(server.folder, "https://example.org/big.pth").write_bytes(b"b" * 100_000)
    server.behaviour.cut_after = [50_000, 0, 0]
    big = replace(spec, name="big", weights=WeightsSource("https://example.org/big.pth"), others=())
    with pytest.raises(WeightsUnavailable):
        cache.fetch(big.weights)
    (held,) = inventory(cache, [big])
    assert (held.models, held.bytes, held.whole) == (("big",), 50_000, False)
    remove(held)
    assert [path for path in cache.cache_dir.rglob("*") if path.is_file()] == []
