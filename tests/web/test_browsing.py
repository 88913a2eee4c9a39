"""A long list in a browser: what is in the page, going back, resizing, keys, copies, large pictures, other models."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect

from tests.support.browsing import cells, search
from tests.support.chromium import needs_chromium
from tests.support.gallery import serving
from tests.web.conftest import CLIP, PLAIN, Collection

pytestmark = needs_chromium
MANY = 400

AT_TOP = """() => [...document.querySelectorAll('.grid .cell')].map((one) => [one.dataset.row, one.getBoundingClientRect().top])
    .find(([, top]) => top > 100)"""
TOP_OF = "(row) => document.querySelector(`.grid .cell[data-row='${row}']`)?.getBoundingClientRect().top"


@pytest.fixture(scope="module")
def many(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """More pictures than pages of them, of many shapes, one of them in three files."""
    folder = tmp_path_factory.mktemp("many")
    made = collection.copied(folder)
    random = np.random.default_rng(1)
    for n in range(MANY):
        size = (int(random.integers(40, 90)), int(random.integers(40, 90)), 3)
        (made.photos / f"{n % 7}").mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 255, size, np.uint8)).resize((60, 48)).save(
            made.photos / f"{n % 7}/{n:04}.jpg"
        )
    for name in ("copies/one.webp", "copies/two.webp"):
        (made.photos / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(made.photos / "sea/far.webp", made.photos / name)
    made.run()
    return made


@pytest.fixture(scope="module")
def address(many: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serving(many, tmp_path_factory.mktemp("cache"), token=None)


def scroll(page: Page, to: int) -> Any:
    """Scroll there, as far as pages have come, and tell which picture is on top, and where."""
    while page.evaluate("scrollY") < to:
        page.evaluate(f"scrollTo(0, {to})")
        page.wait_for_timeout(50)
    page.wait_for_timeout(200)
    return page.evaluate(AT_TOP)


def expect_at(page: Page, row: str, top: float) -> None:
    """A picture is where it was, to the pixel."""
    page.wait_for_function(f"(row) => Math.abs(({TOP_OF})(row) - {top}) < 2", arg=row)


def is_loaded(page: Page) -> int:
    return int(page.evaluate("Math.max(...[...document.querySelectorAll('.tile')].map((one) => one.ariaPosInSet))"))


def test_the_page_holds_what_is_in_sight_however_long_the_list(page: Page, many: Collection) -> None:
    """At the end of it there are no more elements than at its beginning; the last picture is there."""
    scroll(page, 3000)
    before = page.evaluate("document.querySelectorAll('*').length")
    page.locator(".cell").first.focus()
    while is_loaded(page) < MANY:
        page.keyboard.press("End")
        page.wait_for_timeout(100)
    assert page.evaluate("document.querySelectorAll('*').length") < 1.3 * before + 50
    assert page.locator(".tile").count() < 150
    page.keyboard.press("Home")
    page.wait_for_function("() => scrollY < 200")
    assert page.locator(".tile").count() < 150


def test_no_picture_is_left_out_or_shown_twice(page: Page) -> None:
    """Every position of the list is there once while one scrolls along it, where the one before ends."""
    seen: dict[int, str] = {}
    images = int(page.get_by_role("heading", level=1).inner_text().split()[0])
    deadline = time.monotonic() + 60
    while len(seen) < images and time.monotonic() < deadline:
        told = page.evaluate(
            "() => [...document.querySelectorAll('.tile')].map((one) => [Number(one.ariaPosInSet), one.querySelector('a').dataset.row])"
        )
        assert [position for position, _ in told] == sorted({position for position, _ in told})
        for position, row in told:
            assert seen.setdefault(position, row) == row
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(60)
    assert images > MANY
    assert sorted(seen) == list(range(1, images + 1))
    assert len(set(seen.values())) == images


def test_back_closes_a_picture_and_is_where_the_list_was(page: Page) -> None:
    """From a picture; and from what is like it, which takes the picture's place in the history; forward as well."""
    row, top = scroll(page, 2600)
    page.locator(f".grid .cell[data-row='{row}']").click()
    expect(page.get_by_role("dialog")).to_contain_text("sha256")
    assert f"open={row}" in page.url
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect_at(page, row, top)
    page.locator(f".grid .cell[data-row='{row}']").click()
    page.get_by_role("dialog").get_by_role("button", name="Similar").click()
    expect(page.locator(".chip")).to_have_count(1)
    assert page.evaluate("scrollY") == 0
    other, further = scroll(page, 700)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect_at(page, row, top)
    page.go_forward()
    expect(page.locator(".chip")).to_have_count(1)
    expect_at(page, other, further)


