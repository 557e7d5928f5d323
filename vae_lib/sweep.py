"""Run a profile: train its ensembles, measure every member, and add a row a run to the ledger.

``python -m vae_lib.sweep laptop`` starts a sweep or continues it. What is in the ledger stays; an
ensemble that was interrupted, by whatever means, goes on from its last checkpoint and ends with
the numbers that it would have had: to the bit on the same kind of CPU with as many threads.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from torch import Tensor
from tqdm import tqdm

from vae_lib import checkpoints, checks, results
from vae_lib.data import DataError
from vae_lib.evaluation import EVALUATION_SEED, evaluate, importance_bound
from vae_lib.experiments import (
    PROFILES,
    REPOSITORY,
    Profile,
    Setting,
    build_model,
    ledger_folder,
    load_images,
    run_id,
)
from vae_lib.rows import row_name
from vae_lib.training import Member, Trainer, data_mean, generator, train
from vae_lib.transforms import (
    block_rows,
    dequantise,
    log_abs_det,
    logit,
    mean_log_abs_det,
    uniform_noise,
)
from vae_lib.vae import GaussianVAE

MEMBER_COLUMNS = tuple(field.name for field in fields(Member))
MEASURES = (
    "elbo",
    "elbo_se",
    "tuned_elbo",
    "sigma_sq",
    "tuned_sigma_sq",
    "kl",
    "log_abs_det",
    "collapse_percent",
    "active_units",
    "iwae",
    "iwae_elbo",
)


def sweep(
    profile: Profile,
    *,
    folder: Path,
    work: Path,
    workers: int = 1,
    threads: int = 1,
    device: str = "cpu",
    show_progress: bool = True,
) -> list[results.Row]:
    """Run what is not yet in the ledger of ``folder``, and return the profile's rows.

    Args:
        profile: what to run.
        folder: of the ledger.
        work: of the checkpoints; may be deleted when the sweep is through.
        workers: processes; each trains one ensemble at a time.
        threads: of each process.
        device: "cpu" or "cuda".
        show_progress: a bar with the time left, on stderr.

    Raises:
        ValueError: an argument outside its range.
        LedgerError, CheckpointError: a file is damaged; nothing is overwritten.
        DataError: the data set is missing.
    """
    checks.integer("workers", workers, low=1)
    checks.integer("threads", threads, low=1)
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    work.mkdir(parents=True, exist_ok=True)
    done = {row["run"] for row in results.read_ledger(folder)}
    ensembles = profile.ensembles()
    pending = [
        members
        for members in ensembles
        if not all(run_id(profile.setting, member) in done for member in members)
    ]
    code = commit()  # once: a commit made during the sweep is not the code that runs
    jobs = (
        joblib.delayed(run_ensemble)(
            profile,
            members,
            folder=folder,
            work=work,
            threads=threads,
            device=device,
            code=code,
        )
        for members in pending
    )
    total = profile.setting.epochs * len(profile.members)
    finished = profile.setting.epochs * sum(
        len(members) for members in ensembles if members not in pending
    )
    watched = [_progress_path(work, profile.setting, members) for members in pending]
    with _bar(total, finished, watched, enabled=show_progress):
        joblib.Parallel(n_jobs=workers, batch_size=1)(jobs)
    wanted = {run_id(profile.setting, member) for member in profile.members}
    return [row for row in results.read_ledger(folder) if row["run"] in wanted]


def run_ensemble(
    profile: Profile,
    members: Sequence[Member],
    *,
    folder: Path,
    work: Path,
    threads: int = 1,
    device: str = "cpu",
    code: str,
) -> None:
    """Train one ensemble, from its checkpoint where there is one, and add its rows."""
    torch.set_num_threads(threads)
    setting = profile.setting
    images = load_images(setting)
    trainer = make_trainer(setting, members, images, device=device)
    name = ensemble_id(setting, members)
    checkpoint = work / f"{name}.npz"
    try:
        trainer.load_state(checkpoints.load(checkpoint, owner=name))
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise checkpoints.CheckpointError(f"the checkpoint {checkpoint}: {error}") from None
    counter = _progress_path(work, setting, members)
    last_saved = time.monotonic()

    def after_epoch(trainer: Trainer) -> None:
        nonlocal last_saved
        over = trainer.epoch == setting.epochs or not trainer.alive
        if over or time.monotonic() - last_saved >= profile.checkpoint_seconds:
            checkpoints.save(checkpoint, trainer.state(), owner=name)
            last_saved = time.monotonic()
        counter.write_text(str(trainer.epoch * len(members)))

    with tf32(allowed=profile.tf32):
        train(trainer, epochs=setting.epochs, after_epoch=after_epoch)
    on = provenance(profile, device) | {"commit": code}
    for place in range(len(members)):
        with tf32(allowed=False):
            found = result(trainer, place, setting, images, provenance=on)
        results.add_row(folder, found.row, curve=found.curve, latents=found.latents)
    checkpoint.unlink(missing_ok=True)
    counter.write_text(str(setting.epochs * len(members)))


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Let a GPU round factors to TF32, or not, in matrix products and in convolutions."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def make_trainer(
    setting: Setting, members: Sequence[Member], images: Tensor, *, device: str = "cpu"
) -> Trainer:
    """A trainer in its initial state, whose history holds ELBOs of pixel values."""
    offset, _ = mean_log_abs_det(
        images, alpha=setting.alpha, generator=generator(EVALUATION_SEED, "offset")
    )
    return Trainer(
        lambda some: build_model(setting, some, dim=images.shape[1]),
        members,
        images,
        alpha=setting.alpha,
        batch_size=setting.batch_size,
        offset=offset,
        device=device,
    )


class Result(NamedTuple):
    """What the ledger keeps of a run: see :func:`vae_lib.results.add_row`."""

    row: results.Row
    curve: list[list[float]]
    latents: list[list[float]]


def result(
    trainer: Trainer,
    place: int,
    setting: Setting,
    images: Tensor,
    *,
    provenance: Mapping[str, results.Value],
) -> Result:
    """Measure the member at ``place`` in ``trainer.members``, in float64, on ``images`` (N, n)."""
    member = trainer.members[place]
    row: results.Row = {
        "run": run_id(setting, member),
        "dataset": setting.dataset,
        "row": row_name(sigma_sq_init=member.sigma_sq_init, learned=member.learned),
        **{name: getattr(member, name) for name in MEMBER_COLUMNS},
        "hidden": setting.network,
        "latent_dim": setting.latent_dim,
        "batch_size": setting.batch_size,
        "images": setting.num_images,
        "alpha": setting.alpha,
        "epochs": trainer.epoch,
        "steps": trainer.epoch * trainer.steps_per_epoch,
        "status": "finished",
        "iwae_samples": setting.iwae_samples,
        "iwae_images": setting.iwae_images,
        "seconds": round(trainer.seconds, 1),
        "ensemble": len(trainer.members),
        **provenance,
    }
    curve = np.stack(trainer.history)[:, place, :].tolist()
    if place not in trainer.alive:
        epoch = int(trainer.diverged_at[place])
        row |= {"epochs": epoch, "steps": epoch * trainer.steps_per_epoch}
        row |= {"status": f"diverged in epoch {epoch}", "active_units": 0}
        row |= {name: math.nan for name in MEASURES if name not in row}
        return Result(row, curve, [])
    model = trainer.model.select(trainer.alive.index(place))
    shift = data_mean(images, alpha=setting.alpha) if member.centred else None
    measures = evaluate(model, images, alpha=setting.alpha, shift=shift)
    bound, elbo = _importance(model, images, setting, shift)
    row |= {name: getattr(measures, name) for name in MEASURES if hasattr(measures, name)}
    row |= {"collapse_percent": 100 * measures.collapse, "iwae": bound, "iwae_elbo": elbo}
    latents = [measures.kl_per_latent, measures.mean_variance, measures.collapse_epsilon]
    return Result(row, curve, torch.stack(latents, dim=1).tolist())


def provenance(profile: Profile, device: str) -> dict[str, results.Value]:
    """On what a run was done, and with which code."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "precision": "tf32" if profile.tf32 and on_gpu else "float32",
        "versions": f"python {sys.version.split()[0]}, torch {torch.__version__}, "
        f"numpy {np.__version__}",
        "commit": commit(),
    }


