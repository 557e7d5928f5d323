"""The page that lists every parameter of every chapter, from their own declarations."""

from book.pipeline.chapters import chapters, parameter_source, read_chapter
from book.pipeline.layout import Layout, UsageError
from book.pipeline.parameters import declared_parameters

PAGE = "book/rerun.md"
MARK = "<!-- the parameters of every chapter -->"  # where the tables go
COLUMNS = ("Parameter", "Type", "Default", "Range", "Unit", "Meaning")


def with_tables(text: str, layout: Layout) -> str:
    """The page's source with the tables in the place of its mark.

    Raises UsageError where it has none.
    """
    if MARK not in text:
        raise UsageError(f"{PAGE} must have the line {MARK!r}, where the tables go")
    return text.replace(MARK, tables(layout))


def tables(layout: Layout) -> str:
    """A section for each chapter that takes parameters: a table, in Markdown."""
    sections = []
    for name, source in chapters(layout).items():
        notebook = read_chapter(source)
        parameters = declared_parameters(parameter_source(notebook, name), name)
        if not parameters:
            continue
        rows = [COLUMNS, ("---",) * len(COLUMNS)]
        for parameter in parameters.values():
            named, kind, default, *rest = parameter.cells()
            rows.append((f"`{named}`", kind, f"`{default}`", *rest))
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        # No link in a heading: the page's own table of contents would show the file's name.
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        heading = f"## {title}\n\n{{doc}}`Read it <{name}>`; `NAME={name}`"
        sections.append("\n".join([heading, "", *lines]))
    return "\n\n".join(sections)
