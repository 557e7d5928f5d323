"""Sweeps on a real Dask cluster of this machine: a scheduler and workers in processes."""

import errno
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import joblib
import pytest
from distributed import LocalCluster

from tests.processes import SECONDS, wait_for
from tests.test_sweep import IDS, REPOSITORY, TINY, repeated, run
from vae_lib import engines, progress, results, runs, sweep
from vae_lib.engines import EngineError
from vae_lib.runs import WorkerError

CHILDREN = {  # no thread of a worker waits for another, none for a network
    "OMP_NUM_THREADS": "1",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "60s",
}

# Read by every worker before it starts. While there is a file "armed", a worker that comes to its
# third epoch says so, and waits there to be killed.
PRELOAD = """
import os, time
from pathlib import Path
from vae_lib.training import Trainer

here = Path({folder!r})  # Dask runs a copy, and runs it twice
run_epoch = getattr(Trainer.run_epoch, "__wrapped__", Trainer.run_epoch)

def waiting(trainer):
    if trainer.epoch == 2 and (here / "armed").exists():
        (here / (str(os.getpid()) + ".reached")).touch()
        time.sleep(600)
    run_epoch(trainer)

waiting.__wrapped__ = run_epoch
Trainer.run_epoch = waiting
"""


class Cluster:
    """A scheduler and its workers, whose files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.processes: list[subprocess.Popen] = []
        self.preload = folder / "preload.py"
        self.preload.write_text(PRELOAD.format(folder=str(folder)))
        described = folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(described)]
        self.scheduler = self._start("scheduler", options)
        wait_for(lambda: described.exists() and described.read_text().rstrip().endswith("}"))
        self.address = json.loads(described.read_text())["address"]

    def _start(self, name: str, options: list[str], code: Path = REPOSITORY) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, "--no-dashboard"]
        environment = {**os.environ, **CHILDREN, "PYTHONPATH": str(code)}
        with (self.folder / f"{name}-{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def add_worker(self, code: Path = REPOSITORY) -> None:
        options = [self.address, "--nthreads", "1", "--preload", str(self.preload)]
        options += ["--local-directory", str(self.folder), "--memory-limit", "0"]
        self._start("worker", options, code)

    def arm(self) -> None:
        (self.folder / "armed").touch()

    def waiting(self, sweeping: subprocess.Popen) -> int:
        """The process of a worker that waits in its third epoch, while the sweep goes on."""
        reached = self.folder.glob
        wait_for(lambda: [*reached("*.reached")] or sweeping.poll() is not None)
        assert sweeping.poll() is None, sweeping.communicate()[1]
        return int(next(reached("*.reached")).stem)

    def close(self) -> None:
        while self.processes:
            process = self.processes.pop()
            with suppress(ProcessLookupError):  # it was killed, and left none behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    started = Cluster(tmp_path / "cluster")
    yield started
    started.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sweep, in this process."""
    folder = tmp_path_factory.mktemp("reference")
    assert [row["run"] for row in run(folder)] == IDS
    return folder