def test_closing_a_picture_leaves_no_step_behind(page: Page) -> None:
    """Opened and closed twice by keys, one step back is out of the list."""
    page.get_by_role("link", name="Coverage").click()
    expect(page.locator(".card").first).to_be_visible()
    page.get_by_role("link", name="Images", exact=True).click()
    expect(page.locator(".grid .cell").first).to_be_visible()
    for _ in range(2):
        page.locator(".grid .cell").nth(1).click()
        expect(page.get_by_role("dialog")).to_contain_text("sha256")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.wait_for_function("() => !location.search.includes('open')")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Coverage")


def test_a_list_is_where_it_was_after_reloading_and_after_resizing(page: Page) -> None:
    """With the same picture on top."""
    row, top = scroll(page, 2600)
    page.reload()
    expect_at(page, row, top)
    for width in (700, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(f"(row) => Math.abs(({TOP_OF})(row) - {top}) < 220", arg=row)
        lines = page.evaluate(
            "() => [...document.querySelectorAll('.grid .tile')].map((one) => one.getBoundingClientRect().right)"
        )
        assert max(lines) <= width


def test_a_picture_has_an_address(page: Page, many: Collection, address: str) -> None:
    """It opens over its list; closing it leaves that."""
    page.goto(f"{address}/?open=3")
    expect(page.get_by_role("dialog")).to_contain_text("sha256")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".grid .cell").first).to_be_visible()
    assert "open" not in page.url


def test_arrows_lead_through_the_whole_list(page: Page) -> None:
    """Down and up keep to the column, right goes on over the end of what is loaded; the focus is always in sight."""
    page.keyboard.press("ArrowDown")
    seen = []
    for _ in range(25):
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(30)
        seen.append(
            page.evaluate(
                "[Number(document.activeElement.closest('.tile').dataset.index), document.activeElement.getBoundingClientRect().top]"
            )
        )
    indexes = [index for index, _ in seen]
    assert indexes == sorted(set(indexes))
    assert indexes[-1] > 100
    assert all(0 <= top < 800 for _, top in seen)
    page.mouse.wheel(0, -10_000)
    page.wait_for_timeout(300)
    page.keyboard.press("ArrowRight")
    at = page.evaluate("Number(document.activeElement.closest('.tile').dataset.index)")
    assert at == indexes[-1] + 1, "the keyboard goes on where it was, though it was scrolled out of sight"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("sha256")
    page.keyboard.press("Escape")
    page.wait_for_function(f"() => document.activeElement.closest('.tile')?.dataset.index == {at + 5}")


def test_copies_are_told_where_a_picture_is(page: Page, address: str) -> None:
    """On the tile how many, in the picture each path; a filter by one of them shows that name."""
    page.goto(f"{address}/?glob=copies/two*")
    tile = page.locator(".grid .tile")
    expect(tile).to_have_count(1)
    expect(tile.get_by_label("in 3 files")).to_be_visible()
    assert cells(page) == ["two.webp"]
    tile.click()
    facts = page.get_by_role("dialog")
    for name in ("copies/one.webp", "copies/two.webp", "sea/far.webp"):
        expect(facts).to_contain_text(name)


