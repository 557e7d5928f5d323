"""Gradient ascent for linear VAEs and pPCA, on exact objectives and on sampled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lib import checks
from vae_lib.linear_vae import LinearVAE

Progress = Callable[[int], object]
Observe = Callable[[int], object]


class History(NamedTuple):
    """``steps`` (T,), counted from 0, and the value before each: ``values`` (T, ...), in nats."""

    steps: Tensor
    values: Tensor


class Snapshots:
    """Copies of tensors at chosen steps of a training: give it as ``observe``.

    Attributes:
        taken: for each tensor its copies so far, (T, ...).
    """

    def __init__(self, *tensors: Tensor, steps: Iterable[int]) -> None:
        self._tensors, self._steps = tensors, frozenset(steps)
        self._copies: list[list[Tensor]] = [[] for _ in tensors]

    def __call__(self, step: int) -> None:
        if step in self._steps:
            for tensor, copies in zip(self._tensors, self._copies, strict=True):
                copies.append(tensor.detach().clone())

    @property
    def taken(self) -> tuple[Tensor, ...]:
        return tuple(torch.stack(copies) for copies in self._copies)


def maximise(
    objective: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    *,
    steps: int,
    learning_rate: float,
    decay: bool = False,
    record_every: int = 1,
    evaluate: Callable[[], Tensor] | None = None,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> History:
    """Ascend ``objective`` with Adam (Kingma and Ba, 2015), in place.

    An objective with batch axes is summed. Adam scales each entry by itself, so that the members
    of a batch do not influence each other.

    Args:
        objective: returns a tensor (...) of values in nats.
        parameters: leaf tensors; those that need no gradient are left alone.
        steps: number of steps, >= 1.
        learning_rate: Adam's, > 0.
        decay: lower the rate to zero along half a cosine over the run.
        record_every: keep the value of every so many steps, and of the state at the end.
        evaluate: what to record; the objective itself where it is not given.
        observe: called with the number of each step before it is taken, and with ``steps`` in
            the end.
        progress: called with the number of steps done since its last call.

    Raises:
        ValueError: an argument outside its range.
        FloatingPointError: the objective became NaN or infinite; the message names the step.
    """
    checks.integer("steps", steps, low=1)
    checks.integer("record_every", record_every, low=1)
    checks.positive("learning_rate", learning_rate)
    free = [parameter for parameter in parameters if parameter.requires_grad]
    optimiser = torch.optim.Adam(free, lr=learning_rate, maximize=True, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) if decay else None
    recorded_steps: list[int] = []
    recorded_values: list[Tensor] = []
    for step in range(steps):
        if observe is not None:
            observe(step)
        optimiser.zero_grad()
        value = objective()
        if step % record_every == 0:
            recorded_steps.append(step)
            recorded_values.append(_recorded(value, evaluate, step))
            if progress is not None:
                progress(step - recorded_steps[-2] if step else 0)
        value.sum().backward()
        optimiser.step()
        if schedule is not None:
            schedule.step()
    if observe is not None:
        observe(steps)
    last = _recorded(None, evaluate or objective, steps)
    if progress is not None:
        progress(steps - recorded_steps[-1])
    return History(torch.tensor([*recorded_steps, steps]), torch.stack([*recorded_values, last]))


def train_analytic(
    model: LinearVAE,
    cov: Tensor,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    decay: bool = False,
    record_every: int = 1,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> History:
    """Train on the exact ELBO of data with covariance ``cov`` (n, n), in place.

    The covariance is all that the ELBO needs of the data, so that a step costs the same for any
    number of observations. Steps are taken in the model's own precision: float64, or float32
    after ``model.float()``, which is about twice as fast.

    Raises:
        ValueError: ``cov`` is no covariance of the model's dimension, or as :func:`maximise`.
    """
    checks.covariance("cov", cov)
    checks.tensor("cov", cov, model.weights.shape[0], model.weights.shape[0])
    cov = cov.to(model.weights.dtype)
    return maximise(
        lambda: model.elbo(cov),
        model.parameters(),
        steps=steps,
        learning_rate=learning_rate,
        decay=decay,
        record_every=record_every,
        observe=observe,
        progress=progress,
    )


def train_stochastic(
    model: LinearVAE,
    data: Tensor,
    *,
    steps: int,
    batch_size: int,
    generator: torch.Generator,
    learning_rate: float = 1e-3,
    decay: bool = False,
    record_every: int = 1,
    progress: Progress | None = None,
) -> History:
    """Train on sampled ELBOs of random batches of centred ``data`` (N, n), in place.

    The history holds the exact ELBO, not the noisy samples that drive the training.

    Raises:
        ValueError: ``data`` has another dimension, ``batch_size`` is outside [1, N], or as
            :func:`maximise`.
    """
    checks.matrix("data", data, None, model.weights.shape[0])
    checks.integer("batch_size", batch_size, low=1, high=len(data))
    cov = (data.T @ data / len(data)).to(model.weights.dtype)
    data = data.to(model.weights.dtype)

    def objective() -> Tensor:
        rows = torch.randint(len(data), (batch_size,), generator=generator)
        return model.sampled_elbo(data[rows], generator=generator)

    return maximise(
        objective,
        model.parameters(),
        steps=steps,
        learning_rate=learning_rate,
        decay=decay,
        record_every=record_every,
        evaluate=lambda: model.elbo(cov),
        progress=progress,
    )


def _recorded(value: Tensor | None, evaluate: Callable[[], Tensor] | None, step: int) -> Tensor:
    with torch.no_grad():
        value = (value if evaluate is None else evaluate()).detach().clone()
    if not bool(torch.isfinite(value).all()):
        raise FloatingPointError(
            f"the objective is no longer finite at step {step}; a smaller learning_rate may help"
        )
    return value
