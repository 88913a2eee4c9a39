"""What is known of pictures, in a browser: captions below them, the facts of one, facets and conditions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.chromium import needs_chromium
from tests.support.gallery import row_of, serving
from tests.web.conftest import HOSTILE, Collection

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(described: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gallery of pictures of which something is known."""
    yield from serving(described, tmp_path_factory.mktemp("cache"), token=None)


def test_captions_stand_below_their_pictures(page: Page) -> None:
    """In one line, which is what the picture is called; a picture without one is called by its file, and is as
    high as the others of its line."""
    tile = page.locator(".tile", has=page.get_by_alt_text("A sail, far out at sea"))
    expect(tile.locator(".said")).to_be_visible()
    expect(tile.locator(".said")).to_have_text("A sail, far out at sea")
    long = page.locator(".tile .said", has_text="long long")
    box, picture = long.bounding_box(), long.locator("..").locator(".cell").bounding_box()
    assert box
    assert picture
    assert box["height"] < 30
    assert box["width"] <= picture["width"] + 1
    assert box["y"] >= picture["y"] + picture["height"] - 1
    expect(page.get_by_alt_text("taken.jpg")).to_be_visible()
    assert page.locator(".tile", has=page.get_by_alt_text("taken.jpg")).locator(".said").count() == 0
    places = page.locator(".grid .cell").evaluate_all("all => all.map((one) => one.getBoundingClientRect())")
    heights = {round(place["top"]): {round(other["height"]) for other in places if other["top"] == place["top"]} for place in places}  # fmt: skip
    assert [len(one) for one in heights.values()] == [1] * len(heights)


def test_a_picture_is_shown_with_what_is_known_of_it(page: Page, described: Collection) -> None:
    """When, by the camera's own clock, with what and where it was taken; numbers with their units; the map is a link."""
    page.goto(f"{page.url}?open={row_of(described, 'sea/taken.jpg')}")
    dialog = page.get_by_role("dialog")
    facts = dialog.locator("dl")
    expect(facts).to_contain_text("6 May 2024, 07:08 (UTC\N{MINUS SIGN}3:30)")
    expect(facts).to_contain_text("Canon EOS R5")
    expect(facts).to_contain_text("RF24-105mm F4 L IS USM")
    expect(facts).to_contain_text("blue, calm")
    expect(facts.locator("dd", has_text="grey levels squared")).to_have_count(1)
    place = facts.get_by_role("link", name="33.85678° S, 151.21530° E")
    expect(place).to_have_attribute("href", "https://www.openstreetmap.org/?mlat=-33.856784&mlon=151.215296#map=15/-33.856784/151.215296")  # fmt: skip
    expect(place).to_have_attribute("rel", "noopener noreferrer")
    expect(facts.locator("dd", has_text="S, 151")).to_contain_text(", -12 m")


@pytest.mark.parametrize("path", ["sea/evening.jpg", "mountains/dusk.webp"])
def test_a_caption_is_text_however_it_is_spelt(page: Page, described: Collection, path: str) -> None:
    """Markup, letters that turn lines round, and 64 KiB of it: shown as they are, and nothing else moves."""
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(f"{page.url}?open={row_of(described, path)}")
    caption = page.get_by_role("dialog").locator(".said")
    expect(caption).to_contain_text(HOSTILE if path.startswith("sea") else "long long")
    assert caption.locator("*").count() == 0
    expect(page.get_by_role("dialog").get_by_text("sha256")).to_be_attached()
    box = caption.bounding_box()
    assert box
    assert box["height"] <= 0.4 * 800 + 1
    assert said == []


def test_a_click_on_a_value_shows_the_pictures_that_have_it(page: Page) -> None:
    """As many as it says; another value takes its place, a second click takes it back; the address has it, and Back."""
    page.get_by_role("button", name="Filters").click()
    label = page.get_by_role("region", name="Label")
    sea, mountains = (label.get_by_role("button", name=f"the {name}'s") for name in ("sea", "mountains"))
    expect(sea).to_have_attribute("aria-pressed", "false")
    number = sea.locator(".quiet").inner_text()
    sea.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{number} images")
    expect(sea).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".chosen code")).to_have_text("label = 'the sea''s'")
    mountains.click()
    expect(page.locator(".chosen code")).to_have_text("label = 'the mountains''s'")
    expect(mountains).to_have_attribute("aria-pressed", "true")
    expect(mountains).to_be_focused()
    page.go_back()
    expect(sea).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{number} images")
    page.get_by_role("button", name="Remove label").click()
    expect(page.locator(".chosen")).to_have_count(0)


def test_facets_are_used_by_keyboard(page: Page) -> None:
    """A year, then a month of it; the focus stays; ranges are filled in."""
    page.get_by_role("button", name="Filters").click()
    taken = page.get_by_role("region", name="Taken at")
    taken.get_by_role("button", name="2024").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".chosen code")).to_have_text("year(taken_at) = 2024")
    may = taken.get_by_role("button", name="May 2024")
    may.focus()
    page.keyboard.press("Space")
    expect(may).to_have_attribute("aria-pressed", "true")
    expect(may).to_be_focused()
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Filters").click()
    least = page.get_by_label("Sharpness from")
    least.fill("1e9")
    least.press("Enter")
    expect(page.get_by_text("No image passes the filters")).to_be_visible()
    expect(least).to_have_value("1e9")
    least.fill("")
    least.press("Tab")
    expect(page.locator(".grid .cell").first).to_be_visible()


def test_a_condition_that_is_none_is_told_below_its_field(page: Page) -> None:
    """In the server's words; what was typed stays, nothing else changes. A right one is taken, and so is a second."""
    page.get_by_role("button", name="Filters").click()
    before = page.url
    field = page.get_by_label("Condition in SQL")
    field.fill("lable IS NULL")
    field.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("Did you mean 'label'?")
    expect(field).to_have_value("lable IS NULL")
    assert page.url == before
    for condition in ("label IS NULL", "caption LIKE '%sail%'"):
        field.fill(condition)
        field.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("1 image")
    expect(page.locator(".chosen code")).to_have_text(["label IS NULL", "caption LIKE '%sail%'"])
    expect(page.get_by_role("alert").first).to_be_hidden()


def test_a_condition_of_an_address_that_is_none_can_be_taken_away(page: Page) -> None:
    """As of a link from somebody whose store has other columns."""
    page.goto(f"{page.url}?where=depth+%3E+3")
    expect(page.locator(".empty")).to_contain_text("Expected a condition over")
    page.get_by_role("button", name="Remove depth > 3").click()
    expect(page.locator(".grid .cell").first).to_be_visible()


def test_facets_on_a_phone_in_the_dark(phone: Page) -> None:
    """Nothing is wider than the screen; a tap filters, captions are there."""
    phone.emulate_media(color_scheme="dark")
    phone.get_by_role("button", name="Filters", exact=True).tap()
    rating = phone.get_by_role("region", name="Rating")
    rating.get_by_role("button").first.tap()
    expect(rating.get_by_role("button").first).to_have_attribute("aria-pressed", "true")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("button", name="Filters", exact=True).tap()
    expect(phone.locator(".tile .said").first).to_be_visible()
