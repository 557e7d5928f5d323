"""The memory of a sweep, from a process of its own: ``python -m tests.bench.memory``."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from joblib.externals.loky import get_reusable_executor

from tests.bench.rows import Memory
from vae_lib.experiments import PROFILES, REPOSITORY
from vae_lib.sweep import sweep

WORKERS = 2
BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of getrusage


def peak() -> int:
    """Bytes that an epoch of the laptop profile takes, evaluation included: a bound from above.

    The largest that the workers were, times their number, and the largest that this process was;
    pages that they share count for each.
    """
    laptop = PROFILES["laptop"]
    profile = replace(
        laptop, setting=replace(laptop.setting, epochs=1), members=laptop.members[-WORKERS:]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep(
            profile,
            folder=folder / "ledger",
            work=folder / "work",
            workers=WORKERS,
            show_progress=False,
        )
    get_reusable_executor().shutdown()  # getrusage knows those children that have ended
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + WORKERS * worker) * BYTES


def row() -> Memory:
    """To be called early: Linux counts what this process holds to the one that it starts."""
    command = [sys.executable, "-m", "tests.bench.memory"]
    ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    label = f"peak memory of a laptop sweep with {WORKERS} workers"
    return Memory(label, int(ended.stdout) / 2**30, 4.0)


if __name__ == "__main__":
    print(peak())
