"""A chapter runs again when its outputs could change, and only then."""

import ast
import copy
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import nbformat
import numpy
import pytest
from nbformat import NotebookNode

from book.pipeline import cache, packages
from book.pipeline.cache import data_state, graft, run_key
from book.pipeline.chapters import chapters, code_cells, read_chapter, tags
from book.pipeline.layout import Layout, UsageError
from book.pipeline.profiles import Run, plan_run
from book.pipeline.stage import source_map
from tests.pipeline.conftest import PARAMETERS, REPOSITORY, Book, code

CELLS = (code(PARAMETERS, "parameters"), "Some prose.", code("print(sigma_sq)"))


def key(book: Book, **values: str) -> str:
    return run_key(book.layout, plan_run(book.layout, "01_a", "quick", list(values.items())))


def ran(run: Run) -> NotebookNode:
    """What papermill would hand back: outputs, and a cell with the values that were given."""
    executed = copy.deepcopy(run.notebook)
    for number, cell in enumerate(code_cells(executed), start=1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"output {number}")]
    if run.changed():
        given = nbformat.v4.new_code_cell("# Parameters\nseed = 3")
        given.metadata["tags"] = ["injected-parameters"]
        executed.cells.insert(2, given)
    return executed


@pytest.mark.parametrize(
    "change",
    [
        lambda book: book.chapter(*CELLS[:2], code("print(sigma_sq)  # twice")),
        lambda book: book.chapter(*CELLS, code("1")),
        lambda book: book.chapter(*CELLS[:2], code("print(sigma_sq)", "raises-exception")),
        lambda book: book.write("vae_lib/__init__.py", "x = 1\n"),
        lambda book: book.write("vae_lib/deep/new.py", ""),
        lambda book: book.write("requirements.txt", "two==1\n"),
        lambda book: book.write("book/params/quick.yml", "01_a: {seed: 3}\n"),
    ],
    ids=["code", "cell", "tag", "library", "module", "package", "profile"],
)
def test_what_changes_the_key(tiny: Book, change: Callable[[Book], object]) -> None:
    tiny.chapter(*CELLS)
    before = key(tiny)
    change(tiny)
    assert key(tiny) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda book: book.chapter(CELLS[0], "Other prose.", CELLS[2], "More."),
        lambda book: book.chapter(*CELLS[:2], code("print(sigma_sq)", "hide-input")),
        lambda book: book.write("vae_lib/notes.txt", "x"),
        lambda book: book.write("book/recorded/ledger.csv", "a,b\n"),
        lambda book: book.write("requirements.txt", "# A comment\n\none==1  # and another\n"),
        lambda book: book.write("requirements.txt", "one==2\n"),
        lambda book: book.write("book/params/paper.yml", "01_a: {seed: 3}\n"),
        lambda book: book.write("book/params/quick.yml", "01_a: {seed: 0}\n"),
    ],
    ids=["prose", "look", "notes", "ledger", "comment", "pin", "other profile", "the default"],
)
def test_what_does_not(tiny: Book, change: Callable[[Book], object]) -> None:
    tiny.chapter(*CELLS)
    before = key(tiny)
    change(tiny)
    assert key(tiny) == before


@pytest.mark.parametrize("name", cache.LEDGER_READERS)
def test_ledgers_change_the_key_of_a_chapter_that_reads_them(tiny: Book, name: str) -> None:
    tiny.chapter(*CELLS, f"Prose about `{name}`.")
    only_said = key(tiny)
    tiny.write("book/recorded/a/ledger.csv", "a,b\n")
    assert key(tiny) == only_said
    tiny.chapter(*CELLS, code(f"{name}(folder)"))
    before = key(tiny)
    tiny.write("book/recorded/a/ledger.csv", "a,b\n1,2\n")
    after = key(tiny)
    assert after != before
    tiny.write("book/recorded/b/curves/r.csv", "1\n")
    assert key(tiny) not in (before, after)


