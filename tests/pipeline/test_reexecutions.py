"""The list of re-executions shows what is there, whatever it holds, and asks for nothing else."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

from book.pipeline.layout import Layout
from book.pipeline.reexecutions import write_index

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PNG = base64.b64encode(b"\x89PNG").decode() + "\n"
HOSTILE = "\"><script>alert('x')</script>&amp;\n<img src=//example.org onerror=alert(1)>"


def parameter(value: Any, default: Any = 0, **rest: str) -> dict[str, Any]:
    return {"name": "seed", "value": value, "default": default, "unit": "", **rest}


def notebook(
    *images: dict[str, Any], alt: str | None = None, title: str = "A chapter", **stamp: Any
):
    """An executed notebook as ``make chapter`` leaves it, with a cell for each output."""
    cells: list[NotebookNode] = [nbformat.v4.new_markdown_cell(f"# {title}")]
    for data in images:
        output = nbformat.v4.new_output("display_data", data=data)
        cell = nbformat.v4.new_code_cell("# no title", outputs=[output])
        if alt is not None:
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
        cells.append(cell)
    made = {"parameters": [], "started": "2026-01-02T03:04:05Z", "commit": "c" * 40}
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"stamp": {**made, "seconds": 61.25, **stamp}}
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def keep(layout: Layout, chapter: str, values: str, content: NotebookNode) -> Path:
    folder = layout.reexecuted / chapter / values
    (folder / "html" / "book").mkdir(parents=True)
    (folder / "html" / "book" / f"{chapter}.html").write_text("the page")
    (folder / f"{chapter}.ipynb").write_text(json.dumps(content))
    return folder


def index(layout: Layout) -> BeautifulSoup:
    return BeautifulSoup(write_index(layout).read_text(encoding="utf-8"), "html.parser")


def entries(page: BeautifulSoup) -> list[Tag]:
    return page.select("ul.runs > li")


def test_runs_with_different_values_stand_side_by_side(layout: Layout) -> None:
    one = {"name": "n", "value": [2, 3], "default": [1], "unit": "images"}
    keep(layout, "01_a", "defaults", notebook(parameters=[parameter(0)]))
    later = notebook(parameters=[parameter(3), one], started="2026-01-03T00:00:00Z", seconds=2)
    keep(layout, "01_a", "seed-3", later)
    keep(layout, "02_b", "seed-4", notebook(parameters=[parameter(4)], title="Another"))
    page = index(layout)
    assert [title.get_text() for title in page.find_all("h2")] == [
        "01_a: A chapter",
        "02_b: Another",
    ]
    texts = [entry.get_text(" ", strip=True) for entry in entries(page)]
    assert len(texts) == 3
    assert "seed = 3 (default 0), n = 2,3 images (default 1)" in texts[0]
    assert "Executed 2026-01-03 00:00:00 UTC, commit cccccccccccc, 2.0 seconds" in texts[0]
    assert "the book's own values" in texts[1]
    assert "61.2 seconds" in texts[1]
    assert "seed = 4 (default 0)" in texts[2]
    for link in page.find_all("a"):
        assert (layout.reexecuted / unquote(str(link["href"]))).read_text() == "the page"
    assert len({str(link["href"]) for link in page.find_all("a")}) == 3
    before = write_index(layout).read_bytes()
    assert write_index(layout).read_bytes() == before
    assert [path.name for path in layout.reexecuted.iterdir() if path.is_file()] == ["index.html"]


def test_the_first_figure_is_shown_with_its_description(layout: Layout) -> None:
    plain, table = {"text/plain": "1"}, {"text/html": "<table></table>"}
    glued = {"application/papermill.record/image/png": PNG}
    images = notebook(plain, glued, {"image/svg+xml": SVG}, {"image/png": PNG}, alt="A  hill.\n")
    keep(layout, "01_a", "svg", images)
    keep(layout, "02_b", "png", notebook(table, {"image/png": PNG, "text/plain": "x"}))
    keep(layout, "03_c", "webp", notebook({"image/webp": PNG}, alt='"quoted" & <b>'))
    keep(layout, "04_d", "none", notebook(plain, table, glued, alt="Nothing."))
    svg, png, webp, none = entries(index(layout))
    assert svg.img is not None
    assert svg.img["alt"] == "A hill."
    kind, _, content = str(svg.img["src"]).partition(";base64,")
    assert (kind, base64.b64decode(content).decode()) == ("data:image/svg+xml", SVG)
    assert png.img is not None
    assert (png.img["alt"], png.img["src"]) == (
        "The first figure of 02_b",
        f"data:image/png;base64,{PNG.strip()}",
    )
    assert webp.img is not None
    assert webp.img["alt"] == '"quoted" & <b>'
    assert none.img is None
    assert "This page has no figure." in none.get_text()


def test_what_comes_from_values_is_text(layout: Layout) -> None:
    keep(layout, "01_a", "one", notebook(parameters=[parameter(1)]))
    keep(layout, "01_a", "two", notebook(parameters=[parameter(2)]))
    hostile = parameter(HOSTILE, HOSTILE + "!", name=HOSTILE, unit=HOSTILE)
    figure = {"image/svg+xml": SVG}
    stamp = {"parameters": [hostile], "commit": HOSTILE, "started": HOSTILE}
    content = notebook(figure, alt=HOSTILE, title=HOSTILE.replace("\n", " "), **stamp)
    keep(layout, "02_<b>", "'\"><i>#?&%2e", content)
    page = index(layout)
    assert len(entries(page)) == 3
    assert not page.find_all(["script", "i", "b", "link", "iframe"])
    assert len(page.find_all("img")) == 1
    assert {name for tag in page.find_all(True) for name in tag.attrs} <= {
        *("lang", "charset", "name", "content", "class", "href", "src", "alt", "loading")
    }
    assert all(str(img["src"]).startswith("data:image/") for img in page.find_all("img"))
    for link in page.find_all("a"):
        assert not re.match(r"[a-z]+:|/", str(link["href"]))
        assert (layout.reexecuted / unquote(str(link["href"]))).is_file()
    assert HOSTILE in entries(page)[2].get_text()


def test_the_page_asks_for_nothing_outside(layout: Layout) -> None:
    keep(layout, "01_a", "one", notebook({"image/png": PNG}))
    text = write_index(layout).read_text()
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def damage(folder: Path, how: str) -> None:
    chapter = folder.parent.name
    path = folder / f"{chapter}.ipynb"
    content = json.loads(path.read_text())
    match how:
        case "no page":
            (folder / "html" / "book" / f"{chapter}.html").unlink()
        case "no notebook":
            path.unlink()
        case "half":
            path.write_text(path.read_text()[: path.stat().st_size // 2])
        case "bytes":
            path.write_bytes(b"\xff\xfe\x00")
        case "list":
            path.write_text("[]")
        case "empty":
            path.write_text("{}")
        case "no stamp":
            del content["metadata"]["stamp"]
            path.write_text(json.dumps(content))
        case "other stamp":
            content["metadata"]["stamp"] = [1]
            path.write_text(json.dumps(content))
        case "no seconds":
            del content["metadata"]["stamp"]["seconds"]
            path.write_text(json.dumps(content))
        case "no picture":
            content["cells"][1]["outputs"][0]["data"] = {"image/png": "&"}
            path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no page", "it has no page"),
        ("no notebook", "it has no notebook"),
        ("half", "its notebook is damaged"),
        ("bytes", "its notebook is damaged"),
        ("list", "its notebook is damaged"),
        ("empty", "its notebook is damaged"),
        ("no stamp", "its notebook does not say how it was made"),
        ("other stamp", "its notebook is damaged"),
        ("no seconds", "its notebook is damaged"),
        ("no picture", "its notebook is damaged"),
    ],
)
def test_a_damaged_folder_is_skipped_and_named(layout: Layout, how: str, said: str) -> None:
    keep(layout, "01_a", "whole", notebook())
    damage(keep(layout, "01_a", "<broken>", notebook({"image/png": PNG})), how)
    (layout.reexecuted / "01_a" / "a file").write_text("")
    page = index(layout)
    assert len(entries(page)) == 1
    assert page.find_all("h2")[-1].get_text() == "Skipped"
    assert f"01_a/<broken>: {said}" in page.get_text()
    assert "a file" not in page.get_text()


def test_text_that_cannot_be_encoded_does_not_stop_it(layout: Layout) -> None:
    keep(layout, "01_a", "one", notebook(parameters=[parameter("\ud800")]))
    assert "seed = ? (default 0)" in index(layout).get_text()


def test_there_may_be_none(layout: Layout) -> None:
    assert "No chapter was run on its own yet." in index(layout).get_text()
