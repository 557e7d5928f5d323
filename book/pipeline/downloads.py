"""What a page offers to take away: its notebook, its source, and its figures' data as CSV.

A figure shows its data beside its picture, as an output of a type of its own. They are taken out
before a page is rendered, so that neither the page nor the notebook to download holds them twice.
"""

import copy
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from nbformat import NotebookNode

FIGURE_DATA = "application/vnd.vae-lib.figure-data"  # what vae_lib.figures.data calls it
# Everything below the first is found below the second in the site (html_static_path).
STAGED, SITE = "book/assets", "_static"


@dataclass(frozen=True)
class Figure:
    """A figure of a page: the label it is referred to by, and its data, where it has them."""

    label: str | None
    csv: str | None


def taken_out(notebook: NotebookNode) -> tuple[NotebookNode, list[Figure]]:
    """A copy of an executed notebook without its figures' data, and its figures in order."""
    notebook, figures = copy.deepcopy(notebook), []
    for cell in notebook.cells:
        bundles = [output.data for output in cell.get("outputs", []) if "data" in output]
        found = [b.pop(FIGURE_DATA) for b in bundles if FIGURE_DATA in b]
        declared = cell.metadata.get("mystnb", {}).get("figure", {})
        # Without a caption it has no number, and nothing can refer to it.
        label = declared.get("name") if declared.get("caption") and bundles else None
        if found:
            figures.append(Figure(label, found[0]))
            figures += [Figure(None, table) for table in found[1:]]
        elif label:
            figures.append(Figure(label, None))
    return notebook, figures


def data_files(stem: str, figures: Sequence[Figure]) -> dict[str, str]:
    """Name of a file -> its text, for all figures of a page that have data."""
    return {
        f"data/{stem}-figure-{number}.csv": figure.csv
        for number, figure in enumerate(figures, start=1)
        if figure.csv is not None
    }


def source_file(page: str) -> str:
    """Where the source of a page is found: ``book/01_ppca.md`` -> ``source/book/01_ppca.md``."""
    return f"source/{page}"


def _link(page: str, target: str, text: str) -> str:
    """A link from a page to a file of the site, as HTML: to Sphinx the file is none of its own."""
    address = posixpath.relpath(target, posixpath.dirname(page))
    return f'<a href="{escape(quote(address))}" download>{escape(text)}</a>'


def as_markdown(page: str, figures: Sequence[Figure], *, notebook: bool) -> str:
    """The downloads of a page as a box that is folded until it is opened.

    ``page`` is the path of the source; ``notebook`` says whether the page computes something.
    """
    lines = [f"- This page: {_link(page, f'{SITE}/{source_file(page)}', 'its source in MyST')}"]
    stem = posixpath.splitext(posixpath.basename(page))[0]
    if notebook:
        target = f"_sources/{posixpath.splitext(page)[0]}.ipynb"
        lines[0] += f", {_link(page, target, 'its notebook with all outputs')}"
    files, without = data_files(stem, figures), []
    for number, figure in enumerate(figures, start=1):
        called = f"{{numref}}`{figure.label}`" if figure.label else f"Picture {number}"
        name = f"data/{stem}-figure-{number}.csv"
        if name in files:
            shown = posixpath.basename(name)
            lines.append(f"- Data of {called}: {_link(page, f'{SITE}/{name}', shown)}")
        else:
            without.append(called)
    if without:
        lines.append(f"- Pictures, without a table: {', '.join(without)}")
    return "\n".join([":::{dropdown} Downloads", *lines, ":::"])
