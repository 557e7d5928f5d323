"""One trainer for an ensemble of Gaussian VAEs that advance together.

Members differ in their noise variance (initial value; fixed or learned), seed, learning rate,
weight of the KL term, and in whether they see centred data. Every random number comes from
generators of the member's own seed, and members with one seed share them: images, dequantisation
noise, initial weights and z. So a member takes the same course alone as in company, up to
rounding, and two members of one seed differ by their settings only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from vae_lib import checks, collapse
from vae_lib.transforms import block_rows, dequantise, logit, preprocess, uniform_noise
from vae_lib.vae import GaussianVAE

Progress = Callable[[int], object]

# ELBO, KL and mean squared error are means over the epoch; the rest is taken at its end.
HISTORY_COLUMNS = ("epoch", "elbo", "kl", "mse", "sigma_sq", "kl_weight", "collapse", "active")
PROBE_IMAGES = 1000  # the first so many images, on which collapse is followed during training
_PROBE_SEED = 2**31
_GRAPH_WARM_UP = 3  # steps that CUDA wants to see before it captures one


@dataclass(frozen=True, kw_only=True)
class Member:
    """What sets one model of an ensemble apart.

    Attributes:
        sigma_sq_init: initial noise variance, > 0; the final one too where it is not learned.
        learned: whether the noise variance is trained with the weights.
        seed: of initial weights, order of the images, dequantisation noise and z; >= 0.
        learning_rate: Adam's, > 0.
        beta: final weight of the KL term, >= 0; 1 is the ELBO.
        anneal_epochs: epochs over which that weight rises linearly from 0; 0 for none.
        centred: whether the mean of the data is subtracted from what the model sees.
    """

    sigma_sq_init: float
    learned: bool
    seed: int = 0
    learning_rate: float = 1e-3
    beta: float = 1.0
    anneal_epochs: float = 0.0
    centred: bool = False

    def __post_init__(self) -> None:
        checks.positive("sigma_sq_init", self.sigma_sq_init)
        checks.positive("learning_rate", self.learning_rate)
        checks.number("beta", self.beta, low=0.0)
        checks.number("anneal_epochs", self.anneal_epochs, low=0.0)
        checks.integer("seed", self.seed, low=0)
        # 10 and 10.0 are one run, also by name.
        for name in ("sigma_sq_init", "learning_rate", "beta", "anneal_epochs"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "seed", int(self.seed))
        for name in ("learned", "centred"):
            value = getattr(self, name)
            if value not in (False, True):
                raise ValueError(f"{name} must be True or False, got {value!r}")
            object.__setattr__(self, name, bool(value))


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of a ``stream`` of random numbers ("weights", "order", "noise") of a seed."""
    state = np.random.SeedSequence([seed, *stream.encode()]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


def data_mean(images: Tensor, *, alpha: float) -> Tensor:
    """Mean (n,) of the preprocessed ``images`` (N, n), float64: what centred members subtract."""
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    noise = generator(_PROBE_SEED, "mean")
    for block in images.split(block_rows(images.shape[1], at_most=4096)):
        total += preprocess(block, alpha=alpha, generator=noise).sum(0)
    return total / len(images)


class Trainer:
    """Trains an ensemble epoch by epoch; its whole state goes into arrays and back.

    Attributes:
        model: the members that still run, in the order of ``alive``.
        members: all members, those that diverged too.
        alive: indices into ``members`` of the ones that still run.
        diverged_at: (E,), the epoch at whose end a member was found NaN or infinite; else -1.
        epoch: number of epochs done.
        history: one (E, 8) array for each record, see ``HISTORY_COLUMNS``; all but the epoch is
            NaN after divergence.
        seconds: spent in training so far.
    """

    def __init__(
        self,
        build: Callable[[Sequence[Member]], GaussianVAE],
        members: Sequence[Member],
        images: Tensor,
        *,
        alpha: float,
        batch_size: int,
        offset: float = 0.0,
        device: torch.device | str = "cpu",
    ):
        """Set up the initial state.

        Args:
            build: makes the model for some members; called again where a member drops out.
            members: at least one.
            images: (N, n), uint8.
            alpha: of the logit, in [0, 1/2).
            batch_size: 1 to N; an epoch is N // batch_size steps.
            offset: added to the ELBOs of the history: J, so that they are of pixel values.
            device: of the model and of the data.

        Raises:
            ValueError: an argument outside its range.
        """
        if not members:
            raise ValueError("members must not be empty")
        checks.integer("batch_size", batch_size, low=1, high=len(images))
        self.build, self.members, self.alpha, self.offset = build, tuple(members), alpha, offset
        self.batch_size, self.device = batch_size, torch.device(device)
        self.steps_per_epoch = len(images) // batch_size
        self.epoch, self.seconds = 0, 0.0
        self.history: list[np.ndarray] = []
        self.diverged_at = np.full(len(members), -1)
        self.images = images.to(self.device)
        probe = preprocess(
            images[:PROBE_IMAGES],
            alpha=alpha,
            generator=generator(_PROBE_SEED, "probe"),
            dtype=torch.float32,
        )
        self._probe = probe.to(self.device)
        self._mean = None
        if any(member.centred for member in members):
            self._mean = data_mean(images, alpha=alpha).to(self.device, torch.float32)
        self._generators = {
            seed: (generator(seed, "order"), generator(seed, "noise", self.device))
            for seed in dict.fromkeys(member.seed for member in members)
        }
        self._set_up(list(range(len(members))))
        # Name -> shape of what a member has of it, also when none is left.
        self._layout = {name: tensor.shape[1:] for name, tensor in self._tensors().items()}

    def run_epoch(self) -> None:
        """One pass over the images; members that diverged in it are dropped after it."""
        started = time.perf_counter()
        self.model.train()
        self._totals.zero_()
        orders = [
            torch.randperm(len(self.images), generator=self._generators[seed][0])
            for seed in self._seeds
        ]
        rows = torch.stack(orders)[:, : self.steps_per_epoch * self.batch_size]
        rows = rows.to(self.device).split(self.batch_size, dim=1)
        for step_rows in rows:
            self._rows.copy_(step_rows)
            self._advance()
        self.epoch += 1
        finite = torch.isfinite(self._totals).all(1)
        for parameter in self.model.parameters():
            finite &= torch.isfinite(parameter.detach().reshape(len(finite), -1).sum(1))
        # A gradient whose square overflows stops Adam for good, at weights that look sound.
        for part, views in self._slices:
            for view in views.values():
                second = self._optimiser.state[view]["exp_avg_sq"]
                finite[part] &= torch.isfinite(second.reshape(len(second), -1).sum(1))
        finite = finite.tolist()  # waits for the device
        self.seconds += time.perf_counter() - started
        if not all(finite):
            for index, is_finite in zip(self.alive, finite, strict=True):
                if not is_finite:
                    self.diverged_at[index] = self.epoch
            self._keep([place for place, is_finite in enumerate(finite) if is_finite])

    def record(self) -> None:
        """Add the means over the last epoch, and collapse on the probe, to the history."""
        row = np.full((len(self.members), len(HISTORY_COLUMNS)), np.nan)
        row[:, 0] = self.epoch
        if self.alive:
            elbo, kl, mse = (self._totals / self.steps_per_epoch).T
            with torch.no_grad():
                mean, log_var = self.model.encode(self._seen(self._probe.unsqueeze(0)))
                latent_kl = collapse.kl_per_latent(mean, log_var)
                columns = [
                    elbo + self.offset,
                    kl,
                    mse,
                    self.model.sigma_sq,
                    self._kl_weight(),
                    collapse.collapsed_fraction(latent_kl, epsilon=0.01, delta=0.01),
                    collapse.active_units(mean),
                ]
            values = torch.stack([column.to(torch.float64) for column in columns], dim=1)
            row[self.alive, 1:] = values.cpu().numpy()
        self.history.append(row)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next epoch depends on, and the history, as arrays."""
        arrays = self._small_state()
        for name, tensor in self._tensors().items():
            arrays[name] = tensor.detach().cpu().numpy().copy()
        return arrays

    def _small_state(self) -> dict[str, np.ndarray]:
        """The state without parameters and moments."""
        arrays = {
            "epoch": np.array(self.epoch),
            "seconds": np.array(self.seconds),
            "alive": np.array(self.alive, dtype=np.int64),
            "diverged_at": self.diverged_at.copy(),
            "history": np.stack(self.history)
            if self.history
            else np.empty((0, len(self.members), len(HISTORY_COLUMNS))),
        }
        for seed, pair in self._generators.items():
            for stream, random in zip(("order", "noise"), pair, strict=True):
                arrays[f"generator/{seed}/{stream}"] = random.get_state().cpu().numpy()
        return arrays

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from a :meth:`state` of a trainer with the same arguments.

        Raises:
            ValueError: an array is missing, unknown, or of another shape or type, or it cannot
                be what it stands for; nothing is changed.
        """
        self._check_state(arrays)
        alive = arrays["alive"].tolist()
        self.epoch, self.seconds = int(arrays["epoch"]), float(arrays["seconds"])
        self.diverged_at = arrays["diverged_at"].copy()
        self.history = list(arrays["history"])
        for seed, pair in self._generators.items():
            for stream, random in zip(("order", "noise"), pair, strict=True):
                random.set_state(torch.from_numpy(arrays[f"generator/{seed}/{stream}"].copy()))
        self._set_up(alive)
        if alive:
            self._load_tensors({name: torch.from_numpy(arrays[name]) for name in self._layout})

    def _check_state(self, arrays: dict[str, np.ndarray]) -> None:
        alive = arrays.get("alive", np.empty(0))
        indices = range(len(self.members))
        if alive.ndim != 1 or alive.tolist() != [i for i in indices if i in alive.tolist()]:
            raise ValueError(f"the state's alive must be ascending indices, got {alive.tolist()}")
        wanted = {name: (array.shape, array.dtype) for name, array in self._small_state().items()}
        wanted["alive"] = (alive.shape, np.dtype(np.int64))
        records = arrays["history"].shape[:1] if "history" in arrays else ()
        wanted["history"] = ((*records, *wanted["history"][0][1:]), wanted["history"][1])
        if len(alive):
            float32 = np.dtype(np.float32)
            layout = {name: ((len(alive), *rest), float32) for name, rest in self._layout.items()}
            wanted |= layout
        if arrays.keys() != wanted.keys():
            different = sorted(arrays.keys() ^ wanted.keys())
            raise ValueError(f"the state has other arrays than this trainer: {different[:4]}")
        for name, array in arrays.items():
            if (array.shape, array.dtype) != wanted[name]:
                shape, dtype = wanted[name]
                raise ValueError(
                    f"the state's {name} must have shape {shape} and dtype {dtype}, "
                    f"got {array.shape} and {array.dtype}"
                )
            if name.startswith("generator/"):
                device = "cpu" if name.endswith("/order") else self.device
                try:
                    torch.Generator(device).set_state(torch.from_numpy(array.copy()))
                except RuntimeError as error:
                    raise ValueError(
                        f"the state's {name} is none of a generator: {error}"
                    ) from None

    # What follows keeps to a fixed set of tensors between two changes of the ensemble, and never
    # reads a value back, so that a CUDA graph can replay a step.

    def _set_up(self, alive: list[int]) -> None:
        """Model, optimiser and buffers for the members that run, in their initial state."""
        self.alive = alive
        members = [self.members[index] for index in alive]
        self._seeds = list(dict.fromkeys(member.seed for member in members))
        self._graph = None
        self._warm_up = _GRAPH_WARM_UP
        if not members:
            self.model, self._slices = None, []
            return
        self.model = self.build(members).to(self.device)
        self._parameters = dict(self.model.named_parameters())

        def column(values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(list(values), dtype=dtype, device=self.device)

        self._stream = column((self._seeds.index(m.seed) for m in members), torch.int64)
        self._beta = column(m.beta for m in members)
        self._anneal = column(max(m.anneal_epochs * self.steps_per_epoch, 1.0) for m in members)
        self._centred = column(float(m.centred) for m in members).view(-1, 1, 1)
        self._step = torch.full((), float(self.epoch * self.steps_per_epoch), device=self.device)
        self._rows = torch.zeros(
            len(self._seeds), self.batch_size, dtype=torch.int64, device=self.device
        )
        self._totals = torch.zeros(len(members), 3, dtype=torch.float64, device=self.device)
        # Adam knows one learning rate a group: a group is a run of members with equal rates, and
        # its tensors are views of theirs.
        self._slices, groups, start = [], [], 0
        for rate, run in groupby(member.learning_rate for member in members):
            part = slice(start, start + len(list(run)))
            start = part.stop
            views = {name: p.detach()[part] for name, p in self._parameters.items()}
            self._slices.append((part, views))
            groups.append({"params": list(views.values()), "lr": rate})
        self._optimiser = torch.optim.Adam(groups, fused=True)
        for view in (view for _, views in self._slices for view in views.values()):
            self._optimiser.state[view] = {
                "step": torch.full((), self._step.item(), device=self.device),
                "exp_avg": torch.zeros_like(view),
                "exp_avg_sq": torch.zeros_like(view),
            }

    def _tensors(self) -> dict[str, Tensor]:
        """Parameters and Adam's moments, each with a leading axis of members."""
        if not self._slices:
            return {}
        tensors = {f"parameter/{name}": p.detach() for name, p in self._parameters.items()}
        for moment in ("exp_avg", "exp_avg_sq"):
            for name in self._parameters:
                parts = [self._optimiser.state[views[name]][moment] for _, views in self._slices]
                tensors[f"{moment}/{name}"] = torch.cat(parts)
        return tensors

    def _load_tensors(self, tensors: dict[str, Tensor]) -> None:
        for part, views in self._slices:
            for name, view in views.items():
                view.copy_(tensors[f"parameter/{name}"][part])
                for moment in ("exp_avg", "exp_avg_sq"):
                    self._optimiser.state[view][moment].copy_(tensors[f"{moment}/{name}"][part])

    def _keep(self, places: list[int]) -> None:
        tensors = {name: tensor[places] for name, tensor in self._tensors().items()}
        totals = self._totals[places]
        self._set_up([self.alive[place] for place in places])
        if self.alive:
            self._load_tensors(tensors)
            self._totals.copy_(totals)

    def _kl_weight(self) -> Tensor:
        return self._beta * ((self._step + 1) / self._anneal).clamp(max=1.0)

    def _seen(self, data: Tensor) -> Tensor:
        """Data (E, B, n) that the members see, of those (1 or E, B, n) before any centring."""
        if self._mean is None:
            return data.expand(len(self.alive), -1, -1)
        return data - self._centred * self._mean

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Data (E, B, n) and standard normal noise (E, B, k), one draw for each seed."""
        data, noise = [], []
        latent_dim = self.model.latent_dim
        for rows, seed in zip(self._rows, self._seeds, strict=True):
            random = self._generators[seed][1]
            batch = self.images.index_select(0, rows)
            pixels = dequantise(batch, uniform_noise(tuple(batch.shape), generator=random))
            data.append(logit(pixels, alpha=self.alpha))
            noise.append(torch.randn(len(rows), latent_dim, generator=random, device=self.device))
        if len(data) == 1:
            shape = (len(self.alive), -1, -1)
            return self._seen(data[0].unsqueeze(0)), noise[0].expand(shape)
        return self._seen(torch.stack(data)[self._stream]), torch.stack(noise)[self._stream]

    def _train_step(self) -> None:
        data, noise = self._draw()
        dim = data.shape[-1]
        kl, squared_error = self.model.terms(data, noise)
        weighted = self._kl_weight().unsqueeze(-1) * kl
        losses = self.model.negative_elbo(weighted, squared_error, dim=dim).mean(1)
        losses.sum().backward()
        for part, views in self._slices:
            for name, view in views.items():
                view.grad = self._parameters[name].grad[part]
        self._optimiser.step()
        for parameter in self._parameters.values():
            parameter.grad = None
        with torch.no_grad():
            elbo = (weighted - kl).mean(1) - losses
            self._totals += torch.stack([elbo, kl.mean(1), squared_error.mean(1) / dim], dim=1)
            self._step += 1

    def _advance(self) -> None:
        """One step; on a GPU, after a few, the replay of a captured one."""
        if self.device.type != "cuda":
            self._train_step()
            return
        if self._graph is None and self._warm_up > 0:
            self._warm_up -= 1
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._train_step()
            torch.cuda.current_stream().wait_stream(side)
            return
        if self._graph is None:
            for group in self._optimiser.param_groups:
                # Adam asks for it while it is captured, and complains of it before.
                group["capturable"] = True
            self._graph = torch.cuda.CUDAGraph()
            for seed in self._seeds:
                self._graph.register_generator_state(self._generators[seed][1])
            with torch.cuda.graph(self._graph):
                self._train_step()
        self._graph.replay()


def train(
    trainer: Trainer,
    *,
    epochs: int,
    record_every: int = 1,
    after_epoch: Callable[[Trainer], object] | None = None,
    progress: Progress | None = None,
) -> None:
    """Run ``trainer`` up to ``epochs`` epochs in all, in place.

    Args:
        trainer: fresh, or in the state of an earlier epoch.
        epochs: total number, >= 1.
        record_every: add to the history after every so many epochs, and after the last.
        after_epoch: called after each epoch and its record, to write a checkpoint for instance.
        progress: called with the number of epochs done since its last call.

    Raises:
        ValueError: an argument outside its range.
    """
    checks.integer("epochs", epochs, low=1)
    checks.integer("record_every", record_every, low=1)
    while trainer.epoch < epochs and trainer.alive:
        trainer.run_epoch()
        if trainer.epoch % record_every == 0 or trainer.epoch == epochs or not trainer.alive:
            trainer.record()
        if after_epoch is not None:
            after_epoch(trainer)
        if progress is not None:
            progress(1)
