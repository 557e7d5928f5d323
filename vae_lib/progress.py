"""How far the ensembles of a sweep are: told by workers, in files or to a cluster, and shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

TOPIC = "vae_lib.sweep"  # of the events on a cluster


def tell_file(folder: Path, name: str, count: int) -> None:
    """Leave the count of an ensemble in a file of ``folder``, for :func:`read_files`."""
    beside = folder / f".{name}.progress.partial"
    beside.write_text(str(count))
    beside.replace(_counter(folder, name))  # who reads meanwhile finds the old count, not none


def read_files(folder: Path, names: Sequence[str]) -> int:
    """The sum of the counts that :func:`tell_file` left for some ensembles."""
    return sum(_read(_counter(folder, name)) for name in names)


def tell_cluster(name: str, count: int) -> None:
    """Send the count of an ensemble from a Dask worker to whoever subscribes to ``TOPIC``."""
    from distributed import get_worker  # takes a second to import, and only clusters need it

    get_worker().log_event(TOPIC, (name, count))


@contextmanager
def bar(total: int, finished: int, count: Callable[[], int], *, enabled: bool) -> Iterator[None]:
    """A bar, with the time left, at ``finished`` plus what ``count`` returns, each second."""
    stop = threading.Event()
    with tqdm(total=total, initial=finished + count(), unit="epoch", disable=not enabled) as shown:

        def follow() -> None:
            while not stop.wait(1.0):
                shown.n = finished + count()
                shown.refresh()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
            shown.n = total  # nothing failed; the last counts may still be on their way
        finally:
            stop.set()
            thread.join()


def _counter(folder: Path, name: str) -> Path:
    return folder / f"{name}.progress"


def _read(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):  # not begun, or lost with the power
        return 0
