"""One ensemble of a sweep, from its last checkpoint to its rows: what a worker runs.

A worker is any process that can import this module, on this machine or another. What it needs
comes as arguments, what it has found goes back as a value: only the process that started the
sweep writes the ledger.
"""

from __future__ import annotations

import hashlib
import math
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_lib import checkpoints, results
from vae_lib.evaluation import EVALUATION_SEED, evaluate, importance_bound
from vae_lib.experiments import (
    REPOSITORY,
    Profile,
    Setting,
    build_model,
    load_images,
    run_id,
    work_folder,
)
from vae_lib.provenance import checkout, processor
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


class WorkerError(RuntimeError):
    """A worker does not run the code, or the packages, of the sweep. The message says which."""


def run_ensemble(
    profile: Profile,
    members: Sequence[Member],
    *,
    expected: Mapping[str, str],
    tell: Callable[[str, int], None],
    work: Path | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> list[Result]:
    """Train one ensemble, from its checkpoint where there is one, and measure its members.

    The checkpoint stays: whoever has written the results down deletes it.

    Args:
        profile: of the sweep.
        members: of the ensemble.
        expected: what :func:`environment` is where the sweep was started.
        tell: called after each epoch with the ensemble's name and its epochs times members.
        work: of the checkpoints; default: that of the profile, in the worker's own repository.
        threads: of this process.
        device: "cpu" or "cuda".

    Raises:
        WorkerError: this process does not run the same code with the same packages.
        CheckpointError: the checkpoint is damaged.
        DataError: the data set is missing.
    """
    check_environment(expected)
    torch.set_num_threads(threads)
    setting = profile.setting
    images = load_images(setting)
    trainer = make_trainer(setting, members, images, device=device)
    name = ensemble_id(setting, members)
    checkpoint = checkpoint_path(profile, members, work=work)
    try:
        trainer.load_state(checkpoints.load(checkpoint, owner=name))
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise checkpoints.CheckpointError(f"the checkpoint {checkpoint}: {error}") from None
    last_saved = time.monotonic()

    def after_epoch(trainer: Trainer) -> None:
        nonlocal last_saved
        over = trainer.epoch == setting.epochs or not trainer.alive
        if over or time.monotonic() - last_saved >= profile.checkpoint_seconds:
            checkpoints.save(checkpoint, trainer.state(), owner=name)
            last_saved = time.monotonic()
        tell(name, trainer.epoch * len(members))

    with tf32(allowed=profile.tf32):
        train(trainer, epochs=setting.epochs, after_epoch=after_epoch)
    on = provenance(profile, device) | {"commit": expected["commit"]}
    with tf32(allowed=False):
        found = [result(trainer, i, setting, images, provenance=on) for i in range(len(members))]
    tell(name, setting.epochs * len(members))
    return found


def checkpoint_path(
    profile: Profile, members: Sequence[Member], *, work: Path | None = None
) -> Path:
    """Of an ensemble; ``work`` as in :func:`run_ensemble`."""
    return (work or work_folder(profile)) / f"{ensemble_id(profile.setting, members)}.npz"


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
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, "
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


def environment() -> dict[str, str]:
    """What has to be the same wherever a sweep runs: the code and the packages that compute."""
    digest = hashlib.sha256()
    for path in sorted((REPOSITORY / "vae_lib").rglob("*.py")):
        digest.update(f"{path.relative_to(REPOSITORY).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {
        "commit": commit(),
        "vae_lib": digest.hexdigest()[:16],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        # They decode and resize photographs.
        **{name: _version(name) for name in ("pillow", "torchvision")},
    }


def check_environment(expected: Mapping[str, str]) -> None:
    """Refuse to run anything but the sweep's own code and packages.

    A commit is compared where both sides know theirs; that of a copy without git is unknown.

    Raises:
        WorkerError: they differ; it names this machine, and what differs.
    """
    here = environment()
    differ = [
        f"{name} {here[name]} here and {expected[name]} there"
        for name in expected
        if here[name] != expected[name]
        and not (name == "commit" and "unknown" in (here[name], expected[name]))
    ]
    if differ:
        raise WorkerError(
            f"the worker on {socket.gethostname()} does not run what the sweep was started "
            f"with: {'; '.join(differ)}. Give it the same checkout and packages, and start again"
        )


def commit() -> str:
    """The repository's commit, "+changes" if a tracked file of vae_lib differs, or "unknown"."""
    head, state = checkout(REPOSITORY, below="vae_lib")
    return head + ("+changes" if state == "changed" else "")


def _version(package: str) -> str:
    """Of a package as it is installed: read, not imported, because that can take seconds."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"  # a sweep of MNIST does without


def _device_name(device: str) -> str:
    on_gpu = torch.device(device).type == "cuda"
    return torch.cuda.get_device_name(device) if on_gpu else processor()
