"""Sweeps in processes of their own that are interrupted, killed, crowded, or have no disk left."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from book.pipeline.progress import unexpected
from tests.processes import SECONDS, wait_for
from tests.test_sweep import IDS, REPOSITORY, TINY, checkpoint_epochs, repeated, run
from vae_lib import experiments, results, sweep
from vae_lib.data import load_mnist
from vae_lib.experiments import PROFILES

# The command as a terminal starts it; the profile "quick" is a tiny one here.
COMMAND = f"""
import runpy, signal
from vae_lib.experiments import PROFILES, Profile, Setting
from vae_lib.training import Member

signal.signal(signal.SIGINT, signal.default_int_handler)
PROFILES["quick"] = {TINY!r}
runpy.run_module("vae_lib.sweep", run_name="__main__")
"""

# Read by every interpreter before anything else, those of workers included. While there is a file
# "armed", something happens once the AT-th file whose name ends as it says is in place: from then
# on no file can be longer than BYTES, or, without BYTES, the process says so and waits.
HOOK = """
import os, resource, time
from pathlib import Path

here, replace, left = Path(__file__).parent, os.replace, int(os.environ["AT"])

def watched(source, target):
    global left
    replace(source, target)
    if not (here / "armed").exists() or not str(target).endswith((here / "armed").read_text()):
        return
    left -= 1
    if left == 0 and "BYTES" in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(os.environ["BYTES"]),))
    elif left == 0:
        (here / f"{os.getpid()}.reached").touch()
        for _ in range(60_000):
            time.sleep(0.01)
            if not (here / "armed").exists():
                break

os.replace = watched
"""


def in_session(leader: int) -> dict[int, str]:
    """The processes that live in the session of ``leader``: number -> command."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
    return found


class Sweeps:
    """Commands in sessions of their own, whose ledger and checkpoints are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hooks = folder / "hooks"
        self.hooks.mkdir()
        (self.hooks / "sitecustomize.py").write_text(HOOK)
        self.processes: list[subprocess.Popen] = []
        folders = ["--folder", str(folder / "ledger"), "--work", str(folder / "work")]
        self.arguments = ["quick", "--device", "cpu", *folders]

    def start(self, workers: int, at: int = 1, **environment: str) -> subprocess.Popen:
        """The command with so many workers; see ``HOOK``."""
        environment |= {"PYTHONPATH": f"{self.hooks}{os.pathsep}{REPOSITORY}", "AT": str(at)}
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *self.arguments, "--workers", str(workers)],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def arm(self, ending: str) -> None:
        (self.hooks / "armed").write_text(ending)

    def disarm(self) -> None:
        (self.hooks / "armed").unlink()

    def waiting(self, number: int) -> list[int]:
        """So many processes that wait."""

        def reached() -> bool:
            assert all(process.poll() is None for process in self.processes), "it ended before"
            return len([*self.hooks.glob("*.reached")]) >= number

        wait_for(reached)
        return [int(path.stem) for path in self.hooks.glob("*.reached")]

    def close(self) -> None:
        for process in self.processes:
            for pid in in_session(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def sweeps(tmp_path: Path) -> Iterator[Sweeps]:
    started = Sweeps(tmp_path)
    yield started
    started.close()


@pytest.fixture(scope="module", autouse=True)
def _in_this_process() -> Iterator[None]:
    """The command knows the tiny profile, and reads MNIST once."""
    images = load_mnist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "load_mnist", lambda: images)
        patch.setitem(PROFILES, "quick", TINY)
        yield


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a sweep writes that nothing disturbs."""
    folder = tmp_path_factory.mktemp("reference")
    assert [row["run"] for row in run(folder)] == IDS
    return repeated(folder)


def end(process: subprocess.Popen) -> tuple[int, str, list[str]]:
    """Exit status, stdout, and the lines of stderr that are no bars."""
    printed, said = process.communicate(timeout=SECONDS)
    return process.returncode, printed, unexpected(said)


def goes_on(sweeps: Sweeps, reference: dict[str, object]) -> None:
    """The same command, from here, ends with the numbers of a sweep that nothing disturbed."""
    assert sweep.main([*sweeps.arguments, "--workers", "1"]) == 0
    assert repeated(sweeps.folder) == reference
    assert checkpoint_epochs(sweeps.folder) == []


