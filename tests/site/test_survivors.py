"""The reader's tool of chapter 6 answers to the keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

CHAPTER = "book/06_linear_predicts.html"
# The height of the line of the noise in the plot.
_NOISE = "tool => tool.querySelector('.survivors-plot')._fullData.at(-1).y[0]"


@pytest.fixture(scope="module")
def tool(site: Path, addresses: dict[str, str], browser: Browser) -> Iterator[Locator]:
    if not (site / CHAPTER).is_file():
        pytest.fail(f"the book has no page {CHAPTER}", pytrace=False)
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(addresses["file"] + CHAPTER)
        tool = page.locator(".survivors")
        tool.locator(".main-svg").first.wait_for(timeout=10_000)
        yield tool


def test_more_noise_kills_components(tool: Locator):
    readout, line = tool.locator(".interactive-readout"), tool.evaluate(_NOISE)
    before, dead = readout.inner_text(), tool.locator("li.dead").count()
    tool.get_by_label("Noise variance").focus()
    tool.page.keyboard.press("End")
    expect(readout).not_to_have_text(before)
    assert tool.evaluate(_NOISE) > line
    assert tool.locator("li.dead").count() > dead


def test_fewer_latents_and_other_data_change_the_readout(tool: Locator):
    readout = tool.locator(".interactive-readout")
    before = readout.inner_text()
    tool.get_by_label("Latent dimension").focus()
    tool.page.keyboard.press("Home")
    expect(readout).to_contain_text("of 1 latent ")
    tool.get_by_label("Data").focus()
    tool.page.keyboard.press("ArrowDown")
    expect(readout).not_to_contain_text("of 1 latent ")
    assert readout.inner_text() != before
