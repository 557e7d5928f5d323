"""The command line of the pipeline; the Makefile is its user.

What a reader types arrives in the environment (NAME, PARAMS, PROFILE, HELP, CELL_MINUTES), never as
a part of a command, so that no shell and no make can read it as anything but text.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from book.pipeline.layout import BuildError, Layout, UsageError

# Minutes each, where the others take less than two. Only the order of execution depends on it.
LONGEST_FIRST = ("05_mnist", "02_linear_vae", "07_celeba", "04_no_extra_maxima")


def cell_minutes() -> int | None:
    """How long a cell may take, if it was said."""
    text = os.environ.get("CELL_MINUTES", "")
    if not text:
        return None
    if not re.fullmatch("[1-9][0-9]{0,4}", text):
        raise UsageError(f"CELL_MINUTES must be a whole number from 1 to 99999, got {text!r}")
    return int(text)


def stale(layout: Layout, profile: str) -> None:
    """Print the chapters that have to be executed, after everything was checked.

    The long ones come first: one that starts last keeps the other core waiting.
    """
    from book.pipeline import claims
    from book.pipeline.cache import cached_path
    from book.pipeline.chapters import pages
    from book.pipeline.profiles import plan_book

    if os.environ.get("PARAMS"):
        raise UsageError("PARAMS goes with 'make chapter'; for the book, choose a PROFILE")
    if layout.root / claims.PAGE in pages(layout):
        claims.listed(layout)  # is read only when the book is rendered, long after this
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    for run in sorted(
        plan_book(layout, profile), key=lambda run: order.get(run.chapter, len(order))
    ):
        if not cached_path(layout, run).is_file():
            print(run.chapter)


def execute(layout: Layout, profile: str, name: str) -> None:
    """Execute one chapter of the book, unless its outputs are there."""
    from book.pipeline.chapters import find_chapter
    from book.pipeline.execute import execute as run_chapter
    from book.pipeline.profiles import plan_run

    find_chapter(layout, name)
    run_chapter(layout, plan_run(layout, name, profile), cell_minutes=cell_minutes())


def render(layout: Layout, profile: str) -> None:
    from book.pipeline.render import render_book

    render_book(layout, profile)


def chapter(layout: Layout, profile: str) -> None:
    """Execute and render one chapter with the parameters given, or only say what it takes."""
    from book.pipeline.cache import cached_path
    from book.pipeline.chapters import find_chapter
    from book.pipeline.parameters import split_pairs, table
    from book.pipeline.profiles import plan_run
    from book.pipeline.reexecutions import write_index
    from book.pipeline.render import render_chapter

    name = os.environ.get("NAME", "")
    find_chapter(layout, name)
    if os.environ.get("HELP"):
        parameters = plan_run(layout, name, profile).parameters
        print(f"{name} takes\n{table(parameters)}" if parameters else f"{name} takes no parameters")
        return
    run = plan_run(layout, name, profile, split_pairs(os.environ.get("PARAMS", "")))
    # Ahead of the chapter, because a download reports its progress, and that belongs on no page.
    if not cached_path(layout, run).is_file():
        fetch = subprocess.run([sys.executable, "-m", "vae_lib.data"], cwd=layout.root, check=False)
        if fetch.returncode:
            raise BuildError(f"{name} was not run: its data could not be fetched, see above")
    page = render_chapter(layout, run, profile, cell_minutes=cell_minutes())
    print(f"The chapter is ready: open {layout.shown(page)}")
    print(f"All re-executions: {layout.shown(write_index(layout))}")


def pdf(layout: Layout) -> None:
    """Print the built book as one PDF."""
    from book.pipeline.pdf import write_pdf

    print(f"The whole book: {layout.shown(write_pdf(layout))}")


def notebooks(layout: Layout, folder: Path) -> None:
    """Write the chapters as notebooks that have not been executed, for tools that read those."""
    import nbformat

    from book.pipeline.chapters import chapters, read_chapter
    from book.pipeline.stage import write_tree

    files = {
        f"{name}.ipynb": nbformat.writes(read_chapter(source)).encode()
        for name, source in chapters(layout).items()
    }
    write_tree(files, folder)


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Run one command; its exit status is 2 for a wrong request and 1 for a failed build."""
    parser = argparse.ArgumentParser(prog="python -m book.pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("stale", help="print the chapters that have to be executed")
    commands.add_parser("execute", help="execute a chapter").add_argument("name")
    commands.add_parser("render", help="render the executed book")
    commands.add_parser("chapter", help="execute and render chapter $NAME with $PARAMS")
    commands.add_parser("pdf", help="print the rendered book as one PDF")
    exported = commands.add_parser("notebooks", help="write chapters as notebooks, not executed")
    exported.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    layout = Layout(root or Path.cwd())
    profile = os.environ.get("PROFILE") or "quick"
    try:
        cell_minutes()  # before anything runs
        match given.command:
            case "stale":
                stale(layout, profile)
            case "execute":
                execute(layout, profile, given.name)
            case "render":
                render(layout, profile)
            case "chapter":
                chapter(layout, profile)
            case "pdf":
                pdf(layout)
            case "notebooks":
                notebooks(layout, given.folder)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (BuildError, OSError) as error:  # of the system: a full disk, mostly
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; what is half done is not kept.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