def _importance(
    model: GaussianVAE, images: Tensor, setting: Setting, shift: Tensor | None
) -> tuple[float, float]:
    """Mean importance-weighted bound on the first images, and the ELBO there, of pixel values."""
    random = generator(EVALUATION_SEED, "importance", model.log_sigma_sq.device)
    block = images[: setting.iwae_images].to(random.device)
    noise = uniform_noise(tuple(block.shape), generator=random, dtype=torch.float64)
    pixels = dequantise(block, noise)
    data = logit(pixels, alpha=setting.alpha)
    if shift is not None:
        data = data - shift.to(data.device)
    # float32 is twice as fast; the weights themselves are added up in float64.
    bound, elbo = importance_bound(
        model.float(),
        data.float(),
        num_samples=setting.iwae_samples,
        random=random,
        max_rows=block_rows(data.shape[1], at_most=4000),
    )
    offset = log_abs_det(pixels, alpha=setting.alpha).mean()
    return (bound.mean() + offset).item(), (elbo.mean() + offset).item()


def ensemble_id(setting: Setting, members: Sequence[Member]) -> str:
    """Name of an ensemble: a hash of its runs, in order."""
    runs = " ".join(run_id(setting, member) for member in members)
    return hashlib.sha256(runs.encode()).hexdigest()[:16]


