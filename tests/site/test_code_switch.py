"""One button shows or hides all folded code of a page, and nothing else."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page

CHAPTER, OTHER, WITHOUT_CODE = "book/01_ppca.html", "book/02_linear_vae.html", "book/faults.html"
TABS = 200  # at most so many links and buttons come before it
# A browser that keeps nothing: to touch the storage is an error.
NO_STORAGE = """
Object.defineProperty(window, "localStorage", {get() { throw new DOMException("denied"); }});
"""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        yield context


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    return page


def switch(page: Page) -> Locator:
    return page.get_by_role("button", name="Show all code")


def states(page: Page, selector: str) -> list[bool]:
    """For each fold that a selector finds, whether it is open."""
    return page.locator(selector).evaluate_all("folds => folds.map(fold => fold.open)")


def code(page: Page) -> list[bool]:
    return states(page, "article details:has(> .cell_input)")


def others(page: Page) -> list[bool]:
    return states(page, "article details:not(:has(> .cell_input))")


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_keyboard_opens_and_closes_all_code_and_nothing_else(
    scheme: str, context: BrowserContext, addresses: dict[str, str]
):
    page = opened(context, addresses[scheme] + CHAPTER)
    assert len(code(page)) > 2
    assert len(others(page)) > 2, "the page has no folded solutions"
    assert not any(code(page))
    page.locator("details.sd-dropdown").first.evaluate("fold => { fold.open = true; }")
    before = others(page)
    assert any(before)
    button = switch(page)
    assert button.get_attribute("aria-pressed") == "false"
    for _ in range(TABS):
        page.keyboard.press("Tab")
        if button.evaluate("button => button === document.activeElement"):
            break
    else:
        pytest.fail("the Tab key never reaches the button")
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert all(code(page))
    assert others(page) == before
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert not any(code(page))
    assert others(page) == before


def test_the_choice_is_kept_from_page_to_page(context: BrowserContext, addresses: dict[str, str]):
    page = opened(context, addresses["http"] + CHAPTER)
    switch(page).click()
    page.goto(addresses["http"] + OTHER)
    assert switch(page).get_attribute("aria-pressed") == "true"
    assert code(page)
    assert all(code(page))
    switch(page).click()
    page.goto(addresses["http"] + CHAPTER)
    assert not any(code(page))


def test_it_works_where_nothing_can_be_kept(context: BrowserContext, addresses: dict[str, str]):
    context.add_init_script(NO_STORAGE)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(error.stack or error.message))
    page.goto(addresses["http"] + CHAPTER)
    switch(page).click()
    assert all(code(page))
    assert not [error for error in errors if "code_switch" in error]
    page.reload()
    assert not any(code(page))


def test_a_page_without_code_has_no_button(context: BrowserContext, addresses: dict[str, str]):
    page = opened(context, addresses["file"] + WITHOUT_CODE)
    assert page.locator("article h1").count() == 1
    assert page.locator(".code-switch").count() == 0


def test_without_scripts_there_is_no_button_and_folds_open_one_by_one(
    browser: Browser, addresses: dict[str, str]
):
    with browser.new_context(java_script_enabled=False) as context:
        page = opened(context, addresses["file"] + CHAPTER)
        assert page.locator(".code-switch").count() == 0
        page.locator("article details:has(> .cell_input) > summary").first.click()
        folds = page.locator("article details:has(> .cell_input)")
        assert page.locator("article details[open]:has(> .cell_input)").count() == 1
        assert folds.count() > 1
