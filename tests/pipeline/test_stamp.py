"""What a page says about how it was made: recorded once, true, and no part of the cache's key."""

import ast
import json
import platform
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat

from book.pipeline.cache import STAMP, graft, run_key
from book.pipeline.chapters import read_chapter
from book.pipeline.execute import KERNEL_ENVIRONMENT
from book.pipeline.packages import pinned
from book.pipeline.profiles import plan_run
from book.pipeline.stage import source_map
from book.pipeline.stamp import COMPUTING, as_markdown, changed, collect
from tests.pipeline.conftest import PARAMETERS, REPOSITORY, Book, code
from vae_lib.provenance import checkout, processor

UNITS = "n: int = 3  # in [1, 9] images: those used\ndevice: str = 'cpu'  # in {cpu, cuda}: where\n"
# They draw bars, show outputs or fetch files; no number depends on them.
NOT_COMPUTING = {
    "tqdm",
    "matplotlib-inline",
    "ipython",
    "myst-nb",
    "zarr",
    "torchvision",
    "distributed",  # moves tasks to where they run
}


def test_it_holds_what_the_run_was_given(tiny: Book) -> None:
    tiny.write("book/params/other.yml", "01_a: {seed: 5}\n")
    tiny.write("requirements.txt", "numpy==1\npytest==1\n")
    tiny.chapter(code(PARAMETERS + UNITS, "parameters"))
    run = plan_run(tiny.layout, "01_a", "other", [("n", "4")])
    stamp = collect(tiny.root, run, threads="1")
    assert json.loads(json.dumps(stamp)) == stamp
    given = {p["name"]: (p["value"], p["default"], p["unit"]) for p in stamp["parameters"]}
    assert given == {
        "sigma_sq": (1.0, 1.0, ""),
        "seed": (5, 0, ""),
        "n": (4, 3, "images"),
        "device": ("cpu", "cpu", ""),
    }
    assert [p["name"] for p in changed(stamp)] == ["seed", "n"]
    assert (stamp["profile"], stamp["device"]) == ("other", "cpu")
    assert list(stamp["packages"]) == ["numpy"]
    assert stamp["python"] == platform.python_version()
    assert (stamp["commit"], stamp["tree"]) == ("unknown", "unknown")  # there is no repository
    assert stamp["processor"] == processor()
    real = collect(REPOSITORY, run, threads="1")
    assert (real["commit"], real["tree"]) == checkout(REPOSITORY)
    for private in (str(tiny.root), platform.node(), str(Path.home())):
        assert private not in json.dumps(stamp)
    lines = as_markdown({**stamp, "seconds": 2.25}).splitlines()
    assert lines[0] == ":::{dropdown} How this page was made"
    assert "- Parameters: `sigma_sq = 1.0`, `seed = 5`, `n = 4 images`, `device = cpu`" in lines
    assert "- Commit: `unknown`" in lines
    assert "- Time taken: 2.2 seconds" in lines
    assert lines[-1] == ":::"


def test_no_text_ends_the_box_or_opens_markup() -> None:
    stamp = {
        "parameters": [],
        "profile": "``` :::\n:::\n<b>",
        "commit": "0" * 40,
        "tree": "clean",
        "python": "3",
        "packages": {},
        "threads": "1",
        "processor": "A `chip`\n:::\n# Title",
        "device": None,
        "seconds": 1.0,
    }
    lines = as_markdown(stamp).splitlines()
    assert len(lines) == 9
    assert [line for line in lines if not line.startswith("- ")] == [lines[0], ":::"]
    assert "- Computed on: `` A `chip` ::: # Title ``" in lines
    assert "- Profile: ```` ``` ::: ::: <b> ````" in lines
    assert f"- Commit: `{'0' * 12}`, tracked files unchanged" in lines


def test_it_is_recorded_when_a_chapter_is_executed(tiny: Book) -> None:
    tiny.chapter(code(PARAMETERS, "parameters"), "Some prose.", code("print(seed)"), "The end.")
    run = plan_run(tiny.layout, "01_a", "quick", [("seed", "3")])
    before = run_key(tiny.layout, run)
    tiny.write("book/params/quick.yml", "01_a: {seed: 3}\n")
    done = tiny.run("execute", "01_a")
    assert done.returncode == 0, done.stderr
    (path,) = tiny.executed()
    assert path.stem == before
    executed = nbformat.read(path, as_version=4)
    stamp = executed.metadata[STAMP]
    assert stamp["threads"] == KERNEL_ENVIRONMENT["OMP_NUM_THREADS"]
    assert stamp["seconds"] > 0
    assert [p["value"] for p in stamp["parameters"]] == [1.0, 3]

    page = graft(run, executed)
    assert page.cells[-1].source == as_markdown(stamp)
    assert page.cells[-1]["id"] == "01_a-stamp"
    assert page.cells[-2].source == "The end."
    assert STAMP not in page.metadata
    nbformat.validate(page)
    source = tiny.root / "book/01_a.md"
    lines = source_map(source.read_text(), page)
    assert len(lines) == len(page.cells)
    assert lines == sorted(lines)
    # No line of the source is the stamp's own, so it counts from the last cell that has one.
    assert source.read_text().splitlines()[lines[-1]] == "The end."


def imported(source: str) -> set[str]:
    """The top-level names of the modules that a source imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_packages_it_names_are_those_that_library_and_chapters_use() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "vae_lib").rglob("*.py")]
    for chapter in (REPOSITORY / "book").glob("0*.md"):
        cells = read_chapter(chapter).cells
        sources += [cell.source for cell in cells if cell.cell_type == "code"]
    owners = packages_distributions()
    names = set().union(*map(imported, sources))
    used = {owner.lower() for name in names for owner in owners.get(name, [])}
    assert used - NOT_COMPUTING - {"vae-lib", "vae_lib"} == set(COMPUTING)
    assert set(COMPUTING) <= set(pinned((REPOSITORY / "requirements.txt").read_text()))
