"""What papermill leaves is kept when every cell succeeded, and explained when one did not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from book.pipeline.execute import KERNEL_ENVIRONMENT, default_minutes
from book.pipeline.profiles import plan_run
from tests.pipeline.conftest import PARAMETERS, REPOSITORY, Book, code
from tests.processes import SECONDS, wait_for

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


def test_other_values_have_more_time(tiny: Book) -> None:
    published = plan_run(tiny.layout, "01_a", "quick")
    assert default_minutes(published) == 30
    other = plan_run(tiny.layout, "01_a", "quick", [("seed", "5")])
    assert default_minutes(other) == 24 * 60


def test_a_cell_has_a_time_limit(tiny: Book) -> None:
    tiny.chapter(code("print(1)"), code("# the second cell\nimport time\ntime.sleep(60)"))
    script = (
        "from pathlib import Path\n"
        "from book.pipeline.execute import execute\n"
        "from book.pipeline.layout import Layout\n"
        "from book.pipeline.profiles import plan_run\n"
        "layout = Layout(Path.cwd())\n"
        "execute(layout, plan_run(layout, '01_a', 'quick'), cell_minutes=1 / 30)\n"
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
    assert "took longer than 0.0333333 minutes; CELL_MINUTES=" in done.stderr
    assert tiny.executed() == []


# As a terminal starts it: who runs tests in the background may have asked not to hear of Ctrl-C.
TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('book.pipeline', run_name='__main__', alter_sys=True)"
)
LONG_CELL = """
import os, time
from pathlib import Path
Path("kernel").write_text(f"{os.getpid()}.")
time.sleep(600)
"""


def lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_ends_a_chapter_and_its_kernel_in_a_line(tiny: Book) -> None:
    """Nothing is kept that a later build could take."""
    tiny.chapter(code("print(1)"), code(LONG_CELL))
    kernel = tiny.root / "kernel"
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, "execute", "01_a"],
        cwd=tiny.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_for(lambda: kernel.exists() and kernel.read_text().endswith("."))
            pid = kernel.read_text().removesuffix(".")
            assert lives(pid)
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.strip() == "Interrupted; what is half done is not kept."
    wait_for(lambda: not lives(pid))
    assert tiny.executed() == []
    assert list(tiny.layout.running.iterdir()) == []
    assert tiny.run("stale").stdout == "01_a\n"


# From some moment on no file can be longer than so many bytes: the system refuses what is beyond.
FULL_DISK = """
import resource, sys
import book.pipeline.execute as module
from book.pipeline.__main__ import main

def full_from(call):
    def limited(*arguments):
        if sys.argv[1] == "last cell" or arguments[1] == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        return call(*arguments)
    return limited

if sys.argv[1] == "last cell":
    module.write_whole = full_from(module.write_whole)
else:
    module.Reporter.cell = full_from(module.Reporter.cell)
sys.exit(main(["execute", "01_a"]))
"""


@pytest.mark.parametrize(
    ("moment", "size", "said"),
    [
        ("last cell", 1000, ["FAILED after its last cell", "01_a/", "could not be written"]),
        ("second cell", 1000, ["FAILED in code cell 2 of 2", "print('x'", "outputs could not be"]),
        ("second cell", 10, ["FAILED in code cell 2 of 2", "as it got could not be kept"]),
    ],
)
def test_a_full_disk_is_said_and_nothing_is_half_written(
    tiny: Book, moment: str, size: int, said: list[str]
) -> None:
    tiny.chapter(code("print(1)"), code("print('x' * 5000)"))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, moment, str(size)],
        cwd=tiny.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for words in ("error: [01_a] ", "[Errno 27] File too large", *said):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    for folder in (tiny.layout.executed, tiny.layout.running):
        assert [path for path in folder.rglob("*") if path.is_file()] == []
    for kept in tiny.layout.failed.glob("*"):
        assert kept.suffix == ".ipynb"
        json.loads(kept.read_text())
    assert tiny.run("execute", "01_a").returncode == 0
    assert len(tiny.executed()) == 1
