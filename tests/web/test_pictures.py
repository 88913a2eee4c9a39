"""The pictures in docs/gallery.md, taken of a collection that is rendered for them: SCREENSHOTS=docs makes them again."""

from __future__ import annotations

import io
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
from pixelmill.models.weights import WeightsCache
from pixelmill.run import steps
from pixelmill.run.job import CacheSpec, Job
from pixelmill.search.searcher import Searcher
from tests.support.chromium import SCREENSHOTS
from tests.support.examples import ROOT, example
from tests.support.gallery import served, serving

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(SCREENSHOTS is None, reason="SCREENSHOTS says no folder for pictures of the documentation."),
]
SEEDS = 8


class Rendered:
    """The store of a run over rendered pictures and some files that are none; its folder says nothing of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache = CacheSpec(cache_dir=folder / "weights", mirrors={}, offline=True)
        self._render(folder / "photos")
        self.run()
        (folder / "photos" / "sea" / "late.jpg").write_bytes(
            (folder / "photos" / "sea" / "morning-0.jpg").read_bytes()[:900]
        )
        self.run()

    def run(self) -> None:
        steps.run(
            Job(
                sources=(str(self._folder / "photos"),), store=self._folder / "store", device="cpu",
                specs=(catalog.get("efficientnet_lite0"),), cache=self._cache,
                max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
            )
        )  # fmt: skip

    def searcher(self) -> Searcher:
        return Searcher(self._folder / "store", cache=WeightsCache(self._cache.cache_dir, {}, True))

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
    folder.mkdir()
    yield from serving(Rendered(folder), tmp_path_factory.mktemp("cache"), token=None)
    shutil.rmtree(folder)


def like(page: Page, address: str, name: str) -> str:
    """The address of what is like the pictures of that name."""
    found = page.request.get(f"{address}/api/rows?glob={name}").json()
    return f"{address}/?row={found['pictures'][0]['row']}"


def take(page: Page, name: str) -> None:
    """A picture of what can be seen, when it has come to rest."""
    assert SCREENSHOTS
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shown.save(SCREENSHOTS / f"gallery-{name}.webp", quality=72, method=6)


def test_pictures_on_a_desk(browser: Browser, address: str) -> None:
    """Similar images, one of them opened, coverage, quarantine, the night, and the map in the dark."""
    with browser.new_context(viewport={"width": 1240, "height": 780}) as context:
        page = context.new_page()
        page.goto(like(page, address, "sea/evening-*"))
        expect(page.locator(".grid .cell").nth(5)).to_be_visible(timeout=30_000)
        take(page, "similar")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("sha256")
        take(page, "open")
        for view in ("coverage", "quarantine", "nights", "duplicates"):
            page.goto(f"{address}/?view={view}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            take(page, view)
        page.emulate_media(color_scheme="dark")
        page.goto(f"{address}/?view=map")
        expect(page.locator("canvas")).to_be_visible()
        page.wait_for_timeout(500)
        for x, y in ((x, y) for y in range(300, 640, 20) for x in range(420, 820, 20)):
            page.mouse.move(x, y)
            if page.locator(".hover img").is_visible():
                break
        take(page, "map")
        page.goto(like(page, address, "mountains/dusk-*"))
        expect(page.locator(".grid .cell").nth(5)).to_be_visible()
        take(page, "dark")


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
