"""What holds on every page: it loads from itself alone, and shows what it should."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from tests.site.conftest import Visit

SHORTEST_DESCRIPTION = 20  # characters
_FILE_NAME = re.compile(r"^\S+\.(png|svg|jpe?g|gif|webp|html)$|^_images/|^data:", re.IGNORECASE)


def is_description(text: str) -> bool:
    return len(text) >= SHORTEST_DESCRIPTION and " " in text and not _FILE_NAME.search(text)


def test_nothing_is_asked_of_the_outside(visit: Visit):
    local = re.compile(r"^(file:///|http://127\.0\.0\.1:\d+/|data:|blob:)")
    assert visit.requests
    assert [url for url in visit.requests if not local.match(url)] == []


def test_no_request_fails(visit: Visit):
    assert visit.failures == []


def test_no_script_reports_an_error(visit: Visit):
    assert visit.errors == []


def test_all_mathematics_is_rendered(visit: Visit):
    facts = visit.facts
    assert facts["rawTex"] == []
    assert facts["mathFaults"] == []
    assert facts["unrenderedFormulas"] == []


def test_every_figure_has_a_caption(visit: Visit):
    pictures = visit.facts["figures"] + visit.facts["images"]
    assert [picture for picture in pictures if not picture["caption"]] == []


def test_every_image_is_loaded_and_described(visit: Visit):
    images = visit.facts["images"]
    assert [image for image in images if not image["loaded"]] == []
    assert [image for image in images if not is_description(image["alt"])] == []


def test_every_interactive_figure_is_drawn_labelled_and_captioned(visit: Visit):
    facts = visit.facts
    assert facts["blank"] == []
    assert facts["stray"] == [], "a plot is outside an element of class interactive-figure"
    figures = facts["interactive"]
    assert [figure for figure in figures if not is_description(figure["label"])] == []
    assert [figure for figure in figures if not figure["caption"]] == []


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_front_door_leads_to_a_page_of_the_book(
    scheme: str, addresses: dict[str, str], browser: Browser
):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(addresses[scheme] + "index.html")
        page.wait_for_selector("article h1")


def test_pictures_are_vectors_or_webp(book_page: str, site: Path):
    page = BeautifulSoup((site / book_page).read_text(encoding="utf-8"), "html.parser")
    sources = [str(image["src"]) for image in page.select("article img")]
    vector_or_webp = re.compile(r"data:image/(svg\+xml|webp);|[^:]+\.(svg|webp)$")
    assert [source[:80] for source in sources if not vector_or_webp.match(source)] == []
