"""Each page serves readers with any screen, in either mode, with or without a mouse."""

from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.site.built import all_html, book_pages
from tests.site.conftest import WIDE

NARROW = {"width": 390, "height": 844}
TABLET = {"width": 768, "height": 1024}
THEMES = ("light", "dark")
SERIOUS = ("serious", "critical")
GENERATED = sorted(set(all_html()) - set(book_pages()) - {"index.html"})
_HERE = Path(__file__).parent
_INTERACTIVE = 'class="interactive-figure'
_WIDTH = (_HERE / "page_width.js").read_text()
_KEYBOARD = (_HERE / "keyboard.js").read_text()
_AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
# These take most of the time. Colours depend on the mode and not on the width, and the wide window
# shows all that the narrow one does; so there they are looked at, and not again. Of all other
# rules the mode makes no difference to what they look at.
_COLOURS = ("color-contrast", "link-in-text-block")
# The boxes of formulas are thousands, in the colour of the text around them, and hidden from
# screen readers, which are given MathML instead. They are put aside meanwhile, and so is what is
# folded, which nobody sees. Of code that was unfolded one word of each kind is left.
_RUN = """
async ([within, options]) => {
  const aside = [...document.querySelectorAll(".katex-html, details:not([open]) pre")];
  const seen = new Set();
  for (const word of document.querySelectorAll("details[open] pre span[class]")) {
    const kind = word.closest("details").className + word.className;
    if (seen.has(kind)) aside.push(word);
    seen.add(kind);
  }
  const content = aside.map((node) => [...node.childNodes]);
  aside.forEach((node) => node.replaceChildren());
  try {
    return (await axe.run(within, options)).violations;
  } finally {
    aside.forEach((node, i) => node.replaceChildren(...content[i]));
  }
}
"""
# What waits for a new size has then been done.
_TWO_FRAMES = "() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
_UNFOLD = """
() => {
  const folded = document.querySelectorAll("article details:not([open])");
  folded.forEach((node) => { node.open = true; node.dataset.unfolded = ""; });
}
"""
_FOLD = """
() => document.querySelectorAll("details[data-unfolded]").forEach((node) => {
  node.open = false;
  delete node.dataset.unfolded;
})
"""
# What paper should show and does not, and what it shows and should not.
_MISSING_ON_PAPER = """
() => {
  const shown = (node) => node.checkVisibility() && node.getBoundingClientRect().height > 20;
  const inside = (node) => node.getBoundingClientRect().right <= window.innerWidth + 1;
  const drawn = (figure) => [...figure.querySelectorAll("img, svg.main-svg")].some(shown);
  const all = (selector) => [...document.querySelectorAll("article " + selector)];
  const wrong = {
    figure: all("figure:has(img, .interactive-figure)").filter((f) => !drawn(f) || !inside(f)),
    solution: all("details.sd-dropdown > .sd-summary-content").filter((node) => !shown(node)),
    code: all("pre").filter((node) => shown(node) && node.scrollWidth > node.clientWidth + 1),
    control: all(":is(.interactive-control, details.hide)").filter(shown),
  };
  return Object.entries(wrong).flatMap(([what, nodes]) =>
    nodes.map((node) => `${what}: ${node.textContent.trim().slice(0, 60)}`));
}
"""
# No box that fits is a stop for Tab, as it was in a narrower window.
_SETTLED = """
() => ![...document.querySelectorAll("article :is(table, pre, .tex, .text_html)[tabindex='0']")]
  .some((node) => node.checkVisibility() && node.scrollWidth <= node.clientWidth + 1)
"""
# Boxes that scroll: those that no Tab reaches, and those whose edge does not fade exactly as long
# as there is more to the right. The focus takes the fading away, so nothing has it.
_UNTOLD = """
async () => {
  document.activeElement?.blur();
  const fading = (node) => getComputedStyle(node).maskImage !== "none";
  const all = [...document.querySelectorAll("article *")].filter((node) =>
    node.checkVisibility() && ["auto", "scroll"].includes(getComputedStyle(node).overflowX));
  const wide = (node) => node.scrollWidth > node.clientWidth + 1;
  const boxes = all.filter(wide);
  const reached = (node) => node.getAttribute("tabindex") === "0";
  // The page looks at its boxes when it gets round to it.
  for (let frames = 0; frames < 300 && !boxes.every(reached); frames++)
    await new Promise(requestAnimationFrame);
  const fades = () => boxes.map(fading);
  const before = fades();
  boxes.forEach((node) => node.scrollTo({ left: node.scrollWidth, behavior: "instant" }));
  await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
  const after = fades();
  boxes.forEach((node) => node.scrollTo({ left: 0, behavior: "instant" }));
  const name = (node) => `<${node.localName} class="${node.className}">`;
  return {
    wide: boxes.length,
    fading: all.filter((node) => !wide(node) && fading(node)).map(name),
    unreachable: boxes.filter((node) => !reached(node)).map(name),
    untold: boxes.filter((_, i) => !before[i] || after[i]).map(name),
  };
}
"""


def dress(page: Page, size: dict[str, int], theme: str) -> None:
    """Give the window a size, and the reader a preference for light or dark."""
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=theme, media="screen")
    # The page hears of the changes when it gets round to it; it fails if it never does.
    page.wait_for_function("width => innerWidth === width", arg=size["width"])
    page.wait_for_function("t => document.documentElement.dataset.theme === t", arg=theme)
    page.evaluate(_TWO_FRAMES)


