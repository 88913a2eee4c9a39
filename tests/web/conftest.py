"""A real collection behind the gallery: the sample images, a twin, a broken file, and two tiny models of which one
knows words."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pixelmill.curation.clusters import find_clusters
from pixelmill.images.decode import DecodeOptions
from pixelmill.run import steps
from pixelmill.run.job import CacheSpec, Job
from pixelmill.search.searcher import Searcher
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.web.app import make_app
from pixelmill.web.gallery import Gallery, Limits
from tests.support.checkpoints import TinyModels, make_tiny_models
from tests.support.chromium import CHROMIUM
from tests.support.columns import add_columns
from tests.support.exifs import exif

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXAMPLES = Path(__file__).parents[2] / "examples" / "images"
CLIP, PLAIN = "tiny_open_clip", "tiny_resnet18"


@dataclass(frozen=True)
class Collection:
    """A folder of pictures, the store of a run over it, and what makes another run."""

    photos: Path
    store: Path
    tiny: TinyModels
    cache: Path

    def run(self) -> None:
        """A run over the folder."""
        steps.run(self.job)

    @property
    def job(self) -> Job:
        return Job(
            sources=(str(self.photos),), store=self.store, specs=(self.tiny.open_clip, self.tiny.torchvision),
            cache=CacheSpec(cache_dir=self.cache, mirrors={"*": str(self.tiny.folder)}, offline=False), device="cpu",
            precision="float32", max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
        )  # fmt: skip

    def searcher(self, *, asks: bool = False) -> Searcher:
        """As `pixelmill serve` makes one, or as `pixelmill search` does, which asks."""
        specs = {spec.name: spec for spec in self.tiny.specs}
        return Searcher(self.store, find=specs.__getitem__, cache=self.tiny.cache(self.cache), asks=asks)

    def copied(self, folder: Path) -> Collection:
        """Some of the pictures elsewhere, with a store of their own."""
        for name in ("mountains", "sea"):
            shutil.copytree(self.photos / name, folder / "photos" / name)
        copy = replace(self, photos=folder / "photos", store=folder / "store")
        copy.run()
        return copy


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """One for all tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("gallery")
    made = Collection(folder / "photos", folder / "store", make_tiny_models(folder / "upstream"), folder / "cache")
    shutil.copytree(EXAMPLES, made.photos)
    twin = Image.open(made.photos / "mountains" / "dusk.webp").convert("RGB")
    twin.save(made.photos / "mountains" / "twin.jpg", quality=97)
    (made.photos / "broken.jpg").write_text("<!doctype html><html>404</html>")
    made.run()
    return made


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\N{RIGHT-TO-LEFT OVERRIDE} \u05e9\u05dc\u05d5\u05dd"
"""A caption of somebody who means ill."""
CAPTIONS = {
    "sea/far.webp": "A sail,\nfar out at sea", "sea/evening.jpg": HOSTILE, "mountains/dusk.webp": "long " * 13_000,
}  # fmt: skip


@pytest.fixture(scope="session")
def described(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Pictures of which something is known: one says when and where it was taken, three have captions, all but one a
    label, whose quotes are part of it."""
    made = collection.copied(tmp_path_factory.mktemp("described"))
    taken = Image.open(made.photos / "sea" / "morning.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    taken.save(made.photos / "sea" / "taken.jpg", exif=exif())
    made.run()
    paths = [os.fsdecode(path) for path in Store(made.store).paths]
    columns: dict[str, list[object]] = {
        "caption": [CAPTIONS.get(path) for path in paths],
        "label": [None if path == "sea/far.webp" else f"the {path.split('/')[0]}'s" for path in paths],
        "rating": [1 + i % 2 for i in range(len(paths))],
        "keywords": [json.dumps(["blue", "calm"]) if path.startswith("sea/") else None for path in paths],
        "big": [2**60 + i for i in range(len(paths))],
    }
    add_columns(made.store, columns)
    return made


@pytest.fixture(scope="session")
def clustered(described: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Pictures in three clusters."""
    made = replace(described, store=tmp_path_factory.mktemp("clustered") / "store")
    shutil.copytree(described.store, made.store)
    with StoreWriter(made.store) as writer:
        find_clusters(writer, model=PLAIN, number=3)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser as people have it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


PLENTY = Limits(uploads_per_minute=1000)
ClientOf = Callable[..., TestClient]


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[ClientOf]:
    """A client of a gallery over a collection; `limits`, `token` and `url` as `pixelmill serve` gives them."""
    clients = []

    def make(
        collection: Collection, *, limits: Limits = PLENTY, token: str | None = None,
        url: str | None = None,
    ) -> TestClient:  # fmt: skip
        gallery = Gallery(
            collection.searcher(), cache=tmp_path / "thumbnails", options=DecodeOptions(max_seconds=5), limits=limits,
            token=token,
        )  # fmt: skip
        client = TestClient(make_app(gallery, url=url), base_url="http://localhost", raise_server_exceptions=False)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(collection: Collection, client_of: ClientOf) -> TestClient:
    return client_of(collection)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page of the gallery at the `address` that a module has."""
    from tests.support.browsing import opened

    yield from opened(browser, address)


@pytest.fixture
def phone(browser: Browser, address: str) -> Iterator[Page]:
    """The same on a phone."""
    from tests.support.browsing import opened

    yield from opened(browser, address, width=390, height=844, is_mobile=True, has_touch=True, device_scale_factor=2)
