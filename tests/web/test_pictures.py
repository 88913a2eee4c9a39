"""The pictures in docs/gallery.md, taken of a collection that is rendered for them: SCREENSHOTS=docs makes them again."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pixelmill import catalog
from pixelmill.curation.clusters import find_clusters
from pixelmill.evaluation.evaluate import Asking, evaluate
from pixelmill.evaluation.kept import keep
from pixelmill.models.weights import WeightsCache
from pixelmill.run import steps
from pixelmill.run.job import CacheSpec, Job
from pixelmill.search.searcher import Searcher
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from settings import load_settings
from settings.job import find_model
from tests.support.chromium import SCREENSHOTS
from tests.support.columns import add_columns
from tests.support.examples import ROOT, example
from tests.support.gallery import served, serving

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(SCREENSHOTS is None, reason="SCREENSHOTS says no folder for pictures of the documentation."),
]
SEEDS = 8
MODEL = "efficientnet_lite0"


class Rendered:
    """The store of a run over rendered pictures and some files that are none; its folder says nothing of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache = CacheSpec(cache_dir=folder / "weights", mirrors={}, offline=True)
        self._render(folder / "photos")
        self._specs = (catalog.get(MODEL), find_model(load_settings(ROOT / "examples" / "demo.toml"), "demo_clip"))
        self.run()
        (folder / "photos" / "sea" / "late.jpg").write_bytes(
            (folder / "photos" / "sea" / "morning-0.jpg").read_bytes()[:900]
        )
        self.run()
        with StoreWriter(folder / "store") as writer:
            find_clusters(writer, model=MODEL, number=12)
        scenes = [os.fsdecode(path).rpartition("-")[0] or None for path in Store(folder / "store").paths]
        add_columns(folder / "store", {"scene": scenes})
        asking = Asking("scene", (MODEL, "demo_clip", f"{MODEL}+demo_clip"))
        keep(folder / "store", evaluate(Store(folder / "store"), asking, speeds={MODEL: 61.0, "demo_clip": 240.0}))

    def run(self) -> None:
        steps.run(
            Job(
                sources=(str(self._folder / "photos"),), store=self._folder / "store", device="cpu",
                specs=self._specs, cache=self._cache,
                max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
            )
        )  # fmt: skip

    def searcher(self) -> Searcher:
        specs = {spec.name: spec for spec in self._specs}
        cache = WeightsCache(self._cache.cache_dir, {}, True)
        return Searcher(self._folder / "store", find=specs.__getitem__, cache=cache)

    def _render(self, photos: Path) -> None:
        make_images = example("make_images")
        for name, painter, size, seed in make_images.samples():
            for number in range(SEEDS if min(size) > 250 else 0):
                file = (photos / name).with_suffix(".jpg")
                file.parent.mkdir(parents=True, exist_ok=True)
                picture = make_images.rendered(painter, size, seed + 100 * number).picture
                picture.save(file.with_stem(f"{file.stem}-{number}"), quality=85)
        (photos / "city" / "download.jpg").write_text("<!doctype html><html>Please log in</html>")
        (photos / "city" / "card.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
        (photos / "flowers" / "half copied.png").write_bytes(b"")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = Path(tempfile.gettempdir(), "archive")
    here = Path.cwd()
    os.chdir(ROOT)  # the demo's settings name files from there
    folder.mkdir()
    yield from serving(Rendered(folder), tmp_path_factory.mktemp("cache"), token=None)
    os.chdir(here)
    shutil.rmtree(folder)


def like(page: Page, address: str, name: str) -> str:
    """The address of what is like the pictures of that name."""
    found = page.request.get(f"{address}/api/rows?glob={name}").json()
    return f"{address}/?row={found['pictures'][0]['row']}&model={MODEL}"


def take(page: Page, name: str) -> None:
    """A picture of what can be seen, when it has come to rest."""
    assert SCREENSHOTS
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shown.save(SCREENSHOTS / f"gallery-{name}.webp", quality=72, method=6)


def select_some(page: Page, address: str) -> None:
    """Some pictures have a label, and others are selected."""
    page.goto(like(page, address, "still-life/*"))
    tiles = page.locator(".grid .tile[data-index]")
    expect(tiles.nth(12)).to_be_visible()
    tiles.nth(0).click(modifiers=["Control"])
    tiles.nth(4).click(modifiers=["Shift"])
    page.keyboard.press("l")
    page.get_by_role("dialog").get_by_label("Label", exact=True).fill("fruit")
    page.keyboard.press("Enter")
    expect(page.locator(".tag", has_text="fruit")).to_have_count(5)
    page.reload()
    for number in (6, 7, 9):
        tiles.nth(number).click(modifiers=["Control"])
    page.mouse.move(620, 20)


def test_pictures_on_a_desk(browser: Browser, address: str) -> None:
    """Similar images, one of them opened, coverage, quarantine, the night, clusters, models, and some selected."""
    with browser.new_context(viewport={"width": 1240, "height": 780}) as context:
        page = context.new_page()
        page.goto(like(page, address, "sea/evening-*"))
        expect(page.locator(".grid .cell").nth(5)).to_be_visible(timeout=30_000)
        take(page, "similar")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("sha256")
        take(page, "open")
        for view in ("coverage", "quarantine", "nights", "duplicates", "clusters", "compared"):
            page.goto(f"{address}/?view={view}&model={MODEL}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            take(page, view)
        page.emulate_media(color_scheme="dark")
        page.goto(like(page, address, "mountains/dusk-*"))
        expect(page.locator(".grid .cell").nth(5)).to_be_visible()
        take(page, "dark")
        page.emulate_media(color_scheme="light")
        select_some(page, address)
        take(page, "select")


def test_pictures_of_maps_and_of_two_models(browser: Browser, address: str) -> None:
    """The map in the dark, with what is under the pointer; coloured by numbers; one query by two models."""
    with browser.new_context(viewport={"width": 1240, "height": 780}, color_scheme="dark") as context:
        page = context.new_page()
        page.goto(f"{address}/?view=map&model={MODEL}&by=folder")
        expect(page.locator("canvas")).to_be_visible(timeout=30_000)
        page.wait_for_timeout(500)
        for x, y in ((x, y) for y in range(300, 640, 20) for x in range(320, 720, 20)):
            page.mouse.move(x, y)
            if page.locator(".hover img").is_visible():
                break
        take(page, "map")
        page.mouse.move(5, 5)
        page.emulate_media(color_scheme="light")
        page.goto(f"{address}/?view=map&model={MODEL}&by=sharpness")
        expect(page.locator(".ramp")).to_be_visible()
        take(page, "scale")
        page.goto(f"{like(page, address, 'sea/evening-*')}&beside=demo_clip")
        expect(page.locator(".column .cell").nth(25)).to_be_visible(timeout=30_000)
        take(page, "beside")


def test_pictures_on_a_phone(browser: Browser, address: str) -> None:
    """Similar images."""
    shape = {"width": 390, "height": 780}
    with browser.new_context(viewport=shape, is_mobile=True, has_touch=True, device_scale_factor=2) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(like(page, address, "flowers/garden-*"))
        expect(page.locator(".grid .cell").first).to_be_visible()
        take(page, "phone")


def test_a_picture_of_the_demo(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words find pictures: what follows `make demo`."""
    monkeypatch.chdir(ROOT)
    how = ["--config", "examples/demo.toml"]
    run = ["run", "examples/images", "--models", "demo_clip", "--store", str(tmp_path / "demo-store"), *how]
    subprocess.run([sys.executable, "-m", "pixelmill", *run], check=True, capture_output=True, timeout=240)
    with served([str(tmp_path / "demo-store"), "--port", "0", *how]) as (address, _):
        page = browser.new_page(viewport={"width": 1240, "height": 620})
        page.goto(f"{address}/?text=a+boat+at+sunset")
        expect(page.locator(".grid .cell").nth(5)).to_be_visible(timeout=60_000)
        take(page, "words")
