"""A gallery that listens, and its page in a browser that reaches nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from playwright.sync_api import Browser, Page, expect


def opened(
    browser: Browser, address: str, *, width: int = 1280, height: int = 800, **options: object
) -> Iterator[Page]:
    """The page, in a browser that reaches nothing else; at the end, it has complained of nothing."""
    with browser.new_context(viewport={"width": width, "height": height}, **options) as context:  # type: ignore[arg-type]
        elsewhere: list[str] = []
        complaints: list[str] = []
        context.route(
            lambda url: not url.startswith((address, "blob:")), lambda route: elsewhere.append(route.request.url)
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        expect(page.get_by_role("listitem").first).to_be_visible(timeout=20_000)
        yield page
        assert elsewhere == []
        assert [words for words in complaints if "status of 4" not in words] == []


def cells(page: Page) -> list[str]:
    """The names of the images that the grid shows, in order."""
    return [str(name) for name in page.locator(".grid .cell img").evaluate_all("all => all.map((one) => one.alt)")]


def search(page: Page, words: str) -> None:
    """From wherever one is: slash, words, Enter."""
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
