"""The slider of the landscape chapter changes the surface that it shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

CHAPTER = "book/03_landscape.html"

# What a reader sees of the plot: the heights of those traces that are shown.
_HEIGHTS = """
figure => {
  const plot = figure.querySelector(".js-plotly-plot");
  const shown = plot._fullData.filter((trace) => trace.visible === true && trace.z);
  return JSON.stringify(shown.map((trace) => [trace.type, Array.from(trace.z, (row) => [...row])]));
}
"""


@pytest.fixture(scope="module")
def figure(site: Path, addresses: dict[str, str], browser: Browser) -> Iterator[Locator]:
    if not (site / CHAPTER).is_file():
        pytest.fail(f"the book has no page {CHAPTER}", pytrace=False)
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(addresses["file"] + CHAPTER)
        figure = page.locator(".interactive-figure:has(input[type=range])").first
        figure.locator(".main-svg").first.wait_for(timeout=10_000)
        yield figure


def heights_after(page: Page, figure: Locator, before: str, key: str) -> str:
    """Press a key, and return the heights once they differ from `before`."""
    page.keyboard.press(key)
    for _ in range(100):
        heights = figure.evaluate(_HEIGHTS)
        if heights != before:
            break
        page.wait_for_timeout(20)
    return heights


def test_the_arrow_keys_move_the_slider_and_the_surface(figure: Locator):
    page, slider = figure.page, figure.locator("input[type=range]").first
    plot = figure.locator(".js-plotly-plot").first
    at_start, value = figure.evaluate(_HEIGHTS), slider.input_value()
    assert len(at_start) > 100, "the plot has no surface"
    picture = plot.screenshot()
    slider.focus()

    moved = heights_after(page, figure, at_start, "ArrowRight")
    assert slider.input_value() != value
    assert moved != at_start
    assert plot.screenshot() != picture

    # The way back leads to where it began: the surface depends on the slider alone.
    assert heights_after(page, figure, moved, "ArrowLeft") == at_start
    assert slider.input_value() == value


def test_the_slider_says_what_it_sets(figure: Locator):
    slider = figure.locator("input[type=range]").first
    named = "e => (e.getAttribute('aria-label') ?? e.labels[0]?.textContent ?? '').trim()"
    assert slider.evaluate(named)


def test_the_picture_gives_way_to_the_plot(figure: Locator):
    still = figure.locator(".interactive-still")
    assert still.count() == 1
    for medium in ("screen", "print"):
        figure.page.emulate_media(media=medium)
        assert not still.is_visible()
        assert figure.locator(".main-svg").first.is_visible()
    figure.page.emulate_media(media="screen")
