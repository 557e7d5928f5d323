"""What the pages offer to take away: it is all there, and of the kind that it should be."""

import csv
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser

from tests.site.built import book_pages

NUMBERS = ("x", "y", "z", "low", "high", "x_low", "x_high")


def article(site: Path, page: str) -> Tag:
    found = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")
    body = found.select_one("article")
    assert body is not None
    return body


def box(body: Tag, title: str) -> Tag:
    """The folded box with a title; there is one."""
    boxes = body.select("details.sd-dropdown")
    (found,) = (b for b in boxes if b.summary and b.summary.get_text(strip=True) == title)
    return found


def files(site: Path, page: str) -> list[Path]:
    links = box(article(site, page), "Downloads").find_all("a", download=True)
    return [((site / page).parent / unquote(str(a["href"]))).resolve() for a in links]


def test_every_page_offers_its_source_and_its_notebook(book_page: str, site: Path):
    sources = [path for path in files(site, book_page) if path.suffix == ".md"]
    assert [path.stem for path in sources] == [Path(book_page).stem]
    text = sources[0].read_text(encoding="utf-8")
    assert "\n# " in f"\n{text}"
    notebooks = [path for path in files(site, book_page) if path.suffix == ".ipynb"]
    assert len(notebooks) == ("```{code-cell}" in text)
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert any(cell.get("outputs") for cell in notebook.cells)


def test_the_data_of_figures_are_tables_of_numbers(book_page: str, site: Path):
    for path in files(site, book_page):
        if path.suffix != ".csv":
            continue
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header[:2] == ["panel", "panel_title"] or header[:2] == ["panel", "kind"], path
        assert rows, path
        assert {len(row) for row in rows} == {len(header)}, path
        numbers = [at for at, name in enumerate(header) if name in NUMBERS]
        assert numbers, path
        for row in rows:
            for at in numbers:
                float(row[at] or "nan")


def test_every_figure_has_its_data_or_is_said_to_have_none(book_page: str, site: Path):
    body = article(site, book_page)
    lines = box(body, "Downloads").select("li")
    shown = {str(figure["id"]) for figure in body.find_all("figure", id=True)}
    named = [str(a["href"]).lstrip("#") for li in lines for a in li.select("a.reference")]
    assert sorted(named) == sorted(shown)
    # Lines, points and the like are always tabulated, and so are figures that move: only pictures
    # are not.
    without = {
        str(a["href"]).lstrip("#")
        for li in lines
        if "without a table" in li.get_text()
        for a in li.select("a.reference")
    }
    moving = {
        str(figure["id"])
        for figure in body.find_all("figure", id=True)
        if figure.select_one(".interactive-figure")
    }
    assert not moving & without
    assert len(without) <= len(shown) / 2 or not shown


def test_every_page_says_how_to_cite_the_book(book_page: str, site: Path):
    code = box(article(site, book_page), "Cite this book").select_one("pre")
    assert code is not None
    assert code.get_text().count("@") == 2
    assert "@inproceedings{lucas2019," in code.get_text()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_table_is_downloaded_and_the_citation_can_be_copied(
    scheme: str, site: Path, addresses: dict[str, str], browser: Browser
):
    page_of = (page for page in book_pages() if any(f.suffix == ".csv" for f in files(site, page)))
    path = next(page_of, None)
    assert path is not None, "no page offers data"
    (expected, *_) = (f for f in files(site, path) if f.suffix == ".csv")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(addresses[scheme] + path)
        page.locator("summary", has_text="Downloads").click()
        with page.expect_download() as download:
            page.get_by_role("link", name=expected.name).click()
        assert Path(download.value.path()).read_bytes() == expected.read_bytes()
        page.locator("summary", has_text="Cite this book").click()
        cited = page.locator("details", has=page.locator("pre", has_text="@inproceedings"))
        assert cited.locator("button.copybtn").count() == 1
