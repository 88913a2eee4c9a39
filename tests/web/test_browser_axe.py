"""Every view is fit for those who do not see it, or not its colours: axe-core finds nothing serious, light or dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pixelmill.evaluation.kept import keep
from tests.support.chromium import needs_chromium
from tests.support.compared import TOLD
from tests.support.gallery import row_of, serving
from tests.web.conftest import CLIP, PLAIN, Collection

AXE = find_spec("axe_playwright_python")
pytestmark = [
    *needs_chromium,
    pytest.mark.skipif(AXE is None, reason="axe-playwright-python, which brings axe-core, is not installed."),
]
VIEWS = {
    "images": "", "one image": "open={row}", "search": "row={row}&model={plain}&min_score=0.1", "nothing": "row={row}&min_score=1",
    "side by side": "row={row}&model={plain}&beside={clip}", "no words": "text=a+boat&model={plain}",
    "map": "view=map&by=label", "chosen on the map": "view=map&by=label&only=the+sea's", "scale": "view=map&by=taken_at",
    "clusters": "view=clusters", "duplicates": "view=duplicates&threshold=0.9", "models": "view=compared",
    "coverage": "view=coverage", "quarantine": "view=quarantine", "nights": "view=nights",
}  # fmt: skip
"""What is asked of each address; beside these, the panel of filters is opened."""
ASK = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).slice(0, 3).join(" | ")}`);
}"""


@pytest.fixture(scope="module")
def address(clustered: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gallery in which every view has something to show."""
    made = replace(clustered, store=tmp_path_factory.mktemp("seen") / "store")
    shutil.copytree(clustered.store, made.store)
    keep(made.store, TOLD)
    yield from serving(made, tmp_path_factory.mktemp("cache"), token=None)


def serious(page: Page) -> list[str]:
    """What axe-core finds in the page as it is."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("main :is(h1, h2)").first).to_be_visible()
    assert AXE is not None
    assert AXE.origin is not None
    page.evaluate((Path(AXE.origin).parent / "axe.min.js").read_text())
    return list(page.evaluate(ASK))


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious(
    browser: Browser, address: str, clustered: Collection, theme: str, width: int
) -> None:
    """On a desk in the light, on a phone, where some things stand elsewhere, in the dark."""
    told = {"row": row_of(clustered, "sea/far.webp"), "plain": PLAIN, "clip": CLIP}
    found: dict[str, list[str]] = {}
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme, reduced_motion="reduce") as context:  # type: ignore[arg-type]  # fmt: skip
        page = context.new_page()
        for view, query in VIEWS.items():
            page.goto(f"{address}/?{query.format(**told)}")
            found[view] = serious(page)
        page.goto(address)
        page.get_by_role("button", name="Filters").click()
        found["filters"] = serious(page)
    assert {view: problems for view, problems in found.items() if problems} == {}
