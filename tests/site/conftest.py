"""Every page of the built book, opened in a headless Chromium."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

from book.pipeline.chromium import launch
from tests.site.built import SITE, book_pages, served

SCHEMES = ("file", "http")
WIDE = {"width": 1440, "height": 900}
IDLE_MS = 120_000  # surfaces are drawn by the processor, which may be busy
_PAGE = re.compile(r"\[(?:\w+-)?(book/\w+\.html)\b")  # of a case
_FACTS = (Path(__file__).parent / "page_facts.js").read_text()


@dataclass
class Visit:
    """One page, opened once: what it asked for, what went wrong, and what it shows."""

    path: str
    requests: list[str] = field(default_factory=list)
    first_load: dict[str, int] = field(default_factory=dict)  # file -> bytes
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def watch(self, page: Page) -> None:
        def on_response(response: Response) -> None:
            if response.status >= 400:
                self.failures.append(f"{response.status} {response.url}")

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.errors.append(f"console: {message.text} ({message.location.get('url')})")

        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.failures.append(request.url))
        page.on("response", on_response)
        page.on("console", on_console)
        page.on("pageerror", lambda error: self.errors.append(f"script: {error.message}"))


def loaded_files(requests: list[str], address: str, site: Path) -> dict[str, int]:
    """The files of the site that were asked for, with their sizes in bytes."""
    urls = {urldefrag(url).url.partition("?")[0] for url in requests}
    names = [unquote(url.removeprefix(address)) for url in sorted(urls) if url.startswith(address)]
    return {name: (site / name).stat().st_size for name in names if (site / name).is_file()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Without a book there is one case, which fails and says so; an empty list would be skipped.
    pages = book_pages() or [None]
    if "visit" in metafunc.fixturenames:
        cases = [(scheme, page) for page in pages for scheme in SCHEMES]
        ids = [f"{scheme}-{page}" for scheme, page in cases]
        metafunc.parametrize("visit", cases, ids=ids, indirect=True, scope="session")
    if "book_page" in metafunc.fixturenames:
        metafunc.parametrize("book_page", pages, indirect=True, scope="session")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadfile one worker has all tests of a page, and opens it once."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByPage(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            page = _PAGE.search(nodeid)
            return page.group(1) if page else super()._split_scope(nodeid)

    return ByPage(config, log)


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built book."""
    if not book_pages():
        pytest.fail(f"there is no book in {SITE}: run `make book` first", pytrace=False)
    return SITE


@pytest.fixture(scope="session")
def addresses(site: Path) -> Iterator[dict[str, str]]:
    """The address of the site by scheme, each with a final slash."""
    with served(site) as address:
        yield {"file": site.as_uri() + "/", "http": address}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def book_page(request: pytest.FixtureRequest, site: Path) -> str:
    """The path of a page, relative to the site."""
    return request.param


@pytest.fixture(scope="session")
def opened(book_page: str, addresses: dict[str, str], browser: Browser) -> Iterator[Page]:
    """A page that stays open for all tests that look at it; each sets the width that it needs."""
    with browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce") as kept:
        page = kept.new_page()
        page.goto(addresses["file"] + book_page)
        page.evaluate("document.fonts.ready.then(() => null)")
        yield page


@pytest.fixture(scope="session")
def visit(
    request: pytest.FixtureRequest, addresses: dict[str, str], browser: Browser, site: Path
) -> Visit:
    """A page opened at the width of a desktop."""
    scheme, path = request.param
    visit = Visit(path)
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        visit.watch(page)
        page.goto(addresses[scheme] + path, wait_until="networkidle", timeout=IDLE_MS)
        visit.first_load = loaded_files(visit.requests, addresses[scheme], site)
        visit.facts = page.evaluate(_FACTS)
    return visit