def commit() -> str:
    """The repository's commit, "+changes" if a tracked file of vae_lib differs, or "unknown"."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "vae_lib")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "cpu"


def _progress_path(work: Path, setting: Setting, members: Sequence[Member]) -> Path:
    return work / f"{ensemble_id(setting, members)}.progress"


@contextmanager
def _bar(total: int, finished: int, watched: Sequence[Path], *, enabled: bool) -> Iterator[None]:
    """A bar that follows the counters that the workers, in whatever process, write."""
    stop = threading.Event()

    def count() -> int:
        return finished + sum(_read_counter(path) for path in watched)

    with tqdm(total=total, initial=count(), unit="epoch", disable=not enabled) as bar:

        def follow() -> None:
            while not stop.wait(1.0):
                bar.n = count()
                bar.refresh()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
            bar.n = count()
        finally:
            stop.set()
            thread.join()


def _read_counter(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except (FileNotFoundError, ValueError):  # not begun, or just being written
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="vae_lib.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("profile", choices=sorted(PROFILES))
    parser.add_argument("--workers", type=int, default=0, help="processes; default: one a core")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, help="of the ledger")
    parser.add_argument("--work", type=Path, help="of the checkpoints")
    given = parser.parse_args(arguments)
    profile = PROFILES[given.profile]
    folder = given.folder or ledger_folder(profile)
    work = given.work or REPOSITORY / "_build" / "sweeps" / ledger_folder(profile).name
    workers = given.workers or (1 if given.device != "cpu" else joblib.cpu_count())
    try:
        rows = sweep(
            profile,
            folder=folder,
            work=work,
            workers=min(workers, len(profile.ensembles())),
            threads=given.threads,
            device=given.device,
        )
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    except TerminatedWorkerError:
        print(
            "error: a worker was killed, perhaps for want of memory; the same command goes on "
            "from the last checkpoints, with --workers 1 in less memory",
            file=sys.stderr,
        )
        return 1
    except (ValueError, DataError, results.LedgerError, checkpoints.CheckpointError) as error:
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
