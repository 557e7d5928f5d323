"""Where the ensembles of a sweep run, through joblib: processes of this machine, or Dask."""

from __future__ import annotations

import asyncio
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib
from joblib.externals.loky.backend import resource_tracker as loky_tracker
from joblib.externals.loky.process_executor import TerminatedWorkerError

from vae_lib import progress

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 60
WORKERS_SECONDS = 300  # those of a queueing system come when they come


class EngineError(RuntimeError):
    """What runs the ensembles has failed, and not an ensemble. The message says what to do."""


class Engine(NamedTuple):
    """What runs the tasks of a sweep.

    Attributes:
        parallel: takes tasks of ``joblib.delayed``, and yields what each returns when it ends.
        tell: for workers: see :func:`vae_lib.runs.run_ensemble`.
        count: the sum of what was told, of the ensembles that the engine was given by name.
        forget: drops the count of one of them: it is through.
    """

    parallel: joblib.Parallel
    tell: Callable[[str, int], None]
    count: Callable[[], int]
    forget: Callable[[str], None]


@contextmanager
def started(parallel: joblib.Parallel, tasks: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """What the tasks return, as they end. Who leaves earlier ends them and their processes.

    A terminal sends Ctrl-C to all processes. Those of the tasks never hear of it, or each would
    answer with a traceback: this one does, and ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # processes inherit it
    try:
        ended = parallel(tasks)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield ended
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that tasks were cancelled: they were
                ended.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def processes(workers: int, *, work: Path, names: Sequence[str]) -> Iterator[Engine]:
    """So many processes of this machine, which leave their counts in ``work``.

    Raises:
        EngineError: a process was killed.
    """
    work.mkdir(parents=True, exist_ok=True)
    if workers > 1:
        for tracker in (resource_tracker, loky_tracker):
            tracker.ensure_running()  # when they begin they unblock Ctrl-C: see started
    parallel = joblib.Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
    tell = partial(progress.tell_file, work)
    try:
        yield Engine(
            parallel,
            tell,
            partial(progress.read_files, work, names),
            partial(progress.forget_file, work),
        )
    except TerminatedWorkerError:
        raise EngineError(
            "a worker was killed, perhaps for want of memory; the same command goes on from the "
            "last checkpoints, with --workers 1 in less memory"
        ) from None


@contextmanager
def cluster(scheduler: str, *, names: Sequence[str]) -> Iterator[Engine]:
    """The workers of the Dask scheduler at ``tcp://host:port``.

    What the workers tell of other names belongs to other sweeps on the same scheduler.
    A task whose worker dies is given to another by Dask itself.

    Raises:
        EngineError: there is no scheduler, or it was lost, or it has no workers, or the workers
            of a task died one after the other.
    """
    from distributed import Client, KilledWorker  # takes a second, and only clusters need it
    from distributed.comm import CommClosedError

    try:
        # A client that finds no scheduler is never closed, and when Python frees it, at a moment
        # and in a thread of its own choice, its closing can block the next one.
        with ThreadPoolExecutor(1) as pool:  # in a notebook this thread has a running loop
            pool.submit(lambda: asyncio.run(_reach(scheduler))).result()
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:  # TypeError: tls:// without certificates
        raise EngineError(
            f"there is no Dask scheduler at {scheduler!r} ({error}); give its address as "
            "tcp://host:port, as `dask scheduler` prints it"
        ) from None
    counts = dict.fromkeys(names, 0)

    def told(event: tuple[float, tuple[str, int]]) -> None:
        _, (name, count) = event
        if name in counts:
            counts[name] = count

    try:
        with client, joblib.parallel_config(backend=_DaskBackend(client)):
            _wait_for_workers(client, scheduler)
            client.subscribe_topic(progress.TOPIC, told)
            # All at once: how many workers there will be is not known.
            parallel = joblib.Parallel(
                batch_size=1, pre_dispatch="all", return_as="generator_unordered"
            )
            yield Engine(
                parallel,
                progress.tell_cluster,
                lambda: sum(list(counts.values())),  # a list: the bar has a thread of its own
                lambda name: counts.pop(name, None),
            )
    except (CancelledError, CommClosedError) as error:
        raise EngineError(
            f"the Dask scheduler at {scheduler} was lost ({error}); what had ended is in the "
            "ledger, and the same command goes on from there"
        ) from None
    except KilledWorker as error:
        raise EngineError(
            f"the workers that were given one ensemble died, one after the other ({error}); "
            "what had ended is in the ledger"
        ) from None


def _wait_for_workers(client: Client, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        raise EngineError(
            f"the Dask scheduler at {scheduler} has no workers, and none came in "
            f"{WORKERS_SECONDS} s; start some with `dask worker {scheduler} --nthreads 1`"
        ) from error


async def _reach(scheduler: str) -> None:
    from distributed.comm import connect

    comm = await connect(scheduler, timeout=CONNECT_SECONDS)
    await comm.close()


class _DaskBackend(joblib.parallel.ParallelBackendBase):
    """Tasks of joblib on the workers of a Dask cluster.

    joblib has a backend for Dask, but it waits for ever where a task's workers have died, or where
    two tasks fail at about the same time, and runs everything itself where it counts one worker.
    """

    supports_retrieve_callback = True  # a task's outcome arrives with its callback
    default_n_jobs = -1

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(2, sum(self.client.ncores().values()))  # with one, joblib asks no backend

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Future:
        future = self.client.submit(func, pure=False)

        async def report() -> None:
            try:
                outcome = await future
            except Exception as error:  # of the task, or of the cluster
                outcome = error
            callback(outcome)

        self.client.loop.add_callback(report)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, BaseException):
            raise out
        return out
