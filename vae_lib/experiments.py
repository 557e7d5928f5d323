"""The deep experiments: what is trained, on what, and for how long.

A profile is a setting, shared by all its runs, and the members that differ by row and seed. Rows
are those of the poster's table: sigma_sq_init in {10, 1, 0.1, 0.01, 0.001}, fixed and learned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vae_lib import checks
from vae_lib.data import load_mnist
from vae_lib.rows import SIGMA_SQ_INITS
from vae_lib.training import Member, generator
from vae_lib.transforms import check_alpha
from vae_lib.vae import GaussianVAE, mlp

REPOSITORY = Path(__file__).resolve().parent.parent
MNIST_ALPHA = 1e-6  # what the poster's table implies, see chapter 5


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs of a profile share.

    Attributes:
        dataset: "mnist".
        num_images: the first so many training images.
        alpha: of the logit, in [0, 1/2).
        hidden: units of the encoder's hidden layers; the decoder mirrors them.
        latent_dim: k.
        batch_size: images a step; an epoch drops what is left over.
        epochs: passes over the images.
        iwae_images: how many images the importance-weighted bound is taken on.
        iwae_samples: its K, 1 to 5000.
    """

    dataset: str = "mnist"
    num_images: int
    alpha: float = MNIST_ALPHA
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    epochs: int
    iwae_images: int = 100
    iwae_samples: int = 1000

    def __post_init__(self) -> None:
        # 0 and 0.0 are one setting, also by name.
        object.__setattr__(self, "alpha", check_alpha(self.alpha))
        if not isinstance(self.hidden, list | tuple):
            raise ValueError(f"hidden must be a tuple of integers, got {self.hidden!r}")
        hidden = tuple(checks.integer("hidden", units, low=1) for units in self.hidden)
        object.__setattr__(self, "hidden", hidden)
        if self.dataset not in _DATASETS:
            raise ValueError(f"dataset must be one of {sorted(_DATASETS)}, got {self.dataset!r}")
        for name, low, high in (
            ("num_images", 2, None),
            ("latent_dim", 1, None),
            ("batch_size", 1, self.num_images),
            ("epochs", 1, None),
            ("iwae_images", 1, self.num_images),
            ("iwae_samples", 1, 5000),
        ):
            value = checks.integer(name, getattr(self, name), low=low, high=high)
            object.__setattr__(self, name, value)

    @property
    def steps(self) -> int:
        """Optimiser steps of a whole run."""
        return self.epochs * (self.num_images // self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A sweep: a setting, its runs, and how they are grouped.

    Attributes:
        name: "quick", "laptop" or "paper".
        setting: what the runs share.
        members: one for each run.
        ensemble_size: so many members advance as one batched computation.
        checkpoint_seconds: at least so long between two checkpoints of an ensemble.
        tf32: whether matrix products on a GPU may round their factors to TF32.
    """

    name: str
    setting: Setting
    members: tuple[Member, ...]
    ensemble_size: int
    checkpoint_seconds: float = 60.0
    tf32: bool = False

    def ensembles(self) -> list[tuple[Member, ...]]:
        """The members in groups that train together, always the same ones."""
        size = self.ensemble_size
        return [self.members[start : start + size] for start in range(0, len(self.members), size)]


def ledger_folder(profile: Profile) -> Path:
    """Where the book keeps the ledger of a profile's long run."""
    return REPOSITORY / "book" / "recorded" / f"{profile.setting.dataset}-{profile.name}"


def table_members(*, seeds: Iterable[int], learning_rate: float = 1e-3) -> tuple[Member, ...]:
    """The ten rows of the table for each of ``seeds``, seed by seed."""
    return tuple(
        Member(sigma_sq_init=sigma_sq, learned=learned, seed=seed, learning_rate=learning_rate)
        for seed in seeds
        for learned in (False, True)
        for sigma_sq in SIGMA_SQ_INITS
    )


def asides(
    *, anneal_epochs: float, seed: int = 0, learning_rate: float = 1e-3
) -> tuple[Member, ...]:
    """Two more runs at sigma_sq = 10: with an annealed KL term, and on centred data."""
    plain = Member(sigma_sq_init=10.0, learned=False, seed=seed, learning_rate=learning_rate)
    return (replace(plain, anneal_epochs=anneal_epochs), replace(plain, centred=True))


def load_images(setting: Setting) -> Tensor:
    """The setting's images (N, n), uint8.

    Raises:
        ValueError: there are fewer than ``num_images``.
        DataError: the data set is missing or damaged.
    """
    images = _DATASETS[setting.dataset]()
    checks.integer("num_images", setting.num_images, low=2, high=len(images))
    return images[: setting.num_images]


def build_model(setting: Setting, members: Sequence[Member], *, dim: int) -> GaussianVAE:
    """The setting's VAE for some members, with the initial weights of their seeds."""
    generators = [generator(member.seed, "weights") for member in members]
    sizes, k = (dim, *setting.hidden), setting.latent_dim
    return GaussianVAE(
        mlp((*sizes, 2 * k), generators),
        mlp((k, *reversed(sizes)), generators),
        latent_dim=k,
        sigma_sq=torch.tensor([m.sigma_sq_init for m in members], dtype=torch.float64),
        learned=torch.tensor([m.learned for m in members]),
    )


def run_id(setting: Setting, member: Member) -> str:
    """Name of a run: a hash of its configuration."""
    configuration = {**asdict(setting), **asdict(member)}
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]


def _mnist() -> Tensor:
    return load_mnist().images.flatten(1)


_DATASETS = {"mnist": _mnist}

# The poster's network; it does not give the batch size.
_PAPER_MLP = Setting(
    num_images=60_000,
    hidden=(1024, 512),
    latent_dim=200,
    batch_size=128,
    epochs=1000,
    iwae_samples=5000,
)

PROFILES = {
    profile.name: profile
    for profile in (
        # A scaled model, trained until its ELBO changes little.
        Profile(
            name="quick",
            setting=Setting(
                num_images=5000, hidden=(128, 64), latent_dim=50, batch_size=64, epochs=120
            ),
            members=table_members(seeds=[0], learning_rate=2e-3)
            + asides(anneal_epochs=20, learning_rate=2e-3),
            ensemble_size=12,
        ),
        # The poster's network and all images, as far as some two hours on two cores go. A batch
        # of 200 divides 60,000, and takes a fifth less time an epoch than one of 128.
        Profile(
            name="laptop",
            setting=replace(_PAPER_MLP, batch_size=200, epochs=25, iwae_samples=1000),
            members=table_members(seeds=[0, 1]) + asides(anneal_epochs=10),
            ensemble_size=1,
        ),
        # As published: 1000 epochs, 468,000 steps. What a step costs is moving the 119 million
        # parameters of forty models: Adam reads four arrays and writes three (3.3 GB), the
        # products read the weights twice and write the gradients (1.3 GB), activations add
        # 0.3 GB. At 2.7 TB/s that is 1.8 ms. The 91 billion operations of the products take
        # 0.3 ms in TF32. In all some 15 minutes on an H100, if launching kernels costs nothing,
        # hence the CUDA graph of the trainer. A checkpoint is 1.4 GB, so they are rare.
        Profile(
            name="paper",
            setting=_PAPER_MLP,
            members=table_members(seeds=range(4)),
            ensemble_size=40,
            checkpoint_seconds=240.0,
            tf32=True,
        ),
    )
}
