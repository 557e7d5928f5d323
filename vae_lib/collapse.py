"""Measures of posterior collapse, of the encoder's means and log-variances."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_lib import checks

ACTIVE_VARIANCE = 0.01  # Burda, Grosse and Salakhutdinov (2016)


def kl_per_latent(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(q(z_i | x) || N(0, 1)) in nats, of the shape of ``mean`` and ``log_var``."""
    # Near a variance of 1 the difference of exp - 1 and its argument rounds to below zero.
    return 0.5 * (mean.square() + (torch.expm1(log_var) - log_var).clamp(min=0))


def collapsed_fraction(kl: Tensor, *, epsilon: float | Tensor, delta: float) -> Tensor:
    """Share of latents that are (epsilon, delta)-collapsed (Lucas et al. 2019, Definition 1).

    Latent i is collapsed if P_x[KL(q(z_i | x) || p(z_i)) < epsilon] >= 1 - delta.

    Args:
        kl: (..., N, k), in nats, see :func:`kl_per_latent`.
        epsilon: nats, in [0, 1]; a number, or several (M,).
        delta: in [0, 1].

    Returns:
        (...) in [0, 1]; (..., M) for several epsilons.

    Raises:
        ValueError: ``epsilon`` or ``delta`` is outside [0, 1].
    """
    return fraction_below(collapse_epsilon(kl, delta=delta), epsilon)


def collapse_epsilon(kl: Tensor, *, delta: float) -> Tensor:
    """For each latent the epsilon above which it is (epsilon, delta)-collapsed; (..., k), nats.

    It is the ceil((1 - delta) N)-th smallest of the N divergences, so that one number a latent
    answers for every epsilon.

    Raises:
        ValueError: ``delta`` is outside [0, 1].
    """
    checks.number("delta", delta, low=0.0, high=1.0)
    num_images = kl.shape[-2]
    # The small number undoes rounding: 0.9 * 10 must count as 9, whichever way it falls.
    needed = math.ceil((1 - delta) * num_images - 1e-9 * num_images)
    if needed == 0:  # nothing is asked for: even epsilon = 0 will do
        return torch.full_like(kl[..., 0, :], -math.inf)
    # A latent at a time: kthvalue copies what it sees, and its indices take as much again.
    return torch.stack([one.kthvalue(needed).values for one in kl.unbind(-1)], dim=-1)


def fraction_below(thresholds: Tensor, epsilon: float | Tensor) -> Tensor:
    """Share of latents whose :func:`collapse_epsilon` (..., k) is below ``epsilon``.

    Raises:
        ValueError: ``epsilon`` is outside [0, 1].
    """
    epsilon = torch.as_tensor(epsilon, dtype=thresholds.dtype, device=thresholds.device)
    if not bool(((epsilon >= 0) & (epsilon <= 1)).all()):
        raise ValueError(f"epsilon must be in [0, 1], got {epsilon.tolist()}")
    below = thresholds.unsqueeze(-1) < epsilon.reshape(-1)
    shares = below.to(torch.float64).mean(-2)
    return shares if epsilon.ndim else shares.squeeze(-1)


def active_units(mean: Tensor, *, threshold: float = ACTIVE_VARIANCE) -> Tensor:
    """Number (...) of latents whose mean (..., N, k) varies by more than ``threshold``.

    Var_x(E[z_i | x]) > 0.01 (Burda, Grosse and Salakhutdinov 2016); the variance divides by N.
    """
    return (mean.var(-2, correction=0) > threshold).sum(-1)
