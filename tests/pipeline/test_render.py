"""The site is replaced by a rendering without warnings, and by nothing else."""

import platform
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup, Tag

from tests.pipeline.conftest import PARAMETERS, Book, code

TIME_TAKEN = re.compile(rb"Time taken: [0-9.]+ seconds")
CELLS = (code(PARAMETERS, "parameters"), code("print('variance', sigma_sq)"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A book that was built once; the tests put back what they change."""
    book = Book(tmp_path_factory.mktemp("built"))
    book.chapter("Old words.", *CELLS)
    assert book.run("execute", "01_a").returncode == 0
    done = book.run("render")
    assert done.returncode == 0, done.stderr
    assert "_build/html/index.html" in done.stdout
    return book


def page(book: Book) -> str:
    return (book.layout.html / "book" / "01_a.html").read_text()


def folded(html: str) -> Tag:
    """The box that says how the page was made; below it stand only the downloads, folded too."""
    article = BeautifulSoup(html, "html.parser").select_one("article")
    assert article is not None
    boxes = article.find_all("details")[-2:]
    titles = [box.summary.get_text(strip=True) for box in boxes]
    assert titles == ["How this page was made", "Downloads"]
    assert not any(box.has_attr("open") for box in boxes)
    end = " ".join(box.get_text(" ", strip=True) for box in boxes)
    assert article.get_text(" ", strip=True).endswith(end), "something stands below the boxes"
    return boxes[0]


def test_a_page_ends_with_how_it_was_made(built: Book) -> None:
    box = folded(page(built))
    text = " ".join(box.get_text(" ").split())
    for said in ("sigma_sq = 1.0", "seed = 0", "quick", platform.python_version(), "seconds"):
        assert said in text
    assert box.find("a") is None
    toc = BeautifulSoup(page(built), "html.parser").select(".bd-sidebar-secondary, .bd-toc")
    assert not any("How this page" in part.get_text() for part in toc)
    for said in (str(built.root), platform.node(), '"stamp"'):
        assert said not in page(built)


def test_two_builds_from_nothing_are_the_same_but_for_the_time_taken(
    tmp_path: Path,
) -> None:
    """Byte by byte: pages, figures and the notebooks to download. Only the search index is left
    out: the digits of the time taken are words to it."""
    drawn = code(
        "import matplotlib.pyplot as plt\n"
        "%config InlineBackend.figure_formats = ['svg']\n"
        "plt.rcParams['svg.hashsalt'] = 'fixed'\n"
        "plt.plot([seed, sigma_sq]);"
    )

    def built_in(folder: Path) -> dict[str, bytes]:
        book = Book(folder)
        book.chapter("Words.", *CELLS, drawn)
        assert book.run("execute", "01_a").returncode == 0
        done = book.run("render")
        assert done.returncode == 0, done.stderr
        paths = [path for path in sorted(book.layout.html.rglob("*")) if path.is_file()]
        return {
            str(path.relative_to(book.layout.html)): TIME_TAKEN.sub(b"", path.read_bytes())
            for path in paths
            if path.name != "searchindex.js"
        }

    first, second = (built_in(tmp_path / name) for name in ("first", "second"))
    assert any(name.endswith(".svg") for name in first)
    assert TIME_TAKEN.search(b"Time taken: 0.5 seconds")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_nothing_is_rendered_twice(built: Book) -> None:
    before = (built.layout.html / "book" / "01_a.html").stat().st_mtime_ns
    assert "variance 1.0" in page(built)
    assert "Nothing has changed" in built.run("render").stdout
    assert (built.layout.html / "book" / "01_a.html").stat().st_mtime_ns == before


def test_a_failed_rendering_fails_again_and_replaces_nothing(built: Book) -> None:
    before = page(built)
    source = built.chapter("Old words.", *CELLS, "Look at {ref}`nowhere`.")
    line = source.read_text().splitlines().index("Look at {ref}`nowhere`.") + 1
    for _ in range(2):
        done = built.run("render")
        assert done.returncode == 1
        assert f"book/01_a.md:{line}: WARNING: undefined label: 'nowhere'" in done.stderr
        assert page(built) == before
    assert not list(built.layout.build.glob("render-*"))
    built.chapter("New words.", *CELLS)
    done = built.run("render")
    assert done.returncode == 0, done.stderr
    assert "New words." in page(built)
    assert "variance 1.0" in page(built)


def test_a_deleted_site_is_rendered_again(built: Book) -> None:
    shutil.rmtree(built.layout.html)
    assert built.run("render").returncode == 0
    assert (built.layout.html / "index.html").is_file()


def test_a_chapter_of_ones_own_leaves_the_book_alone(built: Book) -> None:
    before, cached = page(built), built.executed()
    done = built.run("chapter", NAME="01_a", PARAMS="sigma_sq=0.25")
    assert done.returncode == 0, done.stderr
    folder = built.layout.build / "chapters" / "01_a"
    (own,) = folder.glob("sigma_sq-0.25-*/html/book/01_a.html")
    assert str(own.relative_to(built.root)) in done.stdout
    assert "variance 0.25" in own.read_text()
    assert "values that differ from the defaults" in own.read_text()
    assert "sigma_sq = 0.25" in folded(own.read_text()).get_text()
    assert "All re-executions: _build/chapters/index.html" in done.stdout
    index = BeautifulSoup((built.layout.reexecuted / "index.html").read_text(), "html.parser")
    (link,) = index.find_all("a")
    assert (built.layout.reexecuted / unquote(str(link["href"]))).samefile(own)
    assert link.get_text() == "sigma_sq = 0.25 (default 1.0)"
    assert page(built) == before
    assert set(cached) < set(built.executed())
    assert "Nothing has changed" in built.run("render").stdout


def test_a_chapter_can_be_rendered_before_the_book(tiny: Book) -> None:
    tiny.write("_toc.yml", "format: jb-book\nroot: book/01_a\nchapters:\n- file: book/02_b\n")
    tiny.write("book/02_b.md", (tiny.root / "book/01_a.md").read_text())
    done = tiny.run("chapter", NAME="02_b")
    assert done.returncode == 0, done.stderr
    assert (tiny.layout.build / "chapters/02_b/defaults/html/book/02_b.html").is_file()
    assert not tiny.layout.html.exists()