def names_in(node: ast.AST) -> set[str]:
    """What code calls by name; the names that it imports are found where they are used."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def test_no_chapter_can_read_a_ledger_unnoticed() -> None:
    """What a chapter can call in the library either is a reader or calls none.

    Except the sweep, which no chapter starts, and what writes a row.
    """
    readers = {*cache.LEDGER_READERS, "_read_numbers", "parse_ledger"}
    for path in sorted((REPOSITORY / "vae_lib").rglob("*.py")):
        if path.name == "sweep.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not readers.isdisjoint(names_in(node)):
                assert getattr(node, "name", None) in {*readers, "add_row"}, (path.name, node)
    for name, source in chapters(Layout(REPOSITORY)).items():
        text = "\n".join(cell.source for cell in code_cells(read_chapter(source)))
        for word in (
            "parse_ledger",
            "vae_lib.sweep",
            "import sweep",
            '/ "recorded"',
            "book/recorded",
        ):
            assert word not in text, name


def test_a_package_upgraded_by_hand_changes_the_key(
    tiny: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    def versions(**known: str) -> None:
        def version(name: str) -> str:
            if name not in known:
                raise PackageNotFoundError(name)
            return known[name]

        monkeypatch.setattr(packages, "version", version)

    versions()
    absent = key(tiny)
    versions(one="1")
    pinned = key(tiny)
    versions(one="1", other="7")
    assert key(tiny) == pinned
    versions(one="1+cu130")
    assert len({absent, pinned, key(tiny)}) == 3


def test_other_data_change_the_key(tiny: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(tiny)
    monkeypatch.setattr(cache, "data_state", lambda: {"mnist": "0" * 64})
    assert key(tiny) != before


def test_pinned_packages_are_found_under_their_names() -> None:
    text = "# Why\n\nA_b.c-d==1.0\n  two[extra]>=2 ; python_version > '3'  # c==3\n-r more.txt\n"
    assert packages.pinned(text) == ["A_b.c-d", "two"]
    real = packages.installed(REPOSITORY / "requirements.txt")
    assert real["numpy"] == numpy.__version__
    assert packages.ABSENT not in real.values()


def test_packages_that_only_read_the_book_do_not_change_the_key(tiny: Book) -> None:
    before = key(tiny)
    tiny.write("requirements.txt", f"one==1\n\n# Tools: {packages.AFTERWARDS}\ntwo==2\n")
    assert key(tiny) == before
    tiny.write("requirements.txt", f"one==1\ntwo==2\n\n# Tools: {packages.AFTERWARDS}\n")
    assert key(tiny) != before
    assert packages.AFTERWARDS in (REPOSITORY / "requirements.txt").read_text()


def test_values_have_keys_of_their_own(tiny: Book) -> None:
    assert key(tiny, seed="0", sigma_sq="1.0") == key(tiny)
    assert len({key(tiny), key(tiny, seed="1"), key(tiny, seed="2")}) == 3


def test_cell_ids_are_fixed(tiny: Book) -> None:
    source = tiny.chapter(*CELLS)
    ids = [cell["id"] for cell in read_chapter(source).cells]
    assert ids == [f"01_a-{number:03d}" for number in range(4)]


def test_new_prose_gets_the_outputs_that_are_there(tiny: Book) -> None:
    tiny.chapter(*CELLS)
    executed = ran(plan_run(tiny.layout, "01_a", "quick"))
    tiny.chapter("New words.", CELLS[0], CELLS[2], "And more.")
    page = graft(plan_run(tiny.layout, "01_a", "quick"), executed)
    assert [cell.cell_type for cell in page.cells] == ["markdown", "code", "code", "markdown"]
    assert "New words." in page.cells[0].source
    assert [cell.outputs[0].text for cell in code_cells(page)] == ["output 1", "output 2"]
    assert not any("injected-parameters" in tags(cell) for cell in page.cells)
    nbformat.validate(page)


def test_other_values_are_shown_on_the_page(tiny: Book) -> None:
    tiny.chapter(*CELLS)
    run = plan_run(tiny.layout, "01_a", "quick", [("seed", "3")])
    page = graft(run, ran(run))
    title, note = page.cells[0].source.split("\n\n", 1)
    assert title == "# A chapter"
    assert "`seed` is `3` (default `0`): the seed" in note.splitlines()[2]
    assert "sigma_sq" not in note
    (given,) = (cell for cell in page.cells if "injected-parameters" in tags(cell))
    assert page.cells.index(given) == 2
    assert "hide-input" in tags(given)
    nbformat.validate(page)


def test_warnings_will_name_lines_of_the_source(tiny: Book) -> None:
    source = tiny.chapter(*CELLS, "The last words.")
    text = source.read_text()
    lines = source_map(text, read_chapter(source))
    written = text.splitlines()
    assert written[lines[0] + 1] == "# A chapter"
    assert written[lines[-1] + 1] == "The last words."
    assert lines == sorted(lines)


def test_the_note_says_the_unit(tiny: Book) -> None:
    tiny.chapter(code("n: int = 10  # in [1, 99] images: those used", "parameters"))
    run = plan_run(tiny.layout, "01_a", "quick", [("n", "12")])
    assert "- `n` is `12` images (default `10`): those used" in graft(run, ran(run)).cells[0].source


def test_a_folder_of_images_that_is_missing_is_a_wrong_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE_LIB_DATA", str(tmp_path))
    monkeypatch.delenv("VAE_LIB_CELEBA", raising=False)
    assert set(data_state()) == {"celeba"}
    monkeypatch.setenv("VAE_LIB_CELEBA", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="missing does not exist"):
        data_state()