def in_background(folder: Path, address: str) -> subprocess.Popen:
    """A sweep in a process of its own."""
    program = (
        "import sys; from pathlib import Path; from tests.test_sweep import run; "
        "run(Path(sys.argv[1]), scheduler=sys.argv[2])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder), address],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_cluster_writes_what_a_process_writes(reference, cluster, tmp_path, monkeypatch):
    """To the bit, by two workers; and the bar hears from them before any ensemble has ended."""
    counts: list[int] = []

    @contextmanager
    def bar(total: int, count, *, enabled: bool):
        add_row = results.add_row

        def counting(*arguments, **more) -> None:
            counts.append(count())
            add_row(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(results, "add_row", counting)
            yield
        counts.append(count())

    monkeypatch.setattr(progress, "bar", bar)
    cluster.add_worker()
    cluster.add_worker()
    rows = run(tmp_path, scheduler=cluster.address)
    assert {row["run"] for row in rows} == set(IDS)
    assert repeated(tmp_path) == repeated(reference)
    assert list((tmp_path / "work").iterdir()) == []
    # Four epochs of two members an ensemble; its last count arrives before its result.
    assert all(8 <= count <= 16 for count in counts[:2])
    assert counts[2:] == [16, 16, 16]


def test_what_a_killed_worker_had_is_done_by_another(reference, cluster, tmp_path):
    """From the checkpoint; no row is lost, none is there twice, and the numbers are the same."""
    cluster.arm()
    cluster.add_worker()
    sweeping = in_background(tmp_path, cluster.address)
    victim = cluster.waiting(sweeping)
    assert runs.checkpoint_path(TINY, TINY.members[:2], work=tmp_path / "work").exists()
    (cluster.folder / "armed").unlink()
    os.kill(victim, signal.SIGKILL)
    _, errors = sweeping.communicate(timeout=SECONDS)
    assert sweeping.returncode == 0, errors
    assert sorted(row["run"] for row in results.read_ledger(tmp_path / "ledger")) == sorted(IDS)
    assert repeated(tmp_path) == repeated(reference)


def test_an_ensemble_that_kills_its_workers_ends_the_sweep(cluster, tmp_path):
    """Dask gives a task up when its workers died twice; joblib alone would then wait for ever."""
    cluster.arm()
    cluster.add_worker()
    sweeping = in_background(tmp_path, cluster.address)
    for _ in range(2):
        victim = cluster.waiting(sweeping)
        (cluster.folder / f"{victim}.reached").unlink()
        os.kill(victim, signal.SIGKILL)
    _, errors = sweeping.communicate(timeout=SECONDS)
    assert sweeping.returncode == 1
    assert "the workers that were given one ensemble died, one after the other" in errors


def test_a_sweep_outlives_its_scheduler(reference, cluster, tmp_path):
    """It ends with a clear message; the same command goes on where it was, on another engine."""
    cluster.arm()
    cluster.add_worker()
    sweeping = in_background(tmp_path, cluster.address)
    cluster.waiting(sweeping)
    cluster.scheduler.kill()
    _, errors = sweeping.communicate(timeout=SECONDS)
    assert sweeping.returncode == 1
    assert f"the Dask scheduler at {cluster.address} was lost" in errors
    cluster.close()
    rows = run(tmp_path)
    assert [row["run"] for row in rows] == IDS
    assert repeated(tmp_path) == repeated(reference)


def test_a_worker_with_other_code_is_refused(cluster, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(REPOSITORY / "vae_lib", other / "vae_lib")
    with (other / "vae_lib" / "__init__.py").open("a") as file:
        file.write("\n# edited\n")
    cluster.add_worker(other)
    with pytest.raises(WorkerError, match=r"does not run what .*: vae_lib \w+ here and \w+ there"):
        run(tmp_path, scheduler=cluster.address)
    assert not (tmp_path / "ledger").exists()
    assert not (tmp_path / "work").exists()


@pytest.fixture(scope="module")
def here() -> Iterator[LocalCluster]:
    """A scheduler and two workers in threads of this process."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as both:
        yield both


def test_tasks_that_fail_together_end_the_sweep(here):
    """joblib's own backend for Dask could wait for ever here."""

    def fail(number: int) -> None:
        raise ArithmeticError(number)

    for _ in range(10):
        with (
            pytest.raises(ArithmeticError),
            engines.cluster(here.scheduler_address, names=[]) as engine,
            engines.started(engine.parallel, map(joblib.delayed(fail), range(4))) as ended,
        ):
            list(ended)


def test_a_task_that_runs_out_of_time_is_not_taken_for_a_lack_of_workers(here):
    """A network's folder of images says ETIMEDOUT, which Python raises as a TimeoutError."""

    def read() -> None:
        raise OSError(errno.ETIMEDOUT, "Connection timed out", "images")

    with (
        pytest.raises(TimeoutError, match="timed out: 'images'"),
        engines.cluster(here.scheduler_address, names=[]) as engine,
        engines.started(engine.parallel, [joblib.delayed(read)()]) as ended,
    ):
        list(ended)


def test_the_count_is_of_the_sweeps_own_ensembles(here, tmp_path):
    """While the tasks run; other sweeps on the same scheduler tell theirs to the same topic."""
    gate = tmp_path / "gate"

    def work(tell) -> None:
        tell("of another sweep", 5)
        tell("one", 2)
        tell("two", 3)
        tell("one", 4)
        wait_for(gate.exists)

    with (
        engines.cluster(here.scheduler_address, names=["one", "two", "waits"]) as engine,
        engines.started(engine.parallel, [joblib.delayed(work)(engine.tell)]) as ended,
    ):
        seen = []
        wait_for(lambda: seen.append(engine.count()) or seen[-1] == 7)
        assert set(seen) <= {0, 2, 5, 7}
        engine.forget("one")
        assert engine.count() == 3
        gate.touch()
        list(ended)
        assert engine.count() == 3


def test_what_a_worker_must_share_is_compared(monkeypatch):
    here = runs.environment()
    runs.check_environment(here)
    for name in here:
        with pytest.raises(WorkerError, match=f": {name} .* here and other there"):
            runs.check_environment({**here, name: "other"})
    # A copy without git does not know its commit; its code is compared all the same.
    runs.check_environment({**here, "commit": "unknown"})
    with monkeypatch.context() as patch:
        patch.setattr(runs, "commit", lambda: "unknown")
        runs.check_environment(here)
    # A machine may lack the packages that only photographs need.
    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", missing)
    bare = runs.environment()
    assert bare == {**here, "pillow": "absent", "torchvision": "absent"}
    runs.check_environment(bare)
    with pytest.raises(WorkerError, match=r": pillow absent here and \d.*; torchvision absent her"):
        runs.check_environment(here)


def missing(name: str) -> None:
    raise importlib.metadata.PackageNotFoundError(name)


def test_a_cluster_without_workers_is_said(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "WORKERS_SECONDS", 1)
    with pytest.raises(EngineError, match="has no workers, and none came in 1 s; start some with"):
        run(tmp_path, scheduler=cluster.address)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tls://127.0.0.1:1", "nonsense", "tcp://", "$(date)"]
)
def test_an_address_without_a_scheduler_is_said(tmp_path, monkeypatch, address):
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 1)
    before = set(threading.enumerate())
    with pytest.raises(EngineError, match="there is no Dask scheduler at") as caught:
        run(tmp_path, scheduler=address)
    assert repr(address) in str(caught.value)
    # No client is left behind, half open, whose thread could get in the way of the next.
    assert set(threading.enumerate()) <= before


def test_the_command_takes_the_scheduler_from_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 1)
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sweep.PROFILES, "quick", replace(TINY, name="quick"))
    assert sweep.main(["quick", "--folder", str(tmp_path)]) == 1
    assert "error: there is no Dask scheduler at 'tcp://127.0.0.1:1'" in capsys.readouterr().err
