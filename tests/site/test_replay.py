"""The replay of chapter 2 answers to the slider and to its button."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

CHAPTER = "book/02_linear_vae.html"
# Within the figure: to give a control the focus can scroll the page.
_STATE = """
replay => {
  const { x, y } = replay.getBoundingClientRect();
  const boxes = (parts) =>
    [...replay.querySelectorAll(parts)].map((part) => part.getBoundingClientRect());
  return {
    cursors: boxes(".replay-cursor").map((box) => box.x - x),
    films: boxes(".replay-row img").map((box) => box.y - y),
  };
}
"""


@pytest.fixture
def replay(site: Path, addresses: dict[str, str], browser: Browser) -> Iterator[Locator]:
    if not (site / CHAPTER).is_file():
        pytest.fail(f"the book has no page {CHAPTER}", pytrace=False)
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(addresses["file"] + CHAPTER)
        yield page.locator(".replay")


def test_the_slider_moves_cursors_and_films(replay: Locator):
    replay.scroll_into_view_if_needed()
    slider, output = replay.get_by_label("Step"), replay.locator("output")
    readout = replay.locator(".interactive-readout")
    last, said, at_end = output.inner_text(), readout.inner_text(), replay.evaluate(_STATE)
    slider.focus()
    replay.page.keyboard.press("Home")
    expect(output).to_have_text("0")
    expect(readout).to_contain_text("Step 0. ")
    at_start = replay.evaluate(_STATE)
    assert len(at_start["cursors"]) == 3
    assert len(at_start["films"]) == 2
    for name, farther in (("cursors", at_end), ("films", at_start)):
        nearer = at_start if farther is at_end else at_end
        assert all(a > b for a, b in zip(farther[name], nearer[name], strict=True)), name
    replay.page.keyboard.press("End")
    expect(output).to_have_text(last)
    expect(readout).to_have_text(said)
    assert replay.evaluate(_STATE) == at_end


def test_a_reader_who_comes_back_sees_what_the_slider_says(
    replay: Locator, addresses: dict[str, str]
):
    slider, output = replay.get_by_label("Step"), replay.locator("output")
    last = output.inner_text()
    slider.focus()
    replay.page.keyboard.press("Home")
    expect(output).to_have_text("0")
    replay.page.goto(addresses["file"] + "book/intro.html")
    replay.page.go_back()
    expect(output).to_have_text("0" if slider.input_value() == "0" else last)


def test_paper_shows_the_last_step_and_the_screen_what_it_had(replay: Locator):
    output = replay.locator("output")
    last = output.inner_text()
    replay.get_by_label("Step").focus()
    replay.page.keyboard.press("Home")
    replay.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    expect(output).to_have_text(last)
    replay.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    expect(output).to_have_text("0")


def test_the_button_plays_to_the_end_and_can_pause(replay: Locator):
    output, button = replay.locator("output"), replay.get_by_role("button")
    last = output.inner_text()
    expect(button).to_have_text("Play")
    button.focus()
    replay.page.keyboard.press("Enter")
    expect(button).to_have_text("Pause")
    expect(output).not_to_have_text("0")
    replay.page.keyboard.press("Enter")
    expect(button).to_have_text("Play")
    paused = output.inner_text()
    assert int(paused) < int(last)
    replay.page.wait_for_timeout(400)
    assert output.inner_text() == paused
    button.click()
    expect(output).to_have_text(last, timeout=30_000)
    expect(button).to_have_text("Play")
