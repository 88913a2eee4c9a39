"""Prefect's own pages in a browser: the form of `vectorize`, a run watched to its end, its report.

With SCREENSHOTS=docs, the pictures in docs/ are made again, from a longer run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from deployments.ui import shipped_variables
from tasks._artifacts import key_of
from tests.support.chromium import CHROMIUM, SCREENSHOTS
from tests.support.prefect_server import ROOT, PrefectServer, wait_until

MODEL = "efficientnet_lite0"
SECOND = 1000.0
WIDTH, HEIGHT = 1280, 820
PAGE_SECONDS, RUN_SECONDS = 60, 600

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="Expected chromium, of Debian's package of that name. Found none."),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """All that `make ui` brings up, on a port of its own and with settings of its own."""
    folder = tmp_path_factory.mktemp("prefect")
    settings = folder / "pixelmill.toml"
    settings.touch()
    with PrefectServer(folder / "home", **shipped_variables(), PIXELMILL_CONFIG=str(settings)) as server:
        subprocess.run([sys.executable, "deployments/set_up.py"], cwd=ROOT, env=server.env, check=True)
        with server.worker("cpu"):
            yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: PrefectServer) -> Iterator[Page]:
    """The page that the server's address leads to. Nothing is fetched from elsewhere."""
    address = server.url.removesuffix("/api")
    expect.set_options(timeout=PAGE_SECONDS * SECOND)
    with browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}) as context:
        context.set_default_timeout(PAGE_SECONDS * SECOND)
        context.route(lambda url: not url.startswith(address), lambda route: route.abort())
        page = context.new_page()
        page.goto(address)
        yield page


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where photos and store are. In the pictures of the documentation, it says nothing of this machine."""
    if SCREENSHOTS is None:
        yield tmp_path
        return
    folder = Path(tempfile.gettempdir(), "archive")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def source(folder: Path) -> str:
    """The sample images; for the pictures of the documentation, so many parts of them that progress can be seen, and
    files that are refused."""
    if SCREENSHOTS is None:
        return "examples/images"
    for file in sorted((ROOT / "examples" / "images").glob("*/*.*")):
        place = folder / "photos" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        if file.suffix in (".jpg", ".webp"):
            write_parts(Image.open(file).convert("RGB"), place, file.stem)
    for name in ("sea/far.webp", "city/towers.jpg"):
        whole = (ROOT / "examples" / "images" / name).read_bytes()
        (folder / "photos" / name).write_bytes(whole[: len(whole) // 2])
    (folder / "photos" / "tiles" / "empty.png").touch()
    return str(folder / "photos")


def write_parts(picture: Image.Image, place: Path, stem: str) -> None:
    width, height = picture.size
    for number in range(28):
        left, top = width * number // 70, height * (number % 7) // 18
        part = picture.crop((left, top, left + width * 6 // 10, top + height * 6 // 10))
        ImageEnhance.Brightness(part).enhance(0.8 + number % 5 / 8).save(place / f"{stem}-{number}.jpg")


def open_form(page: Page) -> None:
    """As a person gets there."""
    page.get_by_role("link", name="Deployments").click()
    page.locator("a[href*='/deployments/deployment/']").get_by_text("vectorize", exact=True).click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(page.get_by_role("heading", name="Parameters")).to_be_visible()


def field(page: Page, name: str) -> Locator:
    """The part of the form that belongs to a parameter."""
    return page.locator("main div.group").filter(has=page.get_by_text(f"{name} (Optional)", exact=True))


def choose(page: Page, name: str, value: str) -> None:
    """Take a value, or one more, from a field of choices."""
    field(page, name).get_by_role("button", name="Select").click()
    page.get_by_placeholder("Search...").fill(value)
    page.get_by_role("option", name=value, exact=True).click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(field(page, name)).to_contain_text(value)


def add(page: Page, name: str, value: str) -> None:
    """Write one more value into a field that is a list."""
    field(page, name).get_by_role("button", name="Add item").click()
    field(page, name).get_by_role("textbox").last.fill(value)


def fill_in(page: Page, source: str, store: Path) -> None:
    add(page, "sources", source)
    field(page, "store").get_by_role("textbox").fill(str(store))
    choose(page, "device", "cpu")
    choose(page, "precision", "float32")


def submit(page: Page) -> None:
    """Press the button until the run is made, and go to it: a server on SQLite refuses one in twenty as busy."""
    for _ in range(10):
        page.mouse.move(0, 0)  # away from the message that lies over the button, and stays while it is pointed at
        with page.expect_response("**/create_flow_run") as answer:
            page.get_by_role("button", name="Submit").click()
        if answer.value.status != 503:
            break
    page.get_by_role("button", name="View run").click()


def find_artifact(page: Page, server: PrefectServer, key: str, *, percent: float = 0.0) -> Locator:
    """The card of an artifact of the run on the page, once it is there; pages do not look again by themselves."""
    run = page.url.partition("/flow-run/")[2].partition("?")[0]
    wanted = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [run]}}}

    def is_there() -> bool:
        found = httpx.post(f"{server.url}/artifacts/filter", json=wanted, timeout=30).json()
        return any(artifact["type"] != "progress" or artifact["data"] >= percent for artifact in found)

    wait_until(is_there, RUN_SECONDS, f"artifact {key!r} of flow run {run}")
    page.reload()
    page.get_by_role("tab", name="Artifacts").click()
    return page.get_by_role("link").filter(has=page.get_by_role("heading", name=key, exact=True))


def runs_with(page: Page, tag: str) -> list[str]:
    """The names in the list of runs when it is filtered by a tag."""
    page.get_by_role("link", name="Runs", exact=True).first.click()
    page.get_by_placeholder("All tags").fill(tag)
    with page.expect_response(
        lambda a: "/flow_runs/paginate" in a.url and f'["{tag}"]' in a.request.post_data
    ) as answer:
        page.get_by_placeholder("All tags").press("Enter")
    names = [run["name"] for run in answer.value.json()["results"]]
    for name in names:
        expect(page.get_by_role("link", name=name)).to_be_visible()
    return names


def check_pictures(page: Page) -> None:
    """The report's images are shown: of those that are new, of those that are refused, and of neighbours."""
    images = page.locator("img[src^='data:image/webp']")
    expect(images).to_have_count(3 if SCREENSHOTS else 2)
    for image in images.all():
        image.scroll_into_view_if_needed()
        assert image.get_attribute("alt")
        assert image.evaluate("image => image.complete && image.naturalWidth") == 692


