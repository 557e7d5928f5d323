"""Run one chapter with papermill; keep the result only where every cell succeeded."""

import copy
import errno
import logging
import os
import time
import traceback
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from book.pipeline.cache import STAMP, cached_path
from book.pipeline.chapters import INJECTED, code_cells, tags
from book.pipeline.layout import BuildError, Layout
from book.pipeline.leftovers import remove_old
from book.pipeline.profiles import Run
from book.pipeline.progress import Reporter, strip_ansi, unexpected
from book.pipeline.stamp import collect
from vae_lib.files import write_whole

# Minutes that a cell may take: of the book as it is published, which nobody watches being built,
# and with other values, which may be those of a long run.
PUBLISHED_MINUTES, OTHER_MINUTES = 30, 24 * 60
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no more can be written: disk, quota, limit
TAIL = 12  # lines of a traceback that are printed; the kept notebook has them all

# One thread for each kernel: chapters run side by side, and sums that are split over a varying
# number of threads are not the same to the last digit.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "0",  # Matplotlib writes the time into SVG otherwise
    "JUPYTER_PREFER_ENV_PATH": "1",  # a kernel of the user's own must not stand in for ours
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # silences the debugger, which nobody attaches
}


def _engine() -> Any:
    """papermill's own engine, with our progress lines. Imported late: papermill is slow to load."""
    from papermill.engines import NBClientEngine

    class BookEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, *, reporter: Reporter, **kwargs: Any
        ) -> None:
            numbers = cell_numbers(nb_man.nb)
            start = nb_man.cell_start

            def start_and_report(cell: NotebookNode, cell_index: int, **rest: Any) -> None:
                reporter.cell_index = cell_index
                if cell_index in numbers:
                    reporter.cell(numbers[cell_index])
                start(cell, cell_index, **rest)

            nb_man.cell_start = start_and_report
            super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    return BookEngine


def cell_numbers(notebook: NotebookNode) -> dict[int, int]:
    """Position in the notebook -> number among the code cells that the source has, from 1."""
    written = [cell["id"] for cell in code_cells(notebook)]
    return {
        position: written.index(cell["id"]) + 1
        for position, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and INJECTED not in tags(cell)
    }


def describe(notebook: NotebookNode, index: int | None, cause: str, tail: list[str]) -> str:
    """Which cell failed, how it begins, and why, with the end of what was printed about it."""
    parts = ["before the first cell"]
    if index is not None and index < len(notebook.cells):
        cell, numbers = notebook.cells[index], cell_numbers(notebook)
        first = next((line for line in cell.source.splitlines() if line.strip()), "(empty)")
        where = f"code cell {numbers[index]} of {len(numbers)}" if index in numbers else "a cell"
        parts = [f"in {where}, which begins with", f"    {first}"]
    parts.append(f"  cause: {cause}")
    if tail:
        parts += ["  and more about it:", *(f"    {line}" for line in tail[-TAIL:])]
    return "\n".join(parts)


def _explain(
    error: Exception, notebook: NotebookNode, index: int | None, cell_minutes: float
) -> str:
    """A failed execution in words: a raising cell, a cell that took too long, a dead kernel."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        tail = strip_ansi("\n".join(error.traceback)).splitlines()
        value = strip_ansi(str(error.evalue)) or "(no message)"
        return describe(notebook, index, f"{error.ename}: {value}", tail)
    if isinstance(error, CellTimeoutError):
        cause = f"the cell took longer than {cell_minutes:g} minutes; CELL_MINUTES=... allows more"
        return describe(notebook, index, cause, [])
    if isinstance(error, DeadKernelError):
        return describe(notebook, index, "the kernel died (out of memory, or a crash)", [])
    if isinstance(error, OSError) and error.errno in FULL:
        return describe(notebook, index, f"its outputs could not be written: {error}", [])
    tail = "".join(traceback.format_exception(error)).splitlines()
    return describe(notebook, index, f"{type(error).__name__}: {error}", tail)


def check_stderr(notebook: NotebookNode) -> str | None:
    """Drop progress bars from the outputs; what else is on stderr is described as a failure."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        streams = [o for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
        lines = unexpected("".join(stream.text for stream in streams))
        if lines:
            return describe(notebook, index, f"it wrote to stderr: {lines[0]}", lines[1:])
        cell.outputs = [output for output in cell.outputs if output not in streams]
    return None


