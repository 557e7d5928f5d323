"""The page that lists the chapters that were run on their own, with links to what came out.

It is made from the folders alone, so it can be made again at any time, and a folder that was
deleted is gone from it.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode

from book.pipeline.cache import STAMP
from book.pipeline.layout import Layout
from book.pipeline.parameters import as_text
from book.pipeline.stamp import changed, with_unit
from vae_lib.files import write_whole

IMAGES = ("image/svg+xml", "image/png", "image/webp")


@dataclass(frozen=True)
class Figure:
    """A picture as a ``data:`` address, and what a reader who does not see it is told."""

    address: str
    alt: str


@dataclass(frozen=True)
class Reexecution:
    """One folder of the re-executions, as far as the list shows it."""

    chapter: str
    title: str
    page: str  # relative to the list
    changes: tuple[str, ...]  # "seed = 3 (default 0)"
    started: str
    commit: str
    seconds: float
    figure: Figure | None


def _address(kind: str, content: str | list[str]) -> str:
    """An image of a notebook as an address; ValueError where it is damaged."""
    text = content if isinstance(content, str) else "".join(content)
    if kind == "image/svg+xml":
        encoded = base64.b64encode(text.encode()).decode()
    else:
        encoded = "".join(text.split())
        base64.b64decode(encoded, validate=True)
    return f"data:{kind};base64,{encoded}"


def first_figure(notebook: NotebookNode, chapter: str) -> Figure | None:
    """The first picture that a cell shows, described as on the page; None where there is none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in IMAGES:
                if kind in data:
                    described = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
                    alt = " ".join(str(described or f"The first figure of {chapter}").split())
                    return Figure(_address(kind, data[kind]), alt)
    return None


def _title(notebook: NotebookNode, chapter: str) -> str:
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = (line for text in texts for line in text.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), chapter)


def _change(parameter: dict[str, Any]) -> str:
    return f"{parameter['name']} = {with_unit(parameter)} (default {as_text(parameter['default'])})"


def read(folder: Path) -> Reexecution:
    """What ``<chapter>/<values>/`` holds; ValueError with the reason where that is not whole."""
    chapter = folder.parent.name
    page = folder / "html" / "book" / f"{chapter}.html"
    if not page.is_file():
        raise ValueError("it has no page")
    try:
        notebook = nbformat.reads(
            (folder / f"{chapter}.ipynb").read_text(encoding="utf-8"), as_version=4
        )
    except OSError:
        raise ValueError("it has no notebook") from None
    except Exception:  # nbformat raises errors of many kinds, all for the same reason
        raise ValueError("its notebook is damaged") from None
    if STAMP not in notebook.metadata:
        raise ValueError("its notebook does not say how it was made")
    stamp = notebook.metadata[STAMP]
    try:
        return Reexecution(
            chapter=chapter,
            title=_title(notebook, chapter),
            page=page.relative_to(folder.parent.parent).as_posix(),
            changes=tuple(map(_change, changed(stamp))),
            started=str(stamp["started"]),
            commit=str(stamp["commit"]),
            seconds=float(stamp["seconds"]),
            figure=first_figure(notebook, chapter),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("its notebook is damaged") from None


def read_all(parent: Path) -> tuple[list[Reexecution], dict[str, str]]:
    """Every re-execution, chapter by chapter and the latest first, and what was skipped and why."""
    found, skipped = [], {}
    for folder in sorted(path for path in parent.glob("*/*") if path.is_dir()):
        try:
            found.append(read(folder))
        except ValueError as reason:
            skipped[folder.relative_to(parent).as_posix()] = str(reason)
    found.sort(key=lambda one: one.started, reverse=True)  # stable: equal times keep their order
    return sorted(found, key=lambda one: one.chapter), skipped


_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --faint: #57606a;
  --line: #d0d7de; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9da7b1; --line: #3d444d; --link: #79b8ff; }
}
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
a { color: var(--link); } a:focus-visible { outline: 2px solid; outline-offset: 2px; }
ul.runs { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
ul.runs > li { border: 1px solid var(--line); border-radius: 6px; padding: .75rem; }
img { display: block; width: 100%; height: 10rem; object-fit: contain; background: #fff;
  border-radius: 4px; }
.nothing { color: var(--faint); } .made { color: var(--faint); font-size: .875rem; margin: 0; }
"""


def _entry(one: Reexecution) -> str:
    shown = '<p class="nothing">This page has no figure.</p>'
    if one.figure:
        address, alt = escape(one.figure.address), escape(one.figure.alt)
        shown = f'<img src="{address}" alt="{alt}" loading="lazy">'
    values = ", ".join(one.changes) or "the book's own values"
    when = one.started.replace("T", " ").replace("Z", " UTC")
    made = f"Executed {when}, commit {one.commit[:12]}, {one.seconds:.1f} seconds"
    link = escape(quote(one.page, errors="surrogateescape"))
    return (
        f'<li>{shown}\n<p><a href="{link}">{escape(values)}</a></p>\n'
        f'<p class="made">{escape(made)}</p></li>'
    )


def as_html(found: Iterable[Reexecution], skipped: dict[str, str]) -> str:
    """The whole page. It asks nothing of the outside, and every value on it is escaped."""
    parts = []
    for chapter, group in groupby(found, key=lambda one: one.chapter):
        entries = list(group)
        parts.append(f"<h2>{escape(chapter)}: {escape(entries[0].title)}</h2>")
        parts += ['<ul class="runs">', *map(_entry, entries), "</ul>"]
    if not parts:
        parts.append("<p>No chapter was run on its own yet.</p>")
    if skipped:
        reasons = (f"<li>{escape(name)}: {escape(why)}</li>" for name, why in skipped.items())
        parts += ["<h2>Skipped</h2>", "<ul>", *reasons, "</ul>"]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>All re-executions</title><style>{_STYLE}</style></head><body>",
            "<main><h1>All re-executions</h1>",
            *parts,
            "</main></body></html>\n",
        ]
    )


def write_index(layout: Layout) -> Path:
    """Write the list of all re-executions anew; returns where it is."""
    index = layout.reexecuted / "index.html"
    page = as_html(*read_all(layout.reexecuted))
    content = page.encode(errors="replace")  # a damaged notebook may hold any text
    write_whole(index, lambda file: file.write(content))
    return index
