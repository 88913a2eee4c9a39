"""Many pictures selected in a browser: by mouse, keys and touch; labelled, saved as a table, kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from pixelmill.store.labels import LabelFile, names
from pixelmill.store.reader import Store
from tests.support.browsing import search
from tests.support.chromium import needs_chromium
from tests.support.gallery import serving
from tests.web.conftest import CLIP, Collection

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def own(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A collection whose pictures get labels."""
    return collection.copied(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def address(own: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serving(own, tmp_path_factory.mktemp("cache"), token=None)


@pytest.fixture(autouse=True)
def no_labels(own: Collection) -> Iterator[None]:
    yield
    for name in names(own.store):
        file = LabelFile(own.store, name)
        file.give(None, dict.fromkeys(file.values(), ""))


def tile(page: Page, number: int) -> Locator:
    return page.locator(f'.grid .tile[aria-posinset="{number + 1}"]')


def require_selected(page: Page, *numbers: int) -> None:
    """Those of the list, by a mark, in words, for whoever hears the page, and by their number in the bar."""
    shown = page.locator(".grid .tile:has(.check[aria-checked=true])")
    expect(shown).to_have_count(len(numbers))
    assert sorted(int(one) for one in shown.evaluate_all("all => all.map((one) => one.dataset.index)")) == [*numbers]
    if numbers:
        expect(page.get_by_role("region", name="Selection").locator("strong")).to_have_text(f"{len(numbers)} selected")  # fmt: skip
        expect(page.locator(".visually-hidden[role=status]")).to_have_text(f"{len(numbers)} selected")
        expect(tile(page, numbers[0]).locator(".is-selected")).to_have_text("selected")
    else:
        expect(page.get_by_role("region", name="Selection")).to_be_hidden()


def row(page: Page, number: int) -> int:
    return int(tile(page, number).locator(".cell").get_attribute("data-row") or -1)


def test_by_mouse(page: Page) -> None:
    """A mark in the corner, Shift for a range, Ctrl for one more or one less; a click opens as ever; Esc ends it."""
    tile(page, 1).hover()
    tile(page, 1).get_by_role("checkbox").click()
    require_selected(page, 1)
    tile(page, 4).click(modifiers=["Shift"])
    require_selected(page, 1, 2, 3, 4)
    tile(page, 2).click(modifiers=["Control"])
    tile(page, 6).click(modifiers=["Control"])
    require_selected(page, 1, 3, 4, 6)
    tile(page, 0).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Selected")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    require_selected(page, 0, 1, 3, 4, 6)
    page.keyboard.press("Escape")
    require_selected(page)


def test_by_keys(page: Page) -> None:
    """x, Shift with arrows to and fro, Ctrl+A for what is shown; `?` tells of them; a field keeps its keys."""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    require_selected(page, 1)
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    require_selected(page, 1, 2, 3, 4)
    page.keyboard.press("Shift+ArrowLeft")
    require_selected(page, 1, 2, 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    require_selected(page, 1, 2, 3, 5)
    page.keyboard.press("Control+a")
    expect(page.get_by_role("region", name="Selection").locator("strong")).to_have_text(
        f"{page.locator('.grid .tile').count()} selected"
    )
    page.keyboard.press("Escape")
    require_selected(page)
    page.keyboard.press("/")
    page.keyboard.type("x l")
    page.keyboard.press("Control+a")
    require_selected(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("select a range")


def test_by_touch(phone: Page) -> None:
    """A finger that stays selects, taps go on; without a selection a tap opens. The bar leaves the views in reach, and
    the last picture can be scrolled out from under it."""
    tile(phone, 3).tap()
    expect(phone.get_by_role("dialog")).to_be_visible()
    phone.get_by_role("button", name="Close").tap()
    box = tile(phone, 1).bounding_box()
    assert box
    touch = phone.context.new_cdp_session(phone)
    where = [{"x": box["x"] + 20, "y": box["y"] + 20}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": where})
    require_selected(phone, 1)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tile(phone, 3).tap()
    require_selected(phone, 1, 3)
    tile(phone, 1).tap()
    require_selected(phone, 3)
    bar, views = (phone.locator(name).bounding_box() for name in (".selection", ".views"))
    assert bar
    assert views
    assert bar["y"] + bar["height"] <= views["y"]
    assert (bar["x"] >= 0, bar["x"] + bar["width"] <= 390) == (True, True)
    phone.evaluate("scrollTo(0, 1e6)")
    last = phone.locator(".grid .tile").last.bounding_box()
    assert last
    assert last["y"] + last["height"] <= bar["y"]
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("button", name="Select nothing").tap()
    require_selected(phone)


def test_a_finger_that_moves_scrolls(phone: Page) -> None:
    """And selects nothing."""
    box = tile(phone, 4).bounding_box()
    assert box
    touch = phone.context.new_cdp_session(phone)
    for kind, by in (("touchStart", 0), ("touchMove", -40), ("touchMove", -80)):
        points = [{"x": box["x"] + 20, "y": box["y"] + 20 + by}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    phone.wait_for_timeout(600)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    require_selected(phone)


def test_it_stays_in_other_views_and_lists(page: Page) -> None:
    """A search, a view, a reload, Back: the same pictures, wherever they are shown."""
    chosen = [row(page, 1), row(page, 3)]
    for number in (1, 3):
        tile(page, number).click(modifiers=["Control"])
    page.locator("#model").select_option(CLIP)
    search(page, "a boat")
    require_rows(page, chosen)
    page.get_by_role("link", name="Coverage").click()
    expect(page.get_by_role("region", name="Selection").locator("strong")).to_have_text("2 selected")
    page.reload()
    expect(page.get_by_role("region", name="Selection").locator("strong")).to_have_text("2 selected")
    page.go_back()
    require_rows(page, chosen)


def require_rows(page: Page, rows: list[int]) -> None:
    """Those are marked in the list, wherever they stand there."""
    marked = page.locator(".grid .tile:has(.check[aria-checked=true]) .cell")
    expect(marked).to_have_count(len(rows))
    assert sorted(int(one) for one in marked.evaluate_all("all => all.map((one) => one.dataset.row)")) == sorted(rows)


def test_all_that_a_filter_finds(page: Page, own: Collection) -> None:
    """Not only what is in the page."""
    page.goto(f"{page.url}?glob=sea%2F*")
    tile(page, 0).click(modifiers=["Control"])
    page.get_by_role("button", name="All that pass").click()
    there = sum(path.startswith(b"sea/") for path in Store(own.store).paths)
    expect(page.get_by_role("region", name="Selection").locator("strong")).to_have_text(f"{there} selected")
    page.get_by_role("link", name="Images", exact=True).click()
    page.get_by_role("button", name="Clear the filters").click()
    page.get_by_role("button", name="All images").click()
    expect(page.get_by_role("region", name="Selection").locator("strong")).to_have_text(
        f"{len(Store(own.store))} selected"
    )


def test_a_label_is_given_and_shown(page: Page, own: Collection) -> None:
    """By keys alone: it lies in the store, stands on the pictures at once, and is one click the next time; nothing is
    selected any more, and can be again. It is taken away the same way. The lines for a head are told."""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("l")
    dialog = page.get_by_role("dialog", name="Label")
    expect(dialog.get_by_role("heading")).to_have_text("Label 2 images")
    dialog.get_by_label("Name").fill("My animal")
    dialog.get_by_label("Label", exact=True).fill("Krähe, \N{CJK UNIFIED IDEOGRAPH-70CF} <b>")
    dialog.get_by_text("Examples for a head").click()
    expect(dialog.locator("pre")).to_contain_text('[heads.my_animal_learnt]\nkind = "linear"')
    expect(dialog.locator("pre")).to_contain_text('column = "my_animal"')
    dialog.get_by_label("Label", exact=True).press("Enter")
    expect(dialog).to_have_count(0)
    told = "Krähe, \N{CJK UNIFIED IDEOGRAPH-70CF} <b>"
    expect(page.locator(".grid .tag")).to_have_text([told, told])
    require_selected(page)
    store = Store(own.store)
    rows = [row(page, number) for number in (0, 1)]
    assert LabelFile(own.store, "my_animal").values() == {store.sha256(r, r + 1)[0].tobytes(): told for r in rows}
    page.reload()
    expect(page.locator(".grid .tag.pending")).to_have_text([told, told])
    tile(page, 2).click(modifiers=["Control"])
    page.get_by_role("button", name="Label", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Krähe").click()
    expect(page.locator(".grid .tag")).to_have_count(3)
    page.get_by_role("button", name="Select them again").click()
    require_selected(page, 2)
    page.keyboard.press("l")
    page.get_by_role("button", name="Take away").click()
    expect(page.locator(".grid .tag")).to_have_count(2)
    tile(page, 0).click()
    facts = page.get_by_role("dialog").locator(".labels")
    expect(facts).to_have_text(f"my_animal: {told} (pending)")
    page.keyboard.press("l")
    dialog.get_by_label("Name").fill("keep")
    dialog.get_by_role("button", name="yes").click()
    expect(facts.locator(".tag")).to_contain_text(["keep: yes", f"my_animal: {told}"])
    page.keyboard.press("Escape")
    expect(tile(page, 0).locator(".tag")).to_have_text(["keep", told])


def test_what_is_no_name_is_told(page: Page, own: Collection) -> None:
    """In the dialog, by the page and by the server; nothing is lost."""
    tile(page, 0).click(modifiers=["Control"])
    page.keyboard.press("l")
    dialog = page.get_by_role("dialog")
    for name, words in (("1st", "Expected a name"), ("sha256", "means something else in every store")):
        dialog.get_by_label("Name").fill(name)
        dialog.get_by_label("Label", exact=True).fill("cat")
        dialog.get_by_label("Label", exact=True).press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text(words)
    page.keyboard.press("Escape")
    require_selected(page, 0)
    assert names(own.store) == []


def test_what_is_kept_of_look_alikes(page: Page, own: Collection) -> None:
    """In their groups, by a click on the mark: `keep` is a label, and no file is touched."""
    page.goto(f"{page.url}?view=duplicates&threshold=0.85")
    group = page.locator(".group").first
    group.locator(".tile").nth(1).get_by_role("checkbox").click()
    row = int(group.locator(".cell").nth(1).get_attribute("data-row") or -1)
    page.get_by_role("button", name="Don't keep").click()
    expect(group.locator(".tag")).to_have_text("don't keep")
    store = Store(own.store)
    assert LabelFile(own.store, "keep").values() == {store.sha256(row, row + 1)[0].tobytes(): "no"}
    source, path = store.place(row)
    assert (Path(source) / path).is_file()
    group.get_by_role("button", name="Select the others").click()
    expect(group.locator(".tile:not(.keep) .check[aria-checked=true]")).to_have_count(
        group.locator(".tile").count() - 1
    )
    expect(group.locator(".tile.keep .check")).to_have_attribute("aria-checked", "false")


def test_a_table_is_saved(page: Page) -> None:
    """With the scores of the search that found them."""
    page.locator("#model").select_option(CLIP)
    search(page, "a boat")
    for number in (0, 1):
        tile(page, number).click(modifiers=["Control"])
    rows = [row(page, number) for number in (0, 1)]
    with page.expect_download() as started:
        page.get_by_role("button", name="Table").click()
    assert started.value.suggested_filename == "images.csv"
    lines = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text(), newline="")))
    assert [int(line["row"]) for line in lines] == rows
    assert all(0 < float(line["score"]) <= 1 for line in lines)


def test_where_nothing_can_be_written(page: Page, own: Collection) -> None:
    """The page says why, and gives a table with the label, and the lines for it."""
    page.route(
        "**/api/labels",
        lambda route: route.fulfill(json={"why_not": "It is read-only.", "labels": [], "heads": {}, "problems": []}),
    )
    tile(page, 0).click(modifiers=["Control"])
    page.get_by_role("button", name="Keep", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_have_text("It is read-only.")
    expect(dialog.get_by_label("Name")).to_have_value("keep")
    dialog.get_by_text("Examples for a head").click()
    expect(dialog.locator("pre")).to_contain_text('[[tables]]\npath = "keep.csv"\nkey = "sha256"')
    with page.expect_download() as started:
        dialog.get_by_role("button", name="Save a table with it").click()
    assert started.value.suggested_filename == "keep.csv"
    (line,) = csv.DictReader(io.StringIO(Path(started.value.path()).read_text(), newline=""))
    assert line["keep"] == "yes"
    assert names(own.store) == []


def test_a_head_that_learns_from_a_label_is_named(page: Page) -> None:
    """In place of the lines that somebody would add to the settings."""
    found = {"why_not": None, "labels": [], "heads": {"animal": ["guess"]}, "problems": []}
    page.route("**/api/labels", lambda route: route.fulfill(json=found))
    tile(page, 0).click(modifiers=["Control"])
    page.keyboard.press("l")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("animal")
    dialog.get_by_text("Examples for a head").click()
    expect(dialog).to_contain_text("Each run, guess learns from these labels")
    expect(dialog.locator("pre")).to_have_count(0)


def test_a_page_without_a_store_says_so(page: Page) -> None:
    """Nothing of what was selected stands in its way."""
    tile(page, 0).click(modifiers=["Control"])
    page.route("**/api/store", lambda route: route.fulfill(status=404, json={"detail": "It is not there any more."}))
    page.reload()
    expect(page.get_by_role("heading", name="No store to show")).to_be_visible()
