"""The site is replaced by a rendering without warnings, and by nothing else."""

import os
import platform
import re
import shutil
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup, Tag

from book.pipeline.render import put_in_place
from tests.pipeline.conftest import PARAMETERS, REPOSITORY, Book, code

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


def timeless(html: Path) -> dict[str, bytes]:
    """The files of a site without the time taken, whose digits are words to the search index."""
    return {
        path.relative_to(html).as_posix(): TIME_TAKEN.sub(b"", path.read_bytes())
        for path in sorted(html.rglob("*"))
        if path.is_file() and path.name != "searchindex.js"
    }


def test_two_builds_from_nothing_are_the_same_but_for_the_time_taken(
    tmp_path: Path,
) -> None:
    """Byte by byte: pages, figures and the notebooks to download."""
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
        return timeless(book.layout.html)

    first, second = (built_in(tmp_path / name) for name in ("first", "second"))
    assert any(name.endswith(".svg") for name in first)
    assert TIME_TAKEN.search(b"Time taken: 0.5 seconds")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_chapter_of_this_book_is_the_same_when_it_is_run_again_from_nothing(
    tmp_path: Path,
) -> None:
    """The cheapest one, with its data, its library and its figures, in another folder each time.

    The other chapters are left out, and links to them lead nowhere, which stops only the book.
    """

    def built_in(folder: Path) -> dict[str, bytes]:
        book = Book(folder)
        for name in ("book", "vae_lib"):
            shutil.copytree(REPOSITORY / name, folder / name, dirs_exist_ok=True)
        for name in ("_config.yml", "requirements.txt", "CITATION.cff"):
            shutil.copy(REPOSITORY / name, folder)
        book.write("_toc.yml", "format: jb-book\nroot: book/intro\n")
        done = book.run("chapter", NAME="intro")
        assert done.returncode == 0, done.stderr
        return timeless(book.layout.reexecuted / "intro" / "defaults" / "html")

    first, second = (built_in(tmp_path / name) for name in ("first", "second"))
    assert b"<figure" in first["book/intro.html"]
    assert any(name.endswith(".svg") for name in first)
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


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_replacement_that_is_interrupted_leaves_the_old_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, moment: str
) -> None:
    """Before or after the old one has gone; the third is the move back."""
    new, site, previous = (tmp_path / name for name in ("new", "site", "previous"))
    for folder in (new, site):
        folder.mkdir()
        (folder / "index.html").write_text(folder.name)
    rename, moved = Path.rename, []

    def interrupted(path: Path, target: Path) -> Path:
        moved.append(path)
        if path == site and moment == "after":
            rename(path, target)
            raise error
        if path == new:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(type(error)):
        put_in_place(new, site, previous)
    assert (site / "index.html").read_text() == "site"
    assert not previous.exists()
    assert previous in moved


def test_what_killed_processes_left_is_deleted_once_it_is_old(built: Book) -> None:
    """By the next execution and the next rendering; what others are at work on stays."""
    build = built.layout.build
    built.layout.running.mkdir(exist_ok=True)
    for age, name in ((4000, "old"), (0, "new")):
        folder = build / f"render-{name}"
        (folder / "stage").mkdir(parents=True)
        notebook = built.layout.running / f"01_a-{name}.ipynb"
        notebook.touch()
        for path in (folder, notebook):
            os.utime(path, (time.time() - age,) * 2)
    try:
        assert built.run("chapter", NAME="01_a", PARAMS="seed=7").returncode == 0
        assert [path.name for path in build.glob("render-*")] == ["render-new"]
        assert [path.name for path in built.layout.running.iterdir()] == ["01_a-new.ipynb"]
    finally:
        shutil.rmtree(built.layout.reexecuted)
        shutil.rmtree(build / "render-new")
        (built.layout.running / "01_a-new.ipynb").unlink()


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