def violations(page: Page, within: str = "html", **which: object) -> list[tuple[str, str, str]]:
    """What axe-core finds: rule, element, and what is wrong with it. ``which`` chooses rules."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    options = {"resultTypes": ["violations"], "preload": False, **which}
    found = page.evaluate(_RUN, [within, options])
    return [
        (rule["id"], node["html"][:200], node["failureSummary"])
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


def test_no_serious_barrier_in_any_mode_at_any_width(opened: Page):
    dress(opened, WIDE, "light")
    assert violations(opened) == []
    dress(opened, WIDE, "dark")
    assert violations(opened, runOnly=_COLOURS) == []
    dress(opened, NARROW, "dark")
    assert violations(opened, rules={rule: {"enabled": False} for rule in _COLOURS}) == []


def test_no_serious_barrier_in_what_is_folded(opened: Page):
    dress(opened, WIDE, "light")
    opened.evaluate(_UNFOLD)
    try:
        assert violations(opened, "article details") == []
        dress(opened, WIDE, "dark")
        assert violations(opened, "article details", runOnly=_COLOURS) == []
    finally:
        opened.evaluate(_FOLD)


@pytest.mark.parametrize("path", GENERATED)
def test_no_serious_barrier_on_what_sphinx_adds(
    path: str, addresses: dict[str, str], browser: Browser
):
    with browser.new_context(viewport=WIDE, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(addresses["file"] + path)
        for size in (WIDE, NARROW):
            for theme in THEMES:
                dress(page, size, theme)
                assert violations(page) == []


def test_axe_finds_what_is_there(browser: Browser):
    """The tests above fail where they should."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content('<p style="color: #bbb; background: #fff">Pale</p><img src="data:,">')
        assert {rule for rule, _, _ in violations(page)} >= {"color-contrast", "image-alt"}
        assert {rule for rule, _, _ in violations(page, runOnly=_COLOURS)} == {"color-contrast"}
        folded = '<details><pre><span class="k" style="color: #bbb">Pale</span></pre></details>'
        page.set_content(f"<article>{folded}</article>")
        assert violations(page, runOnly=_COLOURS) == []
        page.evaluate(_UNFOLD)
        assert len(violations(page, "article details", runOnly=_COLOURS)) == 1


@pytest.mark.parametrize("size", [NARROW, TABLET, WIDE], ids=lambda size: str(size["width"]))
def test_no_page_scrolls_sideways(opened: Page, size: dict[str, int]):
    for theme in THEMES:
        dress(opened, size, theme)
        found = opened.evaluate(_WIDTH)
        assert found["page"] <= found["window"], found["culprits"]


def test_what_is_wider_than_its_box_says_so_and_is_reached_by_tab(opened: Page):
    dress(opened, NARROW, "light")
    opened.evaluate(_UNFOLD)
    opened.evaluate(_TWO_FRAMES)
    try:
        found = opened.evaluate(_UNTOLD)
    finally:
        opened.evaluate(_FOLD)
    if "05_mnist" in opened.url:
        assert found["wide"] > 0
    assert (found["unreachable"], found["untold"], found["fading"]) == ([], [], [])


def test_tab_reaches_every_control_and_shows_where_it_is(opened: Page):
    dress(opened, WIDE, "light")
    opened.wait_for_function(_SETTLED)
    opened.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
    count = opened.evaluate(_KEYBOARD)
    assert count > 20
    for pressed in range(2 * count):
        opened.keyboard.press("Tab")
        if pressed >= count - 1 and opened.evaluate("window.keyboard.done()"):
            break
    found = opened.evaluate("window.keyboard.report()")
    assert found == {"missed": [], "unseen": []}


def test_paper_shows_every_figure_and_every_solution(opened: Page):
    dress(opened, TABLET, "light")
    opened.emulate_media(media="print")
    hidden = opened.evaluate(_MISSING_ON_PAPER)
    opened.emulate_media(media="screen")
    assert hidden == []


def test_without_scripts_every_interactive_figure_shows_one_state(
    site: Path, addresses: dict[str, str], browser: Browser
):
    holding = [path for path in book_pages() if _INTERACTIVE in (site / path).read_text()]
    assert holding
    wrong = []
    with browser.new_context(viewport=WIDE, java_script_enabled=False) as context:
        page = context.new_page()
        for path in holding:
            page.goto(addresses["file"] + path)
            figures = page.locator(".interactive-figure").all()
            assert figures, path
            for figure in figures:
                boxes = [picture.bounding_box() for picture in figure.locator("img").all()]
                if not any(box and min(box["width"], box["height"]) > 100 for box in boxes):
                    wrong.append(f"{path}: no picture")
                if not figure.locator(".interactive-readout").inner_text().strip():
                    wrong.append(f"{path}: no words")
                if figure.locator(".interactive-control:visible").count():
                    wrong.append(f"{path}: a knob that does nothing")
    assert wrong == []


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_search_opens_from_the_keyboard_and_finds(
    scheme: str, addresses: dict[str, str], browser: Browser
):
    with browser.new_context(viewport=WIDE) as context:
        page = context.new_page()
        page.goto(addresses[scheme] + "book/intro.html")
        page.keyboard.press("Control+k")
        field = page.locator("input[type=search]:visible").first
        field.wait_for()
        assert field.evaluate("node => node === document.activeElement")
        page.keyboard.type("posterior collapse")
        page.keyboard.press("Enter")
        # Results come one by one; it fails if this one never does.
        page.locator("#search-results li a[href*='01_ppca.html']").first.wait_for()