def take_picture(page: Page, name: str) -> None:
    """The whole page into the documentation, if that is to be made: in 48 colours, a tenth of the size."""
    if SCREENSHOTS is None:
        return
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": height})
    file = SCREENSHOTS / f"ui-{name}.png"
    page.screenshot(path=file, animations="disabled")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    Image.open(file).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(file, optimize=True)


def test_from_the_form_to_the_report(page: Page, server: PrefectServer, source: str, folder: Path) -> None:
    """Fill in the form, press Submit, watch the run, open its report: it says what the store holds then."""
    open_form(page)
    choose(page, "models", MODEL)
    fill_in(page, source, folder / "store")
    take_picture(page, "form")
    submit(page)
    name = f"{Path(source).name} with {MODEL}"
    expect(page.get_by_role("main")).to_contain_text(name)
    for tag in (Path(source).name, MODEL):
        expect(page.get_by_role("main").get_by_text(tag, exact=True).first).to_be_visible(timeout=RUN_SECONDS * SECOND)
    progress = find_artifact(page, server, key_of("progress", folder / "store"), percent=30 if SCREENSHOTS else 0)
    expect(progress).to_contain_text(re.compile(rf"^.*%.*(with {MODEL}|vectors made)"))
    page.get_by_role("radio", name="List view").click()
    take_picture(page, "progress")
    expect(page.get_by_role("main").get_by_text("Completed", exact=True)).to_be_visible(timeout=RUN_SECONDS * SECOND)
    find_artifact(page, server, key_of("report", folder / "store")).click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=MODEL))
    with h5py.File(folder / "store" / "vectors.h5") as store:
        vectors = int(np.isfinite(store[f"vectors/{MODEL}"][:]).all(axis=1).sum())
    expect(row.get_by_role("cell").nth(1)).to_have_text(f"{vectors:,}")
    check_pictures(page)
    take_picture(page, "report")
    address = page.url
    other = address.replace("/v2/", "/") if "/v2/" in address else address.replace("/artifacts/", "/v2/artifacts/", 1)
    page.goto(other)
    check_pictures(page)
    page.get_by_role("heading", name="New images", exact=True).scroll_into_view_if_needed()
    take_picture(page, "report-other")
    page.goto(address)
    assert runs_with(page, Path(source).name) == runs_with(page, MODEL) == [name]
    assert runs_with(page, "resnet50") == []


def test_a_deadline_that_does_not_fit_is_told_beside_its_field(page: Page) -> None:
    """In words, and no run is made; what is put right is taken."""
    open_form(page)
    field(page, "deadline").get_by_role("textbox").fill("6am")
    page.get_by_role("button", name="Submit").click()
    words = field(page, "deadline").get_by_text("'6am' is not one of ['a time such as 06:00', 'a span such as 90m']")
    expect(words).to_be_visible()
    expect(page.get_by_role("button", name="View run")).to_be_hidden()
    field(page, "deadline").get_by_role("textbox").fill("90m")
    expect(words).to_be_hidden()


def test_a_model_that_does_not_exist_fails_the_run_in_words(page: Page, tmp_path: Path) -> None:
    """Any name can be written; the run's message says what is wrong with it, and what is meant."""
    open_form(page)
    field(page, "models").get_by_role("tab", name="Any names").click()
    add(page, "models", "efficientnet_lite")
    fill_in(page, "examples/images", tmp_path / "store")
    submit(page)
    expect(page.get_by_role("main").get_by_text("Failed", exact=True)).to_be_visible(timeout=RUN_SECONDS * SECOND)
    page.get_by_role("tab", name="Details").click()
    words = page.get_by_text("Got 'efficientnet_lite'. Did you mean 'efficientnet_lite0'")
    expect(words).to_be_visible()
    expect(page.get_by_role("main")).not_to_contain_text("Traceback")
