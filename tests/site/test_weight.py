"""How much a page loads before anything is done on it, and that its icons are there."""

import pytest
from playwright.sync_api import Browser, Response

LIMIT, LIMIT_WITH_PLOTS = 1_500_000, 6_000_000  # bytes, as they are without compression
PLOTLY = "plotly.min.js"
WITH_PLOTS = {"book/03_landscape.html", "book/06_linear_predicts.html"}
IDLE_MS = 120_000  # surfaces are drawn by the processor, which may be busy
DESKTOP = {"width": 1280, "height": 900}

# Icons that are no letter of their font, or of one that did not come.
_NOT_DRAWN = r"""
async () => {
  await document.fonts.ready;
  const drawn = (icon) => {
    const { content, font } = getComputedStyle(icon, "::before");
    return /^"[\ue000-\uf8ff]"$/.test(content) && font.includes("Font Awesome");
  };
  const icons = [...document.querySelectorAll("i[class*='fa-'], span[class*='fa-']")];
  const loaded = [...document.fonts].filter((font) => font.status === "loaded");
  return {
    icons: icons.length,
    missing: icons.filter((icon) => !drawn(icon)).map((icon) => icon.className),
    font: loaded.some((font) => font.family.includes("Font Awesome")),
  };
}
"""
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


def test_a_page_is_light(book_page: str, addresses: dict[str, str], browser: Browser):
    responses: list[Response] = []
    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.on("response", lambda response: responses.append(response))
        page.goto(addresses["http"] + book_page, wait_until="networkidle", timeout=IDLE_MS)
        sizes = {response.url: len(response.body()) for response in responses}
    has_plots = any(PLOTLY in url for url in sizes)
    assert has_plots == (book_page in WITH_PLOTS)
    heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    assert sum(sizes.values()) <= (LIMIT_WITH_PLOTS if has_plots else LIMIT), heaviest


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_every_icon_is_drawn(
    book_page: str, scheme: str, addresses: dict[str, str], browser: Browser
):
    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.goto(addresses[scheme] + book_page)
        found = page.evaluate(_NOT_DRAWN)
    assert found["icons"] >= 10
    assert found["missing"] == []
    assert found["font"]


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
