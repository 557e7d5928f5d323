"""What holds on every page: it loads little, from itself alone, and shows what it should."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from tests.site.conftest import Visit

LIMIT, LIMIT_WITH_PLOTS = 1_500_000, 6_000_000  # bytes, as they are without compression
PLOTLY = "plotly.min.js"
WITH_PLOTS = {"book/03_landscape.html", "book/06_linear_predicts.html"}
DESKTOP = {"width": 1280, "height": 900}

SHORTEST_DESCRIPTION = 20  # characters
_MACROS = r"""
() => Object.keys(window.katexMacros).filter((name) => {
  try {
    katex.renderToString(`A ${name}`, { macros: { ...window.katexMacros } });
    return false;
  } catch {
    return true;
  }
})
"""
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


def test_a_page_is_light(visit: Visit):
    files = visit.first_load
    has_plots = any(PLOTLY in name for name in files)
    assert visit.path in files
    assert has_plots == (visit.path in WITH_PLOTS)
    heaviest = sorted(files.items(), key=lambda item: -item[1])[:5]
    assert sum(files.values()) <= (LIMIT_WITH_PLOTS if has_plots else LIMIT), heaviest


def test_every_icon_is_drawn(visit: Visit):
    facts = visit.facts
    assert facts["icons"] >= 10
    assert facts["missingIcons"] == []
    assert facts["iconFont"]


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


def test_figures_come_when_the_book_is_printed(addresses: dict[str, str], browser: Browser):
    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.goto(addresses["file"] + "book/05_mnist.html")
        loaded = "() => [...document.images].filter((i) => i.naturalWidth > 0).length"
        before = page.evaluate(loaded)
        page.pdf()
        everything = page.evaluate("document.images.length")
        assert before < everything
        assert page.evaluate(loaded) == everything


def test_every_macro_can_be_set(addresses: dict[str, str], browser: Browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(addresses["file"] + "book/02_linear_vae.html")
        assert len(page.evaluate("Object.keys(window.katexMacros)")) == 10
        assert page.evaluate(_MACROS) == []
