"""Views of the whole collection in a browser, and what a search leaves out by its score."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pixelmill.evaluation.kept import FOLDER, keep
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.reader import Store
from tests.support.chromium import needs_chromium
from tests.support.compared import TOLD
from tests.support.gallery import row_of, serving
from tests.web.conftest import CLIP, PLAIN, Collection

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(clustered: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gallery that listens."""
    yield from serving(clustered, tmp_path_factory.mktemp("cache"), token=None)


def test_a_least_score_is_kept_in_the_address(page: Page, address: str, clustered: Collection) -> None:
    """A number leaves out what has less, which is told; it can be reloaded; another model begins without."""
    about = {"row": row_of(clustered, "sea/far.webp"), "model": PLAIN}
    hits = page.request.get(f"{address}/api/search", params=about).json()["hits"]
    scores = [hit["score"] for hit in hits]
    words = f"{sum(1 + len(hit['copies']) for hit in hits[:5])} have it"
    page.goto(f"{address}/?row={row_of(clustered, 'sea/far.webp')}&model={PLAIN}")
    expect(page.locator(".grid .cell").nth(6)).to_be_visible()
    field = page.get_by_label("Least score")
    field.fill(f"{(scores[4] + scores[5]) / 2:.4f}")
    field.press("Enter")
    expect(page.locator(".threshold output")).to_have_text(words)
    left = page.locator(".grid .cell").count()
    assert left <= 5
    page.reload()
    expect(page.locator(".threshold output")).to_have_text(words)
    expect(page.locator(".grid .cell")).to_have_count(left)
    page.get_by_label("Least score").fill("1")
    page.get_by_label("Least score").press("Enter")
    expect(page.locator(".empty")).to_contain_text(f"The nearest image has {scores[0]:.2f}")
    page.get_by_role("button", name="Any score").click()
    expect(page.locator(".grid .cell").nth(6)).to_be_visible()
    page.get_by_label("Least score").fill("0.1")
    page.get_by_label("Least score").press("Enter")
    expect(page.locator(".threshold output")).to_be_visible()
    page.locator("#model").select_option(CLIP)
    expect(page.get_by_label("Least score")).to_have_value("")
    assert "min_score" not in page.url


def test_a_cluster_leads_to_its_pictures(page: Page) -> None:
    """From its name, by the keyboard too; the address has the condition, and Back leads to the clusters."""
    page.get_by_role("link", name="Clusters").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("3 clusters")
    card = page.locator(".cluster").first
    expect(card.locator(".tile").first.locator("img")).to_be_visible()
    images = card.locator("header > span").inner_text()
    card.get_by_role("heading").get_by_role("link").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(images)
    expect(page.locator(".chosen .chip")).to_contain_text("cluster =")
    page.go_back()
    expect(page.locator(".cluster")).to_have_count(3)


def test_without_clusters_the_page_says_what_makes_them(
    browser: Browser, described: Collection, tmp_path: Path
) -> None:
    """The command with this store."""
    for address in serving(described, tmp_path, token=None):
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"{address}/?view=clusters")
            expect(page.locator(".empty code")).to_have_text(f"pixelmill clusters {described.store}")


def test_the_map_is_coloured_by_a_column(page: Page, clustered: Collection) -> None:
    """Its values with their counts; one that is chosen is kept in the address, also when a picture was looked at, and
    leads to its pictures."""
    page.get_by_role("link", name="Map").click()
    page.get_by_label("Coloured by").select_option("label")
    legend = page.get_by_role("group", name="Values")
    counts = Counter(value or "not known" for value in Store(clustered.store).columns["label"])
    expect(legend.get_by_role("button")).to_have_count(len(counts))
    for value, images in counts.items():
        expect(legend.get_by_role("button", name=value)).to_contain_text(str(images))
    at_sea = counts["the sea's"]
    sea = legend.get_by_role("button", name="the sea's")
    sea.press("Enter")
    expect(sea).to_have_attribute("aria-pressed", "true")
    expect(sea).to_be_focused()
    page.locator("canvas").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("sha256")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "open=" not in url)
    page.reload()
    expect(sea).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name=f"Show {at_sea} images").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{at_sea} images")
    page.go_back()
    expect(sea).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="All", exact=True).click()
    expect(sea).to_have_attribute("aria-pressed", "false")
    assert "only" not in page.url


