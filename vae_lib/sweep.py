"""Run a profile: train its ensembles, measure every member, and add a row a run to the ledger.

``python -m vae_lib.sweep laptop`` starts a sweep or continues it. What is in the ledger stays; an
ensemble that was interrupted, by whatever means, goes on from its last checkpoint and ends with
the numbers that it would have had: to the bit on the same kind of CPU with as many threads,
whether it is trained by a process of this machine or by a worker of a Dask cluster.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import joblib
import torch

from vae_lib import checks, engines, progress, results
from vae_lib.checkpoints import CheckpointError
from vae_lib.data import DataError
from vae_lib.experiments import PROFILES, Profile, ledger_folder, run_id, work_folder
from vae_lib.runs import (
    Result,
    WorkerError,
    checkpoint_path,
    ensemble_id,
    environment,
    run_ensemble,
)

ERRORS = (
    ValueError,
    DataError,
    WorkerError,
    CheckpointError,
    results.LedgerError,
    engines.EngineError,
)


def sweep(
    profile: Profile,
    *,
    folder: Path,
    work: Path | None = None,
    workers: int = 1,
    threads: int = 1,
    device: str = "cpu",
    scheduler: str = "",
    show_progress: bool = True,
) -> list[results.Row]:
    """Run what is not yet in the ledger of ``folder``, and return the profile's rows.

    Args:
        profile: what to run.
        folder: of the ledger; only this process writes there.
        work: of the checkpoints; may be deleted when the sweep is through. On a cluster it is a
            folder of the worker's machine; where it is shared, any worker can go on from there.
            Default: in ``_build``, of the repository that a worker runs.
        workers: processes of this machine; each trains one ensemble at a time.
        threads: of each process.
        device: "cpu" or "cuda".
        scheduler: address of a Dask scheduler, ``tcp://host:port``, whose workers are used in
            the place of processes of this machine.
        show_progress: a bar with the time left, on stderr.

    Raises:
        ValueError: an argument outside its range.
        LedgerError, CheckpointError: a file is damaged; nothing is overwritten.
        DataError: the data set is missing.
        WorkerError: a worker has other code or packages.
        EngineError: a process was killed, or the cluster cannot be reached or was lost.
    """
    checks.integer("workers", workers, low=1)
    checks.integer("threads", threads, low=1)
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    done = {row["run"] for row in results.read_ledger(folder)}
    ensembles = profile.ensembles()
    pending = [
        members
        for members in ensembles
        if not all(run_id(profile.setting, member) in done for member in members)
    ]
    finished = profile.setting.epochs * sum(
        len(members) for members in ensembles if members not in pending
    )
    total = profile.setting.epochs * len(profile.members)
    run = partial(
        run_ensemble,
        profile,
        # Once: a commit made during the sweep is not the code that runs.
        expected=environment(),
        work=work,
        threads=threads,
        device=device,
    )
    names = [ensemble_id(profile.setting, members) for members in pending]
    if scheduler:
        engine = engines.cluster(scheduler, names=names)
    else:
        engine = engines.processes(workers, work=work or work_folder(profile), names=names)
    with (
        engine as (parallel, tell, count, forget),
        progress.bar(total, lambda: finished + count(), enabled=show_progress),
    ):
        tasks = [
            joblib.delayed(_numbered)(place, partial(run, members, tell=tell))
            for place, members in enumerate(pending)
        ]
        with engines.started(parallel, tasks) as ended:
            for place, found in ended:
                for row, curve, latents in found:
                    results.add_row(folder, row, curve=curve, latents=latents)
                checkpoint_path(profile, pending[place], work=work).unlink(missing_ok=True)
                forget(names[place])
                finished += profile.setting.epochs * len(pending[place])
    wanted = {run_id(profile.setting, member) for member in profile.members}
    return [row for row in results.read_ledger(folder) if row["run"] in wanted]


def _numbered(place: int, run: Callable[[], list[Result]]) -> tuple[int, list[Result]]:
    """What ``run`` returns, and which of the pending ensembles it is: tasks end in any order."""
    return place, run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="vae_lib.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("profile", choices=sorted(PROFILES))
    parser.add_argument("--workers", type=int, default=0, help="processes; default: one a core")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--scheduler",
        default=os.environ.get("SCHEDULER", ""),
        help="tcp://host:port of a Dask scheduler; default: $SCHEDULER, else processes",
    )
    parser.add_argument("--folder", type=Path, help="of the ledger")
    parser.add_argument("--work", type=Path, help="of the checkpoints")
    given = parser.parse_args(arguments)
    profile = PROFILES[given.profile]
    folder = given.folder or ledger_folder(profile)
    workers = given.workers or (1 if given.device != "cpu" else joblib.cpu_count())
    try:
        rows = sweep(
            profile,
            folder=folder,
            work=given.work,
            workers=min(workers, len(profile.ensembles())),
            threads=given.threads,
            device=given.device,
            scheduler=given.scheduler,
        )
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, mostly
        print(
            f"error: {error}; what was written is whole, and the same command goes on from there",
            file=sys.stderr,
        )
        return 1
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for row in rows:
        if row["status"] != "finished":
            print(f"{row['row']}, seed {row['seed']}: {row['status']}", file=sys.stderr)
    print(f"{len(rows)} of {len(profile.members)} runs are in {folder / results.LEDGER}")
    return 0


if __name__ == "__main__":
    from vae_lib import sweep as module  # workers can import a function of it, not of __main__

    sys.exit(module.main())
