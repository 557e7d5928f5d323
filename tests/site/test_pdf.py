"""Two pages of the book, printed as one PDF."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pypdf import PdfReader

from book.pipeline.layout import BuildError, Layout
from book.pipeline.pdf import html_pages, write_pdf

# Short, and the second is named by the first; both lie outside of the built site.
PAGES = {
    "a": '<h1 id="top">First<a class="headerlink" href="#top">#</a></h1>'
    '<p>A known sentence.</p><p><a href="b.html#deep">On</a> <a href="#low">down</a>'
    ' <a href="https://example.org/">out</a> <a href="c.ipynb">source</a></p>'
    '<h2 id="low" style="break-before: page">Low</h2>'
    '<details class="sd-dropdown"><summary>Solution</summary><p>Folded</p></details>',
    "b": '<h1>Second</h1><p><a href="a.html#low">back</a> <a href="a.html">to the top</a></p>'
    '<h2 id="deep" style="break-before: page">Deep</h2><h2 id="unnamed">Else</h2>',
}


def printed(layout: Layout, paths: list[Path] | None = None) -> Path:
    """Print in a thread of its own: another test's Playwright may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(write_pdf, layout, paths).result()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    root = tmp_path_factory.mktemp("small")
    layout = Layout(root)
    (root / "_config.yml").write_text("title: A title\nauthor: Somebody\n")
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/a\nchapters:\n- file: book/b\n")
    for name, body in PAGES.items():
        for place, text in ((layout.book / f"{name}.md", ""), (layout.html / "book", body)):
            page = place if place.suffix else place / f"{name}.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text and f"<meta charset=utf-8><article>{text}</article>")
    path = printed(layout)
    assert path == root / "_build" / "book.pdf"
    return PdfReader(io.BytesIO(path.read_bytes()))


def links(reader: PdfReader, number: int) -> list[int | str]:
    """Where the links of a page lead: the number of a page, or an address."""
    found: list[int | str] = []
    for reference in reader.pages[number].get("/Annots", []):
        link = reference.get_object()
        if "/Dest" in link:
            pages = [page.indirect_reference for page in reader.pages]
            found.append(pages.index(link["/Dest"][0].get_object().indirect_reference))
        else:
            found.append(str(link["/A"]["/URI"]))
    return found


def test_the_outline_names_every_page_and_leads_to_it(small: PdfReader):
    entries = {entry.title: small.get_destination_page_number(entry) for entry in small.outline}
    assert entries == {"First": 0, "Second": 2}
    assert small.metadata is not None
    assert small.metadata.title == "A title"
    assert small.metadata.author == "Somebody"


def test_text_is_printed_and_pages_are_numbered_throughout(small: PdfReader):
    texts = [page.extract_text() for page in small.pages]
    assert len(texts) == 4
    assert "A known sentence." in texts[0]
    assert [text.split()[-1] for text in texts] == ["1", "2", "3", "4"]


def test_links_lead_within_the_document_or_outside(small: PdfReader):
    assert links(small, 0) == [0, 3, 1, "https://example.org/"]
    assert links(small, 2) == [1, 0]
    assert links(small, 1) == links(small, 3) == []  # none is left of what named the places


def test_a_page_of_the_book_is_printed(site: Path, tmp_path: Path):
    (tmp_path / "_config.yml").write_text("title: A title\n")
    page = site / "book" / "intro.html"
    reader = PdfReader(io.BytesIO(printed(Layout(tmp_path), [page]).read_bytes()))
    text = " ".join(page.extract_text() for page in reader.pages)
    assert len(reader.pages) > 1
    assert [entry.title for entry in reader.outline] == ["Don’t Blame the ELBO!"]
    assert "Is the bound to blame?" in " ".join(text.split())
    assert "Search this book" not in text


def test_a_plot_that_is_never_drawn_is_an_error_that_names_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("book.pipeline.pdf.DRAWN_MS", 300)
    (tmp_path / "_config.yml").write_text("title: A title\n")
    page = tmp_path / "undrawn.html"
    page.write_text('<article><h1>A</h1><div class="js-plotly-plot"></div></article>')
    reason = r"undrawn\.html could not be printed: .*its plots were not there after 0\.3 seconds"
    with pytest.raises(BuildError, match=reason):
        printed(Layout(tmp_path), [page])
    assert not Layout(tmp_path).pdf.exists()


def test_a_page_that_is_not_built_is_named(tmp_path: Path):
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: a\n")
    (tmp_path / "a.md").write_text("# A\n")
    with pytest.raises(BuildError, match=r"a\.html.*make book"):
        html_pages(Layout(tmp_path))


def test_without_a_browser_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "_config.yml").write_text("title: A title\n")
    monkeypatch.setattr("book.pipeline.chromium.find_chromium", lambda playwright: None)
    with pytest.raises(BuildError, match=r"python -m book\.pipeline\.chromium"):
        printed(Layout(tmp_path), [tmp_path / "a.html"])
    assert not Layout(tmp_path).pdf.exists()