def test_words_with_a_model_of_pictures_offer_one_that_knows_words(page: Page) -> None:
    """One click, and the same words are searched."""
    page.locator("#model").select_option(PLAIN)
    search(page, "a boat")
    page.get_by_role("button", name=f"Search with {CLIP}").click()
    expect(page.locator(".grid .cell").first).to_be_visible()
    expect(page.locator("#model")).to_have_value(CLIP)
    expect(page.locator(".chip")).to_contain_text("a boat")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_picture_is_scaled_down_before_it_is_sent(page: Page, tmp_path: Path, mode: str) -> None:
    """Upright and with what is transparent: 20 megapixels are a fraction of their bytes, and find the same."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/api/uploads") else None)
    random = np.random.default_rng(2)
    noisy = Image.fromarray(random.integers(0, 255, (1000, 1300, 3), np.uint8)).resize((5200, 4000))
    if mode == "RGBA":
        noisy.putalpha(Image.linear_gradient("L").resize(noisy.size))
        noisy.resize((2600, 2000)).save(tmp_path / "large.png", compress_level=0)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        noisy.save(tmp_path / "large.png", "JPEG", quality=97, exif=exif)
    large = (tmp_path / "large.png").stat().st_size
    assert large > 5_000_000
    page.locator("#model").select_option(PLAIN)
    page.locator("#file").set_input_files(tmp_path / "large.png")
    expect(page.locator(".chip img")).to_be_visible(timeout=20_000)
    (request,) = sent
    body = request.post_data_buffer
    assert body is not None
    assert len(body) < min(large / 4, 2_000_000)
    picture = Image.open(io.BytesIO(body))
    assert picture.size == ((1231, 1600) if mode == "RGB" else (1600, 1231))
    if mode == "RGBA":
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        assert alpha[5].mean() < 10 < 240 < alpha[-5].mean()


def test_a_small_picture_is_sent_as_it_is(page: Page, many: Collection) -> None:
    """To the last byte."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/api/uploads") else None)
    page.locator("#file").set_input_files(many.photos / "sea/far.webp")
    expect(page.locator(".chip img")).to_be_visible()
    assert sent[0].post_data_buffer == (many.photos / "sea/far.webp").read_bytes()


def test_a_filter_until_a_day_has_that_day(page: Page, many: Collection, address: str) -> None:
    """The form says until which day; files of its evening are shown."""
    from datetime import datetime

    evening = datetime(2019, 5, 9, 22).timestamp()
    os.utime(many.photos / "0/0000.jpg", (evening, evening))
    many.run()
    page.goto(f"{address}/?until=2019-05-09")
    expect(page.locator(".grid .cell")).to_have_count(1)
    assert cells(page) == ["0000.jpg"]


def test_long_lists_of_other_views_are_paged(page: Page) -> None:
    """Groups of look-alikes come thirty at a time; Back leads to the page before."""
    page.locator("#model").select_option(PLAIN)
    page.goto(f"{page.url.split('?')[0]}?view=duplicates&model={PLAIN}&threshold=0.99")
    expect(page.locator(".group").first).to_be_visible()
    assert page.locator(".group").count() <= 30
    expect(page.locator(".group .keep").first).to_contain_text("keep")
    following = page.get_by_role("button", name="Next")
    if following.count():
        first = page.locator(".group").first.inner_text()
        following.click()
        expect(page.get_by_text("31\N{EN DASH}")).to_be_visible()
        page.go_back()
        expect(page.get_by_text("1\N{EN DASH}30")).to_be_visible()
        assert page.locator(".group").first.inner_text() == first


def test_a_phone_keeps_its_place(phone: Page) -> None:
    """With touch, in a narrow window, turned round."""
    row, top = scroll(phone, 2600)
    phone.locator(f".grid .cell[data-row='{row}']").tap()
    expect(phone.get_by_role("dialog")).to_contain_text("sha256")
    phone.go_back()
    expect(phone.get_by_role("dialog")).to_have_count(0)
    expect_at(phone, row, top)
    phone.set_viewport_size({"width": 844, "height": 390})
    phone.wait_for_function(f"(row) => Math.abs(({TOP_OF})(row) - {top}) < 220", arg=row)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 844
    assert phone.locator(".tile").count() < 200
