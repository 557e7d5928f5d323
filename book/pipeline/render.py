"""From executed chapters to a site: Jupyter Book in a fresh folder, put in place if it passes.

Every rendering starts from nothing. That costs a few seconds and takes away three ways to be
wrong: a failed build whose warnings are forgotten by the next one, values glued from another page
that went stale, and pages of deleted sources left in the site.
"""

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.pipeline import accessible, icons, images, styles
from book.pipeline.cache import STAMP, cached_path, graft
from book.pipeline.execute import execute
from book.pipeline.layout import BuildError, Layout
from book.pipeline.leftovers import remove_old
from book.pipeline.packages import installed
from book.pipeline.profiles import Run, plan_book
from book.pipeline.progress import strip_ansi
from book.pipeline.stage import digest, staged_files, write_tree
from vae_lib.files import write_whole

# What Jupyter Book prints around the messages of Sphinx, whatever happens.
_CHATTER = re.compile(
    r"\s*$|=+$|Running Jupyter-Book|(Source Folder|Config Path|Output Path):|Building your book,"
    r"|Finished generating HTML|Your book's HTML|\s+\S*html/?$|You can look at|Or paste this"
    r"|\s+\S*(html/|index\.html)"
)
_MAPPED = re.compile(r"//# sourceMappingURL=\S+$|/\*# sourceMappingURL=[^*]*\*/", re.MULTILINE)


def executed_notebook(layout: Layout, run: Run) -> NotebookNode | None:
    """The page of a run with its outputs, or None where it has not been executed."""
    path = cached_path(layout, run)
    return graft(run, nbformat.read(path, as_version=4)) if path.is_file() else None


def sphinx(stage: Path, output: Path, *, strict: bool) -> tuple[int, list[str]]:
    """Run ``jupyter-book build``; the exit status and its warnings.

    ``output`` must not hold an earlier build: Sphinx would then report only what is new.
    """
    program = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    command = [sys.executable, str(program), "build", str(stage), "--path-output", str(output)]
    command += ["-q", "-n", *(["-W", "--keep-going"] if strict else [])]
    # Sphinx imports an extension of its own kind from here: book.pipeline.katex.
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = path
    done = subprocess.run(
        command,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    # Messages name files of the staging folder; the author knows them by other names.
    log = strip_ansi(done.stdout).replace(f"{stage}{os.sep}", "")
    log = re.sub(r"\.ipynb:(\d+):", r".md:\1:", log)
    return done.returncode, [line for line in log.splitlines() if not _CHATTER.match(line)]


def drop_source_maps(html: Path) -> None:
    """Delete what only the theme's developers need, and the mentions of it."""
    for path in html.rglob("*.map"):
        path.unlink()
        script = path.with_suffix("")
        if script.is_file():
            text = script.read_text(encoding="utf-8")
            script.write_text(_MAPPED.sub("", text), encoding="utf-8")


def build_site(
    layout: Layout, files: Mapping[str, bytes], site: Path, *, strict: bool
) -> list[str]:
    """Render a staged tree and put the result at ``site``; returns the warnings.

    A build that fails raises, and leaves whatever was at ``site`` as it was.
    """
    layout.build.mkdir(parents=True, exist_ok=True)
    remove_old(layout.build.glob("render-*"))
    with tempfile.TemporaryDirectory(dir=layout.build, prefix="render-") as scratch:
        stage, output = Path(scratch) / "stage", Path(scratch) / "out"
        write_tree(files, stage)
        status, log = sphinx(stage, output, strict=strict)
        html = output / "_build" / "html"
        if status != 0 or not (html / "index.html").is_file():
            listing = "\n".join(f"  {line}" for line in log)
            raise BuildError(f"the pages could not be rendered; nothing was replaced\n{listing}")
        icons.lighten(html)
        images.lighten(html)
        styles.lighten(html)
        drop_source_maps(html)
        accessible.make_accessible(html)
        put_in_place(html, site, Path(scratch) / "previous")
    return log


def put_in_place(new: Path, site: Path, previous: Path) -> None:
    """Move a folder to ``site``, and what was there to ``previous``, or else leave it there.

    No folder can take the place of another in one step. Whatever comes between the two, an error
    or Ctrl-C, puts the old one back; its new place may be one that is about to be deleted.
    """
    site.parent.mkdir(parents=True, exist_ok=True)
    try:
        if site.exists():
            site.rename(previous)
        new.rename(site)
    except BaseException:
        if previous.exists() and not site.exists():
            previous.rename(site)
        raise


def render_book(layout: Layout, profile: str) -> None:
    """Render the whole book, every warning an error; does nothing where nothing changed."""
    runs = plan_book(layout, profile)
    notebooks = {run.chapter: executed_notebook(layout, run) for run in runs}
    missing = [name for name, notebook in notebooks.items() if notebook is None]
    if missing:
        raise BuildError(f"these chapters are not executed yet: {', '.join(missing)}")
    files = staged_files(layout, {n: nb for n, nb in notebooks.items() if nb is not None})
    tools = f"{sys.version} {installed(layout.root / 'requirements.txt')}".encode()
    own = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    state = f"{digest(files)} {hashlib.sha256(tools + own).hexdigest()}"
    index, stamp = layout.html / "index.html", layout.build / "html.state"
    if index.is_file() and stamp.is_file() and stamp.read_text() == state:
        print(f"Nothing has changed since the book was last rendered: {layout.shown(index)}")
        return
    print("Rendering the book ...", flush=True)
    stamp.unlink(missing_ok=True)
    build_site(layout, files, layout.html, strict=True)
    stamp.write_text(state)
    print(f"The book is ready: open {layout.shown(index)}")


def slug(run: Run) -> str:
    """A folder name for a set of values: readable, and different for different values."""
    changed = run.changed()
    if not changed:
        return "defaults"
    words = "_".join(f"{name}-{value}" for name, value in changed.items())
    readable = "".join(c if c.isalnum() or c in "._-" else "-" for c in words)[:60]
    return f"{readable}-{hashlib.sha256(repr(sorted(changed.items())).encode()).hexdigest()[:8]}"


def render_chapter(
    layout: Layout, run: Run, profile: str, *, cell_minutes: float | None = None
) -> Path:
    """Execute one chapter with its own values and render it, with the book around it.

    The other chapters appear as they were last executed, or else as sources without outputs, so
    warnings do not stop this build: those about this chapter's page are printed.
    """
    executed = execute(layout, run, cell_minutes=cell_minutes)
    others = {other.chapter: other for other in plan_book(layout, profile)} | {run.chapter: run}
    notebooks = {n: executed_notebook(layout, r) or r.notebook for n, r in others.items()}
    folder = layout.reexecuted / run.chapter / slug(run)
    print(f"[{run.chapter}] rendering ...", flush=True)
    log = build_site(layout, staged_files(layout, notebooks), folder / "html", strict=False)
    for line in log:
        if f"/{run.chapter}." in line:
            print(f"[{run.chapter}] {line}", file=sys.stderr)
    # Only now, and not on the page: the list of re-executions is made from these notebooks.
    kept = notebooks[run.chapter]
    kept.metadata[STAMP] = nbformat.read(executed, as_version=4).metadata[STAMP]
    content = nbformat.writes(kept).encode()
    write_whole(folder / f"{run.chapter}.ipynb", lambda file: file.write(content))
    return folder / "html" / "book" / f"{run.chapter}.html"
