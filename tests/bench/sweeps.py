"""Sweeps: two workers over one, and a Dask cluster on this machine over processes."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from distributed import Client, LocalCluster
from joblib.externals.loky import get_reusable_executor

from tests.bench.rows import Row, medians
from vae_lib.experiments import PROFILES, Profile
from vae_lib.sweep import sweep

WORKERS = 2
# As the page "Re-run this book" has it for workers: Dask's own setting gives memory back so often
# that these runs take half as long again.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432"}
# Runs of 10 s or more on one thread, an even number of them.
PROFILE = replace(
    PROFILES["quick"],
    setting=replace(PROFILES["quick"].setting, epochs=16),
    members=PROFILES["quick"].members[:4],
    ensemble_size=1,
)


def rows() -> Iterator[Row]:
    """Startup is not in it: workers are kept, and the first round does not count."""
    label = f"sweep of {len(PROFILE.members)} runs with {WORKERS} one-thread workers over one"
    with tempfile.TemporaryDirectory() as name:
        run = partial(_run, PROFILE, folders=_fresh(Path(name)))
        two, one = medians(partial(run, workers=WORKERS), partial(run, workers=1), repeats=1)
        yield Row(label, two, one, 1 / 1.8)
        with patch.dict(os.environ, KEEP_MEMORY):
            cluster = LocalCluster(
                n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, memory_limit=0
            )
        with cluster, Client(cluster):
            dask = partial(run, scheduler=cluster.scheduler_address)
            ours, other = medians(dask, partial(run, workers=WORKERS), repeats=1)
        yield Row(
            f"the same on {WORKERS} workers of a Dask cluster over processes", ours, other, 1.15
        )
    get_reusable_executor().shutdown()


def _fresh(folder: Path) -> Iterator[Path]:
    """Folders of which none was used before: a sweep that is done is not done again."""
    return (folder / str(number) for number in itertools.count())


def _run(
    profile: Profile, *, folders: Iterator[Path], workers: int = 1, scheduler: str = ""
) -> None:
    folder = next(folders)
    sweep(
        profile,
        folder=folder / "ledger",
        work=folder / "work",
        workers=workers,
        scheduler=scheduler,
        show_progress=False,
    )


def main() -> None:
    for row in rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