def test_the_map_has_a_scale_for_numbers(page: Page, clustered: Collection) -> None:
    """With its ends; of a time, days; and how many pictures do not say."""
    values = Store(clustered.store).columns["taken_at"]
    page.get_by_role("link", name="Map").click()
    page.get_by_label("Coloured by").select_option("taken_at")
    expect(page.locator(".ends")).to_contain_text("May 2024")
    expect(page.locator(".unknown")).to_have_text(f"not known{(values == MISSING_INT).sum()}")
    page.get_by_label("Coloured by").select_option("sharpness")
    expect(page.locator(".map-scale")).to_contain_text("grey levels squared")
    assert "by=sharpness" in page.url


def test_models_are_compared(page: Page, clustered: Collection) -> None:
    """Which is best, by what and how sure, what it costs, how alike they see; earlier comparisons can be chosen."""
    shutil.rmtree(clustered.store / FOLDER, ignore_errors=True)
    page.get_by_role("link", name="Models").click()
    expect(page.locator(".empty code")).to_have_text(f"pixelmill evaluate {clustered.store} --labels folder")
    keep(clustered.store, TOLD.model_copy(update={"labels": "kind"}))
    keep(clustered.store, TOLD)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models compared by folder")
    card = page.locator(".bests .card", has_text="probe")
    expect(card).to_contain_text("openai_clip_vit_l14")
    expect(card).to_contain_text("0.810 0.760 to 0.850")
    expect(card).to_contain_text("not told apart from it: openai_clip_vit_l14+resnet18")
    row = page.locator(".scores tr", has=page.get_by_role("rowheader", name="resnet18", exact=True))
    expect(row).to_contain_text("2.048")
    expect(row.locator("td").nth(3)).to_have_text("200")
    expect(page.locator(".plot")).to_have_count(3)
    expect(page.locator(".pace svg")).to_have_attribute("aria-label", re.compile("resnet18: 0.600 at 200 images/s"))
    expect(page.locator(".heat").nth(1)).to_have_text("0.412")
    page.get_by_label("Comparison").select_option(index=1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Models compared by kind")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models compared by folder")


def test_two_models_stand_side_by_side(page: Page, address: str, clustered: Collection) -> None:
    """What both find is marked in both, with its place in the other, and counted; the address has both models."""
    row = row_of(clustered, "sea/far.webp")
    hits = [
        page.request.get(f"{address}/api/search", params={"row": row, "model": model, "k": 20}).json()["hits"]
        for model in (PLAIN, CLIP)
    ]
    left, right = ([{hit["row"], *hit["copies"]} for hit in found] for found in hits)
    both = [one for one in left if any(one & other for other in right)]
    page.goto(f"{address}/?row={row}&model={PLAIN}")
    page.get_by_label("Compare with another model").select_option(CLIP)
    told = f"{len(both)} of the first {max(map(len, hits))} in both"
    expect(page.locator(".headline [role=status]")).to_have_text(told)
    columns = page.locator(".column")
    for column, found in zip(columns.all(), hits, strict=True):
        assert column.locator(".cell").evaluate_all("all => all.map((one) => one.dataset.row)") == [str(h["row"]) for h in found]  # fmt: skip
    expect(columns.first.locator(".both")).to_have_count(len(both))
    place = next(i for i, other in enumerate(right, 1) if other & both[0])
    expect(columns.first.locator(".both").first).to_have_attribute("title", f"{CLIP} has it in place {place}")
    page.reload()
    expect(page.locator(".headline [role=status]")).to_have_text(told)
    page.keyboard.press("b")
    expect(page.locator(".grid .cell").first).to_be_visible()
    assert "beside" not in page.url


def test_a_model_without_words_says_so_in_its_column(page: Page, address: str) -> None:
    """The other column shows what it finds; by the key, too."""
    page.goto(f"{address}/?text=a+boat&model={CLIP}")
    expect(page.locator(".grid .cell").first).to_be_visible()
    page.keyboard.press("b")
    columns = page.locator(".column")
    expect(columns.nth(1)).to_contain_text(f"{PLAIN} knows no words.")
    expect(columns.nth(0).locator(".cell").first).to_be_visible()
    page.get_by_label("Model on the right").select_option(CLIP)
    expect(page.locator(".headline [role=status]")).to_have_text(re.compile(r"^(\d+) of the first \1 in both$"))