def _clean(notebook: NotebookNode) -> None:
    """Drop papermill's metadata: it holds times and paths, which differ from build to build."""
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)


def _write(notebook: NotebookNode, path: Path) -> None:
    content = nbformat.writes(notebook).encode()
    write_whole(path, lambda file: file.write(content))


def _so_far(running: Path, run: Run) -> NotebookNode:
    """A notebook whose execution failed, as it was last saved; its source where it was not."""
    try:
        return nbformat.read(running, as_version=4)
    except (OSError, ValueError):  # before the first cell, or half written on a full disk
        return run.notebook


def default_minutes(run: Run) -> int:
    """How long a cell of this run may take."""
    return OTHER_MINUTES if run.changed() else PUBLISHED_MINUTES


def execute(layout: Layout, run: Run, *, cell_minutes: float | None = None) -> Path:
    """The executed notebook of a run, from the cache where it is there.

    A cell is ended after so many minutes; by default, after more where values were changed. It
    changes the environment of this process, which the kernel inherits.
    """
    target = cached_path(layout, run)
    if target.is_file():
        return target
    import papermill
    from papermill.engines import papermill_engines

    cell_minutes = cell_minutes or default_minutes(run)
    os.environ.update(KERNEL_ENVIRONMENT, IPYTHONDIR=str(layout.build / "ipython"))
    papermill_engines.register("book", _engine())
    for name in ("papermill", "asyncio"):  # failures are described here, and Ctrl-C is none
        logging.getLogger(name).setLevel(logging.CRITICAL)
    reporter = Reporter(run.chapter, len(code_cells(run.notebook)))
    layout.running.mkdir(parents=True, exist_ok=True)
    remove_old(layout.running.iterdir())
    running = layout.running / f"{run.chapter}-{os.getpid()}.ipynb"
    failed = layout.failed / f"{run.chapter}.ipynb"
    # First, because the files may be edited while a chapter runs: it was made from these.
    stamp = collect(layout.root, run, threads=KERNEL_ENVIRONMENT["OMP_NUM_THREADS"])
    started = time.monotonic()
    try:
        papermill.execute_notebook(
            copy.deepcopy(run.notebook),  # papermill writes into what it is given
            str(running),
            parameters=run.changed(),
            engine_name="book",
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(layout.root),
            execution_timeout=round(60 * cell_minutes),
            iopub_timeout=120,  # the default of 4 s is short for a machine that is busy
            stderr_file=reporter,
            reporter=reporter,
        )
        executed = nbformat.read(running, as_version=4)
        problem = check_stderr(executed)
    except Exception as error:  # whatever it was, the chapter and the cell have to be named
        executed = _so_far(running, run)
        executed.cells = [c for c in executed.cells if "papermill-error-cell-tag" not in tags(c)]
        problem = _explain(error, executed, reporter.cell_index, cell_minutes)
    finally:
        running.unlink(missing_ok=True)
    _clean(executed)
    if problem:
        kept = f"  the notebook as far as it got: {layout.shown(failed)}"
        try:
            _write(executed, failed)
        except OSError as error:
            kept = f"  the notebook as far as it got could not be kept: {error}"
        raise BuildError(f"[{run.chapter}] FAILED {problem}\n{kept}")
    executed.metadata[STAMP] = {**stamp, "seconds": round(time.monotonic() - started, 1)}
    try:
        _write(executed, target)
    except OSError as error:
        raise BuildError(
            f"[{run.chapter}] FAILED after its last cell\n"
            f"  cause: its outputs could not be written: {error}"
        ) from None
    failed.unlink(missing_ok=True)
    reporter.say("done")
    return target