def test_the_command_runs_with_two_workers(sweeps, reference):
    """As ``python -m``: workers cannot import what is defined in its ``__main__``.

    A Ctrl-C that reaches them does nothing: that is for the command to answer.
    """
    sweeps.arm(".npz")
    process = sweeps.start(2)
    for worker in sweeps.waiting(2):
        assert worker != process.pid
        os.kill(worker, signal.SIGINT)
    sweeps.disarm()
    expected = f"4 of 4 runs are in {sweeps.folder / 'ledger' / results.LEDGER}\n"
    assert end(process) == (0, expected, [])
    assert repeated(sweeps.folder) == reference


def test_two_sweeps_at_once_write_every_row_once(sweeps, reference):
    """Both begin with the same ensemble, and go on when both have written a checkpoint of it."""
    sweeps.arm(".npz")
    both = [sweeps.start(1), sweeps.start(1)]
    assert sorted(sweeps.waiting(2)) == sorted(process.pid for process in both)
    sweeps.disarm()
    for process in both:
        status, printed, said = end(process)
        assert (status, said) == (0, [])
        assert printed.startswith("4 of 4 runs")
    # A run that is there twice makes the ledger a damaged one.
    rows = results.read_ledger(sweeps.folder / "ledger")
    assert sorted(row["run"] for row in rows) == sorted(IDS)
    assert repeated(sweeps.folder) == reference
    assert checkpoint_epochs(sweeps.folder) == []


@pytest.mark.parametrize(
    ("after", "at", "file", "epochs", "rows"),
    [
        (".npz", 2, "work/*.npz", [2], []),
        (".npz", 4, f"ledger/curves/{IDS[0]}.csv", [4], []),
        # Its curve and its latents are written, the row would be the ledger's second.
        (f"{IDS[1]}.csv", 2, "ledger/ledger.csv", [4], IDS[:1]),
    ],
    ids=["checkpoint", "curve", "ledger"],
)
def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    sweeps, reference, after, at, file, epochs, rows
):
    """A real limit of the system, which refuses the first bytes beyond it."""
    sweeps.arm(after)
    status, printed, said = end(sweeps.start(1, at=at, BYTES="60"))
    assert (status, printed) == (1, "")
    (line,) = said
    assert line.startswith("error: [Errno 27] File too large: '")
    assert Path(line.split("'")[1]).match(file)
    assert line.endswith("; what was written is whole, and the same command goes on from there")
    assert [*sweeps.folder.rglob("*.partial")] == []
    assert checkpoint_epochs(sweeps.folder) == epochs
    assert [row["run"] for row in results.read_ledger(sweeps.folder / "ledger")] == rows
    goes_on(sweeps, reference)


@pytest.mark.parametrize("moment", ["loading", "training", "recording"])
def test_ctrl_c_ends_the_command_and_its_workers_in_a_line(sweeps, reference, moment):
    """At all its processes, as a terminal sends it."""
    ending = {"loading": "nothing", "training": ".npz", "recording": results.LEDGER}
    sweeps.arm(ending[moment])
    process = sweeps.start(2)
    if moment == "loading":
        wait_for(lambda: "".join(in_session(process.pid).values()).count("popen_loky") == 2)
    else:
        sweeps.waiting({"training": 2, "recording": 1}[moment])
    os.killpg(process.pid, signal.SIGINT)
    assert end(process) == (130, "", ["Interrupted; the same command goes on from here."])
    wait_for(lambda: not in_session(process.pid))
    goes_on(sweeps, reference)


def test_a_killed_worker_ends_the_command_in_a_line(sweeps, reference):
    sweeps.arm(".npz")
    process = sweeps.start(2)
    os.kill(sweeps.waiting(2)[0], signal.SIGKILL)
    status, printed, said = end(process)
    assert (status, printed) == (1, "")
    (line,) = said
    assert line.startswith("error: a worker was killed, perhaps for want of memory; the same comm")
    wait_for(lambda: not in_session(process.pid))
    assert checkpoint_epochs(sweeps.folder) == [1, 1]
    goes_on(sweeps, reference)
