"""What is known of pictures, in a browser: captions below them, the facts of one, facets and conditions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import opened
from tests.support.chromium import needs_chromium
from tests.support.gallery import row_of, serving
from tests.web.conftest import HOSTILE, Collection

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(described: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gallery of pictures of which something is known."""
    yield from serving(described, tmp_path_factory.mktemp("cache"), token=None)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    yield from opened(browser, address)


@pytest.fixture
def phone(browser: Browser, address: str) -> Iterator[Page]:
    yield from opened(browser, address, width=390, height=844, is_mobile=True, has_touch=True, device_scale_factor=2)


def test_captions_stand_below_their_pictures(page: Page) -> None:
    """In one line, which is what the picture is called; a picture without one has its whole height, and its name."""
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
