"""Executed chapters, kept under a key that covers everything their outputs depend on."""

import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from book.pipeline.chapters import COMPUTING_TAGS, INJECTED, PARAMETERS, code_cells, tags
from book.pipeline.layout import Layout, UsageError
from book.pipeline.packages import installed
from book.pipeline.parameters import Value, as_text
from book.pipeline.profiles import Run
from book.pipeline.stamp import as_markdown

# Raise it when a change to the pipeline changes what an execution yields.
CACHE_VERSION = 2
# What reads below book/recorded. A chapter that names none of these depends on no ledger; a test
# makes sure that the library has no other way there.
LEDGER_READERS = (
    *("read_ledger", "read_curve", "read_latents"),  # of vae_lib.results
    *("recorded_folder", "recorded_profile"),  # of vae_lib.comparison and vae_lib.experiments
)
# Where an executed notebook keeps what its page says about how it was made.
STAMP = "stamp"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digests(layout: Layout, folder: str, pattern: str) -> dict[str, str]:
    paths = sorted((layout.root / folder).rglob(pattern))
    return {path.relative_to(layout.root).as_posix(): _digest(path) for path in paths}


def library_state(layout: Layout) -> dict[str, str]:
    """Checksums of the library that chapters build on.

    The whole library counts, not only the modules that a chapter imports: following imports
    would be cheaper to run and easy to get wrong, and then a page shows stale figures.
    """
    return _digests(layout, "vae_lib", "*.py")


def ledger_state(layout: Layout, notebook: NotebookNode) -> dict[str, str]:
    """Checksums of the recorded ledgers, for a chapter that reads any; a long run adds to them."""
    source = "\n".join(cell.source for cell in code_cells(notebook))
    if not any(name in source for name in LEDGER_READERS):
        return {}
    return _digests(layout, "book/recorded", "*.csv")


def data_state() -> dict[str, str]:
    """Which images the chapters read: data set -> name."""
    from vae_lib import _sources, identity  # neither imports PyTorch, which is slow

    try:
        return identity.data_sets()
    except _sources.DataError as reason:
        raise UsageError(str(reason)) from None


def run_key(layout: Layout, run: Run) -> str:
    """The name of a run's outputs. Prose is not in it, so editing text runs nothing again."""
    state: dict[str, Any] = {
        "version": CACHE_VERSION,
        "python": sys.version,
        "packages": installed(layout.root / "requirements.txt"),
        "library": library_state(layout),
        "ledgers": ledger_state(layout, run.notebook),
        "data": data_state(),
        "values": run.values,
        "cells": [
            [cell.source, sorted(COMPUTING_TAGS.intersection(tags(cell)))]
            for cell in code_cells(run.notebook)
        ],
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:32]


def cached_path(layout: Layout, run: Run) -> Path:
    return layout.executed / run.chapter / f"{run_key(layout, run)}.ipynb"


def _note(run: Run, changed: dict[str, Value]) -> str:
    """The box at the top of a page that was run with other values than the defaults."""
    lines = []
    for name, value in changed.items():
        _, _, default, _, _, meaning = run.parameters[name].cells()
        what = f"`{as_text(value)}` {run.parameters[name].unit}".rstrip()
        lines.append(f"- `{name}` is {what} (default `{default}`): {meaning}")
    title = "This page was run with values that differ from the defaults"
    return f":::{{admonition}} {title}\n:class: important\n" + "\n".join(lines) + "\n:::"


def _with_note(cells: list[NotebookNode], note: str) -> list[NotebookNode]:
    """The cells with a note below the title, which must stay the first thing on the page."""
    cells = list(cells)
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        lines = cell.source.split("\n")
        title = next((i for i, line in enumerate(lines) if line.startswith("# ")), None)
        if title is not None:
            cell.source = "\n".join([*lines[: title + 1], "", note, "", *lines[title + 1 :]])
            break
    return cells


def graft(run: Run, executed: NotebookNode) -> NotebookNode:
    """The fresh source with the outputs of an execution of the same code cells.

    Below the last cell stands how the page was made, where the execution recorded it.
    """
    fresh = copy.deepcopy(run.notebook)
    done = code_cells(executed)
    for cell, ran in zip(code_cells(fresh), done, strict=True):
        cell.outputs = ran.outputs
        cell.execution_count = ran.execution_count
    if "language_info" in executed.metadata:  # names the lexer that colours the code
        fresh.metadata["language_info"] = executed.metadata["language_info"]
    if STAMP in executed.metadata:
        stamp = nbformat.v4.new_markdown_cell(as_markdown(executed.metadata[STAMP]))
        stamp["id"] = f"{run.chapter}-stamp"[-64:]
        fresh.cells.append(stamp)
    changed = run.changed()
    if not changed:
        return fresh
    (injected,) = (cell for cell in executed.cells if INJECTED in tags(cell))
    shown = copy.deepcopy(injected)
    shown["id"] = f"{run.chapter}-given"[-64:]
    shown.metadata = NotebookNode(tags=[INJECTED, "hide-input"])
    at = next(i for i, cell in enumerate(fresh.cells) if PARAMETERS in tags(cell))
    cells = [*fresh.cells[: at + 1], shown, *fresh.cells[at + 1 :]]
    fresh.cells = _with_note(cells, _note(run, changed))
    return fresh
