"""The gallery in a browser, as people use it: search, drop an image, open a result, quarantine, map, keys, phone.

With SCREENSHOTS=docs, the pictures in docs/ are made again, by tests/web/test_pictures.py.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import cells, search
from tests.support.chromium import needs_chromium
from tests.support.gallery import serving
from tests.web.conftest import CLIP, EXAMPLES, PLAIN, Collection

PICTURES = sum(path.is_file() for path in EXAMPLES.rglob("*")) + 1
"""The samples and a twin, each a content of its own."""
TOKEN = "a-token-of-many-letters"

DROP = """([bytes, name]) => {
  const data = Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([data], name));
  for (const type of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gallery that listens."""
    yield from serving(collection, tmp_path_factory.mktemp("cache"), token=None)


@pytest.fixture
def locked(collection: Collection, tmp_path: Path) -> Iterator[str]:
    """One that asks for a token."""
    yield from serving(collection, tmp_path, token=TOKEN)


def test_words_find_images_and_are_subtracted(page: Page) -> None:
    """By keyboard alone: chips show what is added and subtracted, the address can be reloaded, Backspace takes back."""
    page.locator("#model").select_option(CLIP)
    search(page, "a boat at sea -people")
    chips = page.locator(".chip")
    expect(chips).to_have_count(2)
    expect(chips.nth(1)).to_have_class("chip minus")
    expect(page.get_by_role("heading", level=1)).to_have_text("a boat at sea \N{MINUS SIGN} people")
    expect(page.locator(".grid .cell").first).to_be_visible()
    found = cells(page)
    page.reload()
    expect(page.locator(".grid .cell").first).to_be_visible()
    assert cells(page) == found
    page.keyboard.press("/")
    page.keyboard.press("Backspace")
    expect(chips).to_have_count(1)
    expect(page.get_by_label("Search the images")).to_have_value("-people")


def test_terms_have_weights_and_may_be_quoted(page: Page) -> None:
    """As on the command line: a chip says how much a term counts, a click turns it round, and words in quotes are taken
    as they are, also when they come back into the box."""
    page.locator("#model").select_option(CLIP)
    search(page, '2:a boat -.5:people "-x 3:4"')
    chips = page.locator(".chip")
    words = ["2 \N{MULTIPLICATION SIGN} a boat", "0.5 \N{MULTIPLICATION SIGN} people", "-x 3:4"]
    expect(page.locator(".chip > span")).to_have_text(words)
    expect(page.locator(".grid .cell").first).to_be_visible()
    chips.first.get_by_role("button", name="Subtract a boat instead").click()
    expect(chips.first).to_have_class("chip minus")
    expect(page.locator(".grid .cell").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.press("Backspace")
    expect(page.get_by_label("Search the images")).to_have_value('"-x 3:4"')


def test_a_model_without_words_says_so(page: Page) -> None:
    """In the server's words, and names one that has them."""
    page.locator("#model").select_option(PLAIN)
    search(page, "a boat")
    expect(page.locator(".empty")).to_contain_text(CLIP)


def test_a_dropped_image_finds_itself(page: Page, collection: Collection) -> None:
    """Dropped anywhere: the first result is the same picture, and a chip shows what was dropped."""
    page.locator("#model").select_option(PLAIN)
    file = collection.photos / "sea" / "far.webp"
    page.evaluate(DROP, [base64.b64encode(file.read_bytes()).decode(), "far.webp"])
    expect(page.locator(".chip img")).to_be_visible()
    expect(page.locator(".grid .cell img").first).to_have_attribute("alt", "far.webp")
    expect(page.locator(".drop")).to_be_hidden()


def test_what_is_no_image_is_told(page: Page) -> None:
    """A dropped text changes nothing but shows the reason."""
    before = cells(page)
    page.evaluate(DROP, [base64.b64encode(b"only words").decode(), "words.jpg"])
    expect(page.locator("#toast")).to_contain_text("Expected an image")
    assert cells(page) == before


def test_a_result_is_opened_and_walked_through_by_keys(page: Page) -> None:
    """Arrows move the focus, Enter opens, arrows go on, Esc comes back to the picture looked at last; s finds similar ones."""
    names = cells(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(names[1])
    expect(dialog).to_contain_text("sha256")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).to_have_text(names[2])
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(".cell:focus img")).to_have_attribute("alt", names[2])
    page.keyboard.press("s")
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator(".grid .cell").first).to_be_visible()
    assert names[2] not in cells(page)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)


def test_the_quarantine_tells_file_and_reason(page: Page) -> None:
    """Behind its number in the bar."""
    page.get_by_role("link", name="Quarantine").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 image in quarantine")
    entry = page.locator(".refused li")
    expect(entry).to_contain_text("broken.jpg")
    expect(entry).to_contain_text("HTML")


def test_coverage_duplicates_and_nights_are_told(page: Page) -> None:
    """Each view has what the store knows."""
    page.get_by_role("link", name="Coverage").click()
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".card").first).to_contain_text(f"{PICTURES} embedded · 1 quarantined")
    page.get_by_role("link", name="Duplicates").click()
    expect(page.locator(".group").first).to_contain_text("keep")
    page.get_by_role("link", name="Nights").click()
    expect(page.locator(".night")).to_contain_text(f"{PICTURES + 1} new images")


def test_the_map_shows_thumbnails_and_opens_images(page: Page) -> None:
    """On hover and by a click; it can be come closer to."""
    page.emulate_media(color_scheme="dark")
    page.get_by_role("link", name="Map").click()
    canvas = page.locator("canvas")
    expect(canvas).to_be_visible()
    dialog = page.get_by_role("dialog")
    for step in range(160):  # the middle of the map may be empty, and a click has to be nearer than the pointer
        box = canvas.bounding_box()
        assert box
        x, y = 0.2 + 0.6 * (step % 16) / 15, 0.15 + 0.6 * (step // 16) / 9
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        if page.locator("canvas.over").count():
            expect(page.locator(".hover img")).to_be_visible()
            page.mouse.down()
            page.mouse.up()
            page.wait_for_timeout(300)
        if dialog.count():
            break
    expect(dialog).to_contain_text("sha256")


def test_light_and_dark_follow_the_system_until_one_is_chosen(page: Page) -> None:
    """The toggle is remembered."""
    root = page.locator("html")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Light or dark").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


def test_a_phone_shows_it_all_in_its_width(phone: Page) -> None:
    """Nothing is wider than the screen, in any view; a tap opens an image, and its facts are below it."""
    views = phone.get_by_label("Views")
    for view in ("Images", "Map", "Clusters", "Duplicates", "Models", "Coverage", "Quarantine", "Nights"):
        views.get_by_role("link", name=view).click()
        expect(phone.locator("main :is(h1, h2)").first).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, view
    views.get_by_role("link", name="Images").click()
    phone.locator(".cell").first.tap()
    expect(phone.get_by_role("dialog")).to_contain_text("sha256")


def test_the_token_is_asked_for_once(browser: Browser, locked: str) -> None:
    """A wrong one is told; the right one opens; the next visit is not asked. From the address it is taken, and goes."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(locked)
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open the gallery").click()
        expect(page.get_by_role("alert")).to_contain_text("not the gallery's token")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open the gallery").click()
        expect(page.locator(".grid .cell").first).to_be_visible()
        page.reload()
        expect(page.locator(".grid .cell").first).to_be_visible()
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{locked}/#token={TOKEN}")
        expect(page.locator(".grid .cell").first).to_be_visible()
        assert TOKEN not in page.url
