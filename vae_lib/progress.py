"""How far the ensembles of a sweep are: told by workers, in files or to a cluster, and shown."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vae_lib.files import write_whole

TOPIC = "vae_lib.sweep"  # of the events on a cluster
REFRESH_SECONDS = 1.0


def tell_file(folder: Path, name: str, count: int) -> None:
    """Leave the count of an ensemble in a file of ``folder``, for :func:`read_files`.

    Another sweep may tell the same name. Where nothing can be written nothing is told: no sweep
    is to end because of its bar.
    """
    with contextlib.suppress(OSError):
        write_whole(_counter(folder, name), lambda file: file.write(str(count).encode()))


def read_files(folder: Path, names: Sequence[str]) -> int:
    """The sum of the counts that :func:`tell_file` left for some ensembles."""
    return sum(_read(_counter(folder, name)) for name in names)


def forget_file(folder: Path, name: str) -> None:
    """Delete what :func:`tell_file` left for an ensemble, if anything."""
    with contextlib.suppress(OSError):
        _counter(folder, name).unlink()


def tell_cluster(name: str, count: int) -> None:
    """Send the count of an ensemble from a Dask worker to whoever subscribes to ``TOPIC``."""
    from distributed import get_worker  # takes a second to import, and only clusters need it

    get_worker().log_event(TOPIC, (name, count))


@contextlib.contextmanager
def bar(total: int, count: Callable[[], int], *, enabled: bool) -> Iterator[None]:
    """A bar, with the time left, at what ``count`` returns, each second."""
    stop = threading.Event()
    with tqdm(total=total, initial=count(), unit="epoch", disable=not enabled) as shown:

        def follow() -> None:
            while not stop.wait(REFRESH_SECONDS):
                shown.n = count()
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
    except (OSError, ValueError):  # not begun, not to be read, or lost with the power
        return 0
