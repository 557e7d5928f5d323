"""What a page offers to take away is there, and is what it says it is."""

import json
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag

from book.pipeline.downloads import FIGURE_DATA, Figure, as_markdown, data_files, taken_out
from tests.pipeline.conftest import PARAMETERS, REPOSITORY, Book, code

TABLE = "panel,x,y\n1,0.0,<i>σ² & more</i>\n"
PLAIN = '"display_data"'


def shown(label: str | None, *tables: str | None, caption: str = "What is seen.") -> str:
    """The source of a cell that shows a picture for each table, which may be none."""
    figure = (
        f"---\nmystnb:\n  figure:\n    name: {label}\n    caption: {caption}\n---\n"
        if label
        else ""
    )
    lines = ["from IPython.display import display"]
    for table in tables:
        bundle = {"image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"/>'}
        bundle |= {} if table is None else {FIGURE_DATA: table}
        # In two halves, so that the type is found in outputs and not in the code that is shown.
        text = repr(bundle).replace("vnd.", "vnd.' '")
        lines.append(f"display({text}, raw=True)")
    return f"```{{code-cell}} ipython3\n{figure}" + "\n".join(lines) + "\n```"


def offered(book: Book, page: str) -> dict[str, Tag]:
    """The boxes at the end of a page, by their titles."""
    html = (book.layout.html / page).read_text(encoding="utf-8")
    boxes = BeautifulSoup(html, "html.parser").select("article details.sd-dropdown")
    return {box.summary.get_text(strip=True): box for box in boxes if box.summary}


def linked(book: Book, page: str, box: Tag) -> dict[str, Path]:
    """Text of a download's link -> the file that it leads to."""
    start = (book.layout.html / page).parent
    links = box.find_all("a", download=True)
    return {a.get_text(): (start / unquote(str(a["href"]))).resolve() for a in links}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Book:
    book = Book(tmp_path_factory.mktemp("downloads"))
    (book.root / "CITATION.cff").write_bytes((REPOSITORY / "CITATION.cff").read_bytes())
    book.chapter(
        code(PARAMETERS, "parameters"),
        shown("fig-first", TABLE),
        shown("fig-second", None),
        shown("fig-third", TABLE.replace("1", "3")),
        "See {numref}`fig-third`.",
    )
    assert book.run("execute", "01_a").returncode == 0
    done = book.run("render")
    assert done.returncode == 0, done.stderr
    return book


def test_a_figure_without_data_keeps_its_number(built: Book) -> None:
    box = offered(built, "book/01_a.html")["Downloads"]
    files = linked(built, "book/01_a.html", box)
    data = {name: path.read_text(encoding="utf-8") for name, path in files.items() if "csv" in name}
    assert data == {
        "01_a-figure-1.csv": TABLE,
        "01_a-figure-3.csv": TABLE.replace("1", "3"),
    }
    assert files["01_a-figure-3.csv"] == built.layout.html / "_static/data/01_a-figure-3.csv"
    text = " ".join(box.get_text(" ").split())
    assert "Data of Fig. 3 : 01_a-figure-3.csv" in text
    assert "without a table: Fig. 2" in text


def test_the_source_and_the_executed_notebook_are_offered(built: Book) -> None:
    files = linked(built, "book/01_a.html", offered(built, "book/01_a.html")["Downloads"])
    source = files["its source in MyST"]
    assert source.read_bytes() == (built.root / "book/01_a.md").read_bytes()
    notebook = nbformat.read(files["its notebook with all outputs"], as_version=4)
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "data" in o]
    assert [list(picture.data) for picture in pictures] == [["image/svg+xml"]] * 3


def test_no_page_and_no_notebook_holds_the_data_twice(built: Book) -> None:
    for path in built.layout.html.rglob("*"):
        if path.is_file() and path.suffix in (".html", ".ipynb", ".js"):
            assert FIGURE_DATA not in path.read_text(encoding="utf-8"), path
    (cached,) = built.executed()
    assert cached.read_text(encoding="utf-8").count(f'"{FIGURE_DATA}"') == 2


def test_a_page_without_code_offers_its_source(built: Book) -> None:
    page = "book/intro.html" if (built.layout.html / "book/intro.html").is_file() else "index.html"
    boxes = offered(built, page)
    assert list(boxes) == ["Downloads", "Cite this book"]
    ((text, path),) = linked(built, page, boxes["Downloads"]).items()
    assert text == "its source in MyST"
    assert path.read_bytes() == (built.root / "book/intro.md").read_bytes()


def test_every_page_says_how_to_cite_the_book(built: Book) -> None:
    for page in ("book/01_a.html", "book/intro.html"):
        text = offered(built, page)["Cite this book"].select_one("pre")
        assert text is not None
        assert "The maintainers of this book" in text.get_text()
        assert "@inproceedings{lucas2019," in text.get_text()


def bundle(label: str | None, *kinds: str, caption: str = "c") -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell("1")
    if label:
        cell.metadata["mystnb"] = {"figure": {"name": label, "caption": caption}}
    cell.outputs = [
        nbformat.v4.new_output("display_data", data={"text/plain": "p", kind: f"{kind} {number}"})
        for number, kind in enumerate(kinds)
    ]
    return cell


def test_taking_out_leaves_what_was_given_alone() -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("Words."),
            bundle("fig-a", FIGURE_DATA, FIGURE_DATA),
            bundle(None, "text/html"),
            bundle(None, FIGURE_DATA),
            bundle("fig-b", "text/html"),
            bundle("fig-c", FIGURE_DATA, caption=""),  # no caption: no number to refer to
            bundle("fig-d"),  # not executed
        ]
    )
    before = json.dumps(notebook)
    taken, figures = taken_out(notebook)
    assert json.dumps(notebook) == before
    assert figures == [
        Figure("fig-a", f"{FIGURE_DATA} 0"),
        Figure(None, f"{FIGURE_DATA} 1"),
        Figure(None, f"{FIGURE_DATA} 0"),
        Figure("fig-b", None),
        Figure(None, f"{FIGURE_DATA} 0"),
    ]
    assert FIGURE_DATA not in json.dumps(taken)
    assert json.dumps(taken).count(PLAIN) == json.dumps(notebook).count(PLAIN) == 6
    assert [name[-5:-4] for name in data_files("a", figures)] == ["1", "2", "3", "5"]


def test_links_start_from_where_the_page_is() -> None:
    for page, up in (("a.md", ""), ("book/a.md", "../"), ("book/deep/a b.md", "../../")):
        text = as_markdown(page, [], notebook=False)
        assert f'href="{up}_static/source/{page.replace(" ", "%20")}"' in text
        assert ".ipynb" not in text
