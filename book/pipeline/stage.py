"""The folder that Jupyter Book renders: executed chapters beside everything else it needs."""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.pipeline import citation, claims, downloads, rerun
from book.pipeline.chapters import chapters, pages
from book.pipeline.layout import BuildError, Layout

# Folders of book/ that are no part of the site.
NOT_STAGED = frozenset({"pipeline", "params", "__pycache__"})
CONFIG = ("_config.yml", "_toc.yml")


def plotly_bundle() -> bytes:
    """plotly.js as it comes with the installed package, so that figure and script fit."""
    spec = importlib.util.find_spec("plotly")  # finds it without importing it, which is slow
    if spec is None or spec.origin is None:
        raise BuildError("plotly is not installed; run 'make book', which installs what is needed")
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()


def _plain_files(layout: Layout) -> list[Path]:
    """Bibliography, pictures, scripts and the pages without code, but not the chapters."""
    listed, computed = set(pages(layout)), set(chapters(layout).values())
    found = []
    for path in sorted(layout.book.rglob("*")):
        inside = path.relative_to(layout.book).parts
        hidden = any(part.startswith(".") or part.endswith("~") for part in inside)
        if not path.is_file() or hidden or NOT_STAGED.intersection(inside):
            continue
        # A page that the table of contents does not list would only be warned about.
        if path.suffix == ".md" and path not in listed and "assets" not in inside:
            continue
        if path not in computed:
            found.append(path)
    return found


def source_map(text: str, notebook: NotebookNode) -> list[int]:
    """The line of the source before each cell, counted from 0.

    MyST-NB looks for it in a notebook's metadata; its warnings then name lines of the source that
    can be edited, not those of a notebook that nobody wrote.
    """
    lines = [line.strip() for line in text.splitlines()]
    starts, at = [], 0
    for cell in notebook.cells:
        written = cell.source.splitlines()
        first = written[0].strip() if written else ""
        if first in lines[at:]:  # the cell that papermill adds is in no source
            at = lines.index(first, at)
            starts.append(at - 1)
            at += 1
        else:
            starts.append(at - 1)
    return starts


def page_end(layout: Layout) -> str:
    """What the end of every page says alike; empty where there is nothing to say."""
    found = citation.entries(layout)
    return f"\n\n{citation.as_markdown(found)}" if found else ""


def staged_files(layout: Layout, notebooks: Mapping[str, NotebookNode]) -> dict[str, bytes]:
    """Path in the staging folder -> content, for the whole book."""
    sources = [layout.root / name for name in CONFIG] + _plain_files(layout)
    files = {path.relative_to(layout.root).as_posix(): path.read_bytes() for path in sources}
    if rerun.PAGE in files:
        text = files[rerun.PAGE].decode("utf-8")
        files[rerun.PAGE] = rerun.with_tables(text, layout).encode()
    fillings = claims.marks(layout, notebooks) if claims.PAGE in files else {}
    end = page_end(layout)
    for source in pages(layout):
        page, text = source.relative_to(layout.root).as_posix(), source.read_text(encoding="utf-8")
        files[f"{downloads.STAGED}/{downloads.source_file(page)}"] = text.encode()
        if page in files:  # it has no code
            offered = downloads.as_markdown(page, [], notebook=False) + end
            filled = claims.filled(files[page].decode("utf-8"), fillings)
            files[page] = f"{filled.rstrip()}\n\n{offered}\n".encode()
            continue
        notebook, figures = downloads.taken_out(notebooks[source.stem])
        if fillings:
            claims.without_data(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = claims.filled(cell.source, fillings)
        offered = downloads.as_markdown(page, figures, notebook=True) + end
        cell = nbformat.v4.new_markdown_cell(offered)
        cell["id"] = f"{source.stem}-downloads"[-64:]
        notebook.cells.append(cell)
        notebook.metadata["source_map"] = source_map(text, notebook)
        files[source.relative_to(layout.root).with_suffix(".ipynb").as_posix()] = (
            nbformat.writes(notebook) + "\n"
        ).encode()
        for name, table in downloads.data_files(source.stem, figures).items():
            files[f"{downloads.STAGED}/{name}"] = table.encode()
    files[f"{downloads.STAGED}/vendor/plotly.min.js"] = plotly_bundle()
    return files


def digest(files: Mapping[str, bytes]) -> str:
    """One checksum of a staged tree."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def write_tree(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
