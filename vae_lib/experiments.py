"""The deep experiments: what is trained, on what, and for how long.

A profile is a setting, shared by all its runs, and the members that differ by row and seed. Rows
are those of the poster's table: sigma_sq_init in {10, 1, 0.1, 0.01, 0.001}, fixed and learned.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae_lib import checks, comparison
from vae_lib.convolutional import Shape, conv_decoder, conv_encoder, encoded_shape
from vae_lib.data import DataError, load_celeba, load_mnist
from vae_lib.rows import SIGMA_SQ_INITS
from vae_lib.training import Member, generator
from vae_lib.transforms import check_alpha
from vae_lib.vae import GaussianVAE, mlp

REPOSITORY = Path(__file__).resolve().parent.parent
MNIST_ALPHA = 1e-6  # what the poster's table implies, see chapter 5
CELEBA_ALPHA = 0.05  # the same, see chapter 7


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs of a profile share.

    Attributes:
        dataset: "mnist" or "celeba".
        num_images: the first so many training images.
        alpha: of the logit, in [0, 1/2).
        image_size: pixels a side that CelebA's images are resized to; 0 for MNIST's, as they are.
        channels: of the encoder's convolutions, before its hidden layers; none for a perceptron.
        hidden: units of the encoder's hidden layers; the decoder mirrors encoder and all.
        latent_dim: k.
        batch_size: images a step; an epoch drops what is left over.
        epochs: passes over the images.
        iwae_images: how many images the importance-weighted bound is taken on.
        iwae_samples: its K, 1 to 5000.
    """

    dataset: str = "mnist"
    num_images: int
    alpha: float = MNIST_ALPHA
    image_size: int = 0
    channels: tuple[int, ...] = ()
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    epochs: int
    iwae_images: int = 100
    iwae_samples: int = 1000

    def __post_init__(self) -> None:
        # 0 and 0.0 are one setting, also by name.
        object.__setattr__(self, "alpha", check_alpha(self.alpha))
        for name in ("hidden", "channels"):
            units = getattr(self, name)
            if not isinstance(units, list | tuple):
                raise ValueError(f"{name} must be a tuple of integers, got {units!r}")
            units = tuple(checks.integer(name, number, low=1) for number in units)
            object.__setattr__(self, name, units)
        if self.dataset not in _DATASETS:
            raise ValueError(f"dataset must be one of {sorted(_DATASETS)}, got {self.dataset!r}")
        known = _DATASETS[self.dataset]
        size = checks.integer("image_size", self.image_size, low=known.low, high=known.high)
        object.__setattr__(self, "image_size", size)
        encoded_shape(self.image_shape, self.channels)
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
    def image_shape(self) -> Shape:
        """Channels, height and width of an image, whose n numbers are in this order."""
        return _DATASETS[self.dataset].shape(self.image_size)

    @property
    def network(self) -> str:
        """The encoder's layers in words, for instance "1024-512" or "64px conv 32-64 full 256"."""
        units = "-".join(map(str, self.hidden))
        if not self.channels and not self.image_size:
            return units
        parts = [f"{self.image_shape[-1]}px"]
        parts += [f"conv {'-'.join(map(str, self.channels))}"] if self.channels else []
        parts += [f"full {units}"] if units else []
        return " ".join(parts)

    @property
    def steps(self) -> int:
        """Optimiser steps of a whole run."""
        return self.epochs * (self.num_images // self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A sweep: a setting, its runs, and how they are grouped.

    Attributes:
        name: "quick", "laptop" or "paper", for CelebA with "celeba-" before it.
        setting: what the runs share.
        members: one for each run.
        ensemble_size: so many members advance as one batched computation.
        checkpoint_seconds: at least so long between two checkpoints of an ensemble.
        tf32: whether products and convolutions on a GPU may round their factors to TF32.
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
    """Where a sweep of a profile keeps its ledger, if it is not told otherwise.

    In the book if its runs are long. The quick ones, which the book trains itself and does not
    read, have theirs beside their checkpoints.
    """
    if profile.name.removeprefix("celeba-") == "quick":
        return work_folder(profile)
    return REPOSITORY / "book" / "recorded" / _folder_name(profile)


def recorded_profile(dataset: str) -> Profile:
    """The profile whose ledger is the book's record of a data set's rows.

    Args:
        dataset: "mnist" or "celeba".
    """
    folder = comparison.recorded_folder(dataset, REPOSITORY / "book" / "recorded")
    return next(profile for profile in PROFILES.values() if ledger_folder(profile) == folder)


def work_folder(profile: Profile) -> Path:
    """Where a sweep of a profile keeps its checkpoints, if it is not told otherwise."""
    return REPOSITORY / "_build" / "sweeps" / _folder_name(profile)


def _folder_name(profile: Profile) -> str:
    dataset = profile.setting.dataset
    return f"{dataset}-{profile.name.removeprefix(dataset + '-')}"


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
        DataError: the data set is missing or damaged, or has fewer than ``num_images``.
    """
    images = _DATASETS[setting.dataset].load(setting.image_size, setting.num_images)
    if len(images) < setting.num_images:
        more = (
            "`python -m vae_lib.data --celeba` fetches all, or set VAE_LIB_CELEBA to their folder"
        )
        raise DataError(
            f"num_images must be at most {len(images):,}, the images of {setting.dataset} that are "
            f"at hand, got {setting.num_images:,}"
            + (f"; {more}" if setting.dataset == "celeba" else "")
        )
    return images[: setting.num_images]


def build_model(setting: Setting, members: Sequence[Member], *, dim: int) -> GaussianVAE:
    """The setting's VAE for some members, with the initial weights of their seeds."""
    generators = [generator(member.seed, "weights") for member in members]
    shape, channels, k = setting.image_shape, setting.channels, setting.latent_dim
    features = math.prod(encoded_shape(shape, channels)) if channels else dim
    sizes = (features, *setting.hidden)
    encoder, decoder = mlp((*sizes, 2 * k), generators), mlp((k, *reversed(sizes)), generators)
    if channels:
        encoder = nn.Sequential(conv_encoder(shape, channels, generators), encoder)
        decoder = nn.Sequential(decoder, conv_decoder(shape, channels, generators))
    return GaussianVAE(
        encoder,
        decoder,
        latent_dim=k,
        sigma_sq=torch.tensor([m.sigma_sq_init for m in members], dtype=torch.float64),
        learned=torch.tensor([m.learned for m in members]),
    )


def run_id(setting: Setting, member: Member) -> str:
    """Name of a run: a hash of its configuration."""
    configuration = {**asdict(setting), **asdict(member)}
    for name in ("image_size", "channels"):  # a perceptron on MNIST is named without them
        if not configuration[name]:
            del configuration[name]
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]


