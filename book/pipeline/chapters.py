"""Which pages the book has, and how a MyST source becomes a notebook."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from book.pipeline.layout import Layout, UsageError

PARAMETERS = "parameters"
INJECTED = "injected-parameters"
# The only tags that change what is computed. All others (hide-input and the like) change how a
# page looks, so editing them must not run a chapter again.
COMPUTING_TAGS = frozenset({PARAMETERS, "raises-exception", "skip-execution"})


def read_yaml(layout: Layout, path: Path) -> Any:
    """What a YAML file holds; an error names the file."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as reason:
        raise UsageError(f"{layout.shown(path)} cannot be read: {reason}") from None


def _listed(node: Any) -> Iterator[str]:
    """Every ``root:`` and ``file:`` entry of a table of contents, in order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(value)
            else:
                yield from _listed(value)
    elif isinstance(node, list):
        for item in node:
            yield from _listed(item)


def pages(layout: Layout) -> list[Path]:
    """The sources of all pages, in the order of ``_toc.yml``."""
    toc = read_yaml(layout, layout.root / "_toc.yml")
    sources = [layout.root / f"{entry}.md" for entry in _listed(toc)]
    missing = [layout.shown(source) for source in sources if not source.is_file()]
    if missing:
        raise UsageError(f"_toc.yml lists pages that do not exist: {', '.join(missing)}")
    return sources


def is_chapter(source: Path) -> bool:
    """Whether a page computes something; a page without code cells is copied as it is."""
    return "```{code-cell}" in source.read_text(encoding="utf-8")


def chapters(layout: Layout) -> dict[str, Path]:
    """The pages that are executed: name (the file's stem) -> source."""
    found: dict[str, Path] = {}
    for source in filter(is_chapter, pages(layout)):
        if source.stem in found:
            raise UsageError(f"two chapters are called {source.stem!r}: names must differ")
        found[source.stem] = source
    return found


def find_chapter(layout: Layout, name: str) -> Path:
    """The source of a chapter, or an error that lists the chapters there are."""
    known = chapters(layout)
    if name not in known:
        listing = "\n".join(f"  {chapter}" for chapter in known) or "  (none)"
        wrong = f"there is no chapter {name!r}" if name else "no chapter was named"
        raise UsageError(f"{wrong}; NAME can be one of\n{listing}")
    return known[name]


def read_chapter(source: Path) -> NotebookNode:
    """The notebook in a MyST source, with cell ids that depend only on position.

    jupytext draws random ids, with which no two builds would be byte-identical.
    """
    import jupytext  # here, because it takes longer to import than most commands take to run
    from jupytext.myst import MystMetadataParsingError

    try:
        notebook = jupytext.read(source, fmt="md:myst")
    except MystMetadataParsingError as reason:  # the options of a code cell are no YAML
        raise UsageError(f"{source.name}: {reason}") from None
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem}-{position:03d}"[-64:]
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells that are written in the source, without the one that papermill adds."""
    return [c for c in notebook.cells if c.cell_type == "code" and INJECTED not in tags(c)]


def parameter_source(notebook: NotebookNode, chapter: str) -> str:
    """The text of the cell tagged ``parameters``; empty where a chapter takes none."""
    tagged = [cell.source for cell in code_cells(notebook) if PARAMETERS in tags(cell)]
    if len(tagged) > 1:
        raise UsageError(f"{chapter} has {len(tagged)} cells tagged 'parameters'; one is allowed")
    return tagged[0] if tagged else ""
