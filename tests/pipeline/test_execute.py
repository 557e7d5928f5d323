"""What papermill leaves is kept when every cell succeeded, and explained when one did not."""

import json
import os
import subprocess
import sys
from pathlib import Path

from book.pipeline.execute import KERNEL_ENVIRONMENT
from tests.pipeline.conftest import PARAMETERS, REPOSITORY, Book, code

BARS = """
import os, sys
from tqdm import tqdm
for _ in tqdm(range(3), desc="fit"):
    pass
print(os.getcwd(), sys.prefix, os.environ["OMP_NUM_THREADS"], seed)
"""


def outputs(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return json.dumps([output for cell in cells for output in cell.get("outputs", [])])


def test_a_chapter_runs_once(tiny: Book) -> None:
    """Also: from the root, with our interpreter, one thread, no bars and no metadata kept."""
    tiny.chapter(code(PARAMETERS, "parameters"), code(BARS))
    done = tiny.run("execute", "01_a")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[01_a] cell 1/2", "[01_a] cell 2/2", "[01_a] done"]
    (notebook,) = tiny.executed()
    assert f"{tiny.root} {sys.prefix} {KERNEL_ENVIRONMENT['OMP_NUM_THREADS']} 0" in outputs(
        notebook
    )
    assert "stderr" not in outputs(notebook)
    assert "papermill" not in notebook.read_text()
    assert "injected" not in notebook.read_text()

    before = notebook.stat().st_mtime_ns
    tiny.chapter("New prose.", code(PARAMETERS, "parameters"), code(BARS))
    again = tiny.run("execute", "01_a")
    assert (again.returncode, again.stdout) == (0, "")
    assert tiny.executed() == [notebook]
    assert notebook.stat().st_mtime_ns == before
    assert tiny.run("stale").stdout == ""


def refused(tiny: Book, *said: str) -> None:
    """The chapter fails with these words, and leaves nothing that a later build could take."""
    done = tiny.run("execute", "01_a")
    assert done.returncode == 1
    for words in ("[01_a] FAILED in code cell 2 of 2", "# the second cell", *said):
        assert words in done.stderr
    assert "_build/failed/01_a.ipynb" in done.stderr
    assert tiny.executed() == []
    assert list(tiny.layout.running.iterdir()) == []
    assert (tiny.layout.failed / "01_a.ipynb").is_file()


def test_a_cell_that_raises_is_named(tiny: Book) -> None:
    tiny.chapter(code("print(1)"), code("# the second cell\nlist()[3]"))
    for _ in range(2):
        refused(tiny, "cause: IndexError: list index out of range", "----> 2 list()[3]")
    assert tiny.run("stale").stdout == "01_a\n"
    assert "not executed yet: 01_a" in tiny.run("render").stderr
    tiny.chapter(code("print(1)"), code("print(2)"))
    assert tiny.run("execute", "01_a").returncode == 0
    assert not (tiny.layout.failed / "01_a.ipynb").exists()


def test_a_warning_fails_the_chapter(tiny: Book) -> None:
    warning = "# the second cell\nimport warnings\nwarnings.warn('not so good')"
    tiny.chapter(code("print(1)"), code(warning))
    refused(tiny, "UserWarning: not so good")


def test_a_dead_kernel_is_named(tiny: Book) -> None:
    tiny.chapter(code("print(1)"), code("# the second cell\nimport os\nos._exit(3)"))
    refused(tiny, "the kernel died")


def test_a_cell_has_a_time_limit(tiny: Book) -> None:
    tiny.chapter(code("print(1)"), code("# the second cell\nimport time\ntime.sleep(60)"))
    script = (
        "from pathlib import Path\n"
        "from book.pipeline.execute import execute\n"
        "from book.pipeline.layout import Layout\n"
        "from book.pipeline.profiles import plan_run\n"
        "layout = Layout(Path.cwd())\n"
        "execute(layout, plan_run(layout, '01_a', 'quick'), cell_seconds=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tiny.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "code cell 2 of 2" in done.stderr
    assert "took longer than a cell may take" in done.stderr
    assert tiny.executed() == []