class _Dataset(NamedTuple):
    """How to load a data set, and the sizes its images can have."""

    load: Callable[[int, int], Tensor]  # of a size, at most so many, to bytes (N, n)
    low: int
    high: int
    shape: Callable[[int], Shape]


_DATASETS = {
    "mnist": _Dataset(
        lambda size, count: load_mnist().images.flatten(1), 0, 0, lambda size: (1, 28, 28)
    ),
    "celeba": _Dataset(
        lambda size, count: load_celeba(size=size, first=count).images.flatten(1),
        8,
        148,
        lambda size: (3, size, size),
    ),
}

# The poster's network; it does not give the batch size.
_PAPER_MLP = Setting(
    num_images=60_000,
    hidden=(1024, 512),
    latent_dim=200,
    batch_size=128,
    epochs=1000,
    iwae_samples=5000,
)

# The network of Higgins et al. (2017) for 64 x 64 images, with the table's k.
_CELEBA = Setting(
    dataset="celeba",
    num_images=999,
    alpha=CELEBA_ALPHA,
    image_size=64,
    channels=(32, 32, 64, 64),
    hidden=(256,),
    latent_dim=500,
    batch_size=27,
    epochs=120,
    iwae_images=20,
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
        # A scaled model on scaled images. The rows that are left out are those that no such
        # number of steps can settle: noise fixed at 0.001, or learned from 0.01 or less.
        Profile(
            name="celeba-quick",
            setting=replace(
                _CELEBA,
                image_size=16,
                channels=(8, 16),
                hidden=(64,),
                latent_dim=50,
                epochs=65,
                iwae_samples=100,
            ),
            members=tuple(
                member
                for member in table_members(seeds=[0], learning_rate=4e-3)
                if member.sigma_sq_init > (0.01 if member.learned else 0.001)
            ),
            ensemble_size=7,
        ),
        # The sample of CelebA at full size. On a CPU a batch of convolutional models is no
        # faster than one after the other, see the table of `make bench`.
        Profile(
            name="celeba-laptop",
            setting=_CELEBA,
            members=table_members(seeds=[0, 1]),
            ensemble_size=1,
        ),
        # What becomes of some rows in a longer run: the same courses, five times as far.
        Profile(
            name="celeba-long",
            setting=replace(_CELEBA, epochs=600),
            members=tuple(
                Member(sigma_sq_init=sigma_sq, learned=learned, seed=seed)
                for sigma_sq, learned, seed in (
                    (10.0, False, 0),
                    (10.0, False, 1),
                    (10.0, True, 0),
                    (1.0, True, 0),
                    (1.0, False, 0),
                    (0.1, False, 0),
                )
            ),
            ensemble_size=1,
        ),
        # All images, which `python -m vae_lib.data --celeba` downloads. The poster gives neither
        # epochs nor batch size; the steps of its collapse column fit five seeds.
        Profile(
            name="celeba-paper",
            setting=replace(_CELEBA, num_images=202_599, batch_size=128, epochs=50),
            members=table_members(seeds=range(5)),
            ensemble_size=1,
            checkpoint_seconds=240.0,
            tf32=True,
        ),
    )
}
