"""What `make book` takes beside the computations of its chapters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from book.pipeline.chapters import PARAMETERS, chapters, read_chapter, tags
from book.pipeline.layout import Layout
from tests.bench.rows import Row, seconds
from vae_lib.experiments import REPOSITORY

TARGET_SECONDS = 60.0
_CODE = re.compile(r"^```\{code-cell\}.*?^```$", re.MULTILINE | re.DOTALL)


def row(root: Path = REPOSITORY) -> Row | str:
    """Checking, a process and a kernel for each chapter one after the other, and the pages.

    All in copies. The pages are those of the built book. The chapters are executed with as many
    cells as they have, of which only that of the parameters does anything: what their kernels
    compute is no overhead, and sending and saving their outputs is left out.
    """
    with tempfile.TemporaryDirectory() as name:
        built, empty = Path(name) / "built", Path(name) / "empty"
        for folder in (built, empty):
            copy_sources(root, folder)
        executed = Layout(root).executed
        if executed.is_dir():
            shutil.copytree(executed, Layout(built).executed)
        if pipeline(built, "stale"):
            return "what `make book` adds is not measured: the book is not built, or not current"
        names = list(chapters(Layout(empty)))
        for chapter in names:
            without_code(Layout(empty), chapter)
        taken = seconds(partial(pipeline, built, "stale"))
        taken += sum(seconds(partial(pipeline, empty, "execute", chapter)) for chapter in names)
        taken += seconds(partial(pipeline, built, "render"))
    label = f"make book beside its {len(names)} chapters' computations, against a minute"
    return Row(label, taken, TARGET_SECONDS, 1.0)


def copy_sources(root: Path, folder: Path) -> None:
    """The files from which the book is built."""
    folder.mkdir()
    for path in root.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    for name in ("book", "vae_lib"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def without_code(layout: Layout, chapter: str) -> None:
    """Empty the code cells of a chapter but for its parameters."""
    source = chapters(layout)[chapter]
    cells = iter([c for c in read_chapter(source).cells if c.cell_type == "code"])

    def emptied(found: re.Match[str]) -> str:
        cell = next(cells)
        return found[0] if PARAMETERS in tags(cell) else "```{code-cell} ipython3\npass\n```"

    text = _CODE.sub(emptied, source.read_text(encoding="utf-8"))
    source.write_text(text, encoding="utf-8")


def pipeline(root: Path, *arguments: str) -> str:
    """A command of the pipeline, as the Makefile runs it; returns what it prints."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "book.pipeline", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    print(row())
