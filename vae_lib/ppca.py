"""Probabilistic PCA in closed form (Tipping and Bishop, 1999).

The model is p(z) = N(0, I_k), p(x|z) = N(Wz + mean, sigma_sq I_n), so p(x) = N(mean, C) with
C = W W^T + sigma_sq I and M = W^T W + sigma_sq I. Every likelihood is per observation, in nats,
at the optimal mean (the data's). Leading axes of ``weights`` and ``sigma_sq`` are batch axes.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lib import checks
from vae_lib.spectrum import Spectrum

LOG_2PI = math.log(2 * math.pi)


class PPCA(NamedTuple):
    """A pPCA model: ``weights`` W (n, k), ``sigma_sq`` () and ``mean`` (n,), all float64."""

    weights: Tensor
    sigma_sq: Tensor
    mean: Tensor


class Posterior(NamedTuple):
    """p(z|x) = N(mean, covariance): ``mean`` (N, k), one ``covariance`` (k, k) for all x."""

    mean: Tensor
    covariance: Tensor


def inner(weights: Tensor, sigma_sq: Tensor) -> Tensor:
    """M = W^T W + sigma_sq I, of shape (..., k, k)."""
    eye = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    return weights.mT @ weights + sigma_sq[..., None, None] * eye


def log_likelihood(weights: Tensor, sigma_sq: float | Tensor, cov: Tensor) -> Tensor:
    """Expected log marginal likelihood -1/2 [n log 2 pi + log|C| + tr(C^-1 S)], shape (...).

    Args:
        weights: W, (..., n, k).
        sigma_sq: noise variance, broadcastable to (...).
        cov: the data's covariance S, (n, n).

    Raises:
        ValueError: wrong shapes, NaN, ``sigma_sq`` <= 0, or ``cov`` not a covariance.
    """
    return unchecked_log_likelihood(*_checked(weights, sigma_sq, cov))


def unchecked_log_likelihood(weights: Tensor, sigma_sq: Tensor, cov: Tensor) -> Tensor:
    """:func:`log_likelihood` without the checks, for inner loops. It costs O(n^2 k).

    By the matrix inversion lemma only the k x k matrix M is factorised:
    log|C| = (n - k) log sigma_sq + log|M| and C^-1 = (I - W M^-1 W^T) / sigma_sq.
    """
    dim, latent_dim = weights.shape[-2:]
    factor = torch.linalg.cholesky(inner(weights, sigma_sq))
    log_det_inner = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    projected = torch.linalg.solve_triangular(factor, weights.mT, upper=False)
    explained = ((projected @ cov) * projected).sum((-2, -1))
    log_det = (dim - latent_dim) * sigma_sq.log() + log_det_inner
    return -0.5 * (dim * LOG_2PI + log_det + (cov.trace() - explained) / sigma_sq)


def log_likelihood_gradient(weights: Tensor, sigma_sq: float | Tensor, cov: Tensor) -> Tensor:
    """Gradient in W, C^-1 S C^-1 W - C^-1 W, of shape (..., n, k).

    Raises:
        ValueError: as :func:`log_likelihood`.
    """
    weights, sigma_sq, cov = _checked(weights, sigma_sq, cov)
    # C^-1 W = W M^-1, and M is symmetric.
    scaled = torch.linalg.solve(inner(weights, sigma_sq), weights.mT).mT
    residual = cov @ scaled - weights
    return (residual - scaled @ (weights.mT @ residual)) / sigma_sq[..., None, None]


def log_prob(model: PPCA, data: Tensor) -> Tensor:
    """log p(x) of each row of ``data`` (N, n), in nats, of shape (N,).

    Raises:
        ValueError: ``data`` is not a finite float64 matrix with n columns.
    """
    weights, sigma_sq, mean = model
    checks.matrix("data", data, None, len(mean))
    centred = data - mean
    factor = torch.linalg.cholesky(inner(weights, sigma_sq))
    projected = torch.linalg.solve_triangular(factor, weights.T @ centred.T, upper=False)
    distance = (centred.square().sum(1) - projected.square().sum(0)) / sigma_sq
    dim, latent_dim = weights.shape
    log_det = (dim - latent_dim) * sigma_sq.log() + 2 * factor.diagonal().log().sum()
    return -0.5 * (dim * LOG_2PI + log_det + distance)


def posterior(model: PPCA, data: Tensor) -> Posterior:
    """p(z|x) = N(M^-1 W^T (x - mean), sigma_sq M^-1) for each row of ``data`` (N, n).

    Raises:
        ValueError: ``data`` is not a finite float64 matrix with n columns.
    """
    weights, sigma_sq, mean = model
    checks.matrix("data", data, None, len(mean))
    precision = inner(weights, sigma_sq)
    latent_mean = torch.linalg.solve(precision, weights.T @ (data - mean).T).T
    return Posterior(latent_mean, sigma_sq * torch.linalg.inv(precision))


def sample(model: PPCA, num_samples: int, *, generator: torch.Generator) -> Tensor:
    """Draw (num_samples, n) observations from the model.

    Raises:
        ValueError: ``num_samples`` < 1.
    """
    weights, sigma_sq, mean = model
    checks.integer("num_samples", num_samples, low=1)
    dim, latent_dim = weights.shape
    latents = torch.randn(num_samples, latent_dim, dtype=weights.dtype, generator=generator)
    noise = torch.randn(num_samples, dim, dtype=weights.dtype, generator=generator)
    return mean + latents @ weights.T + sigma_sq.sqrt() * noise


def mle_sigma_sq(eigenvalues: Tensor, k: int) -> Tensor:
    """Maximum likelihood noise variance: the mean of the n - k discarded eigenvalues.

    Args:
        eigenvalues: (n,), descending.
        k: latent dimension, 1 <= k < n.

    Raises:
        ValueError: bad arguments, or all discarded eigenvalues are 0, so that the likelihood
            has no maximum (it grows without bound as sigma_sq falls to 0).
    """
    checks.eigenvalues("eigenvalues", eigenvalues)
    k = checks.latent_dim(k, len(eigenvalues))
    sigma_sq = eigenvalues[k:].mean()
    if sigma_sq <= 0:
        rank = int((eigenvalues > 0).sum())
        raise ValueError(f"k must be below the data's rank {rank}, got {k}: sigma_sq would be 0")
    return sigma_sq


def mle(spectrum: Spectrum, k: int, *, rotation: Tensor | None = None) -> PPCA:
    """Maximum likelihood estimate W = U_k (Lambda_k - sigma_sq I)^(1/2) R.

    Args:
        spectrum: of the data.
        k: latent dimension, 1 <= k < n.
        rotation: R, any orthogonal (k, k) matrix; the identity where it is not given.

    Raises:
        ValueError: as :func:`mle_sigma_sq`, or ``rotation`` is not orthogonal.
    """
    sigma_sq = mle_sigma_sq(spectrum.eigenvalues, k)
    return mle_at(spectrum, k, sigma_sq, rotation=rotation)


def mle_at(
    spectrum: Spectrum, k: int, sigma_sq: float | Tensor, *, rotation: Tensor | None = None
) -> PPCA:
    """The best W at a fixed ``sigma_sq``: components with eigenvalue <= sigma_sq collapse.

    Raises:
        ValueError: ``sigma_sq`` <= 0, or k outside [1, n - 1].
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    k = checks.latent_dim(k, spectrum.dim)
    active = range(min(k, spectrum.count_above(sigma_sq)))
    weights = stationary_weights(spectrum, tuple(active), k, sigma_sq)
    if rotation is not None:
        weights = weights @ checks.orthogonal("rotation", rotation, k)
    return PPCA(weights, sigma_sq, spectrum.mean)


def max_log_likelihood(
    eigenvalues: Tensor, k: int, sigma_sq: float | Tensor | None = None
) -> Tensor:
    """The likelihood's maximum over W, at ``sigma_sq`` or, where it is None, over both.

    Raises:
        ValueError: as :func:`mle_sigma_sq`, or ``sigma_sq`` <= 0.
    """
    sigma_sq = (
        mle_sigma_sq(eigenvalues, k) if sigma_sq is None else checks.positive("sigma_sq", sigma_sq)
    )
    k = checks.latent_dim(k, len(eigenvalues))
    num_active = min(k, int((eigenvalues > sigma_sq).sum()))
    return stationary_log_likelihood(eigenvalues, tuple(range(num_active)), sigma_sq)


def stationary_sets(eigenvalues: Tensor, k: int, sigma_sq: float) -> list[tuple[int, ...]]:
    """Every stationary point of the likelihood at a fixed noise, as its set of active components.

    A point is stationary exactly if each non-zero singular direction of W is an eigenvector u_j
    with eigenvalue above ``sigma_sq``, at length (lambda_j - sigma_sq)^(1/2); the other columns
    are zero, up to a rotation from the right. So the points are the sets of at most k such j.

    Returns:
        Tuples of 0-based indices, by size and then in lexicographic order; () is W = 0.

    Raises:
        ValueError: bad arguments.
    """
    checks.eigenvalues("eigenvalues", eigenvalues)
    k = checks.latent_dim(k, len(eigenvalues))
    checks.positive("sigma_sq", sigma_sq)
    usable = [j for j, value in enumerate(eigenvalues.tolist()) if value > sigma_sq]
    return [subset for size in range(k + 1) for subset in combinations(usable, size)]


def stationary_log_likelihood(
    eigenvalues: Tensor, active: tuple[int, ...], sigma_sq: float | Tensor
) -> Tensor:
    """Likelihood of the stationary point with the given active set A, q = |A|, in nats:

    -1/2 [n log 2 pi + sum_A log lambda_j + (n - q) log sigma_sq
          + q + sum_(not A) lambda_j / sigma_sq]

    Raises:
        ValueError: bad arguments, or an active eigenvalue <= ``sigma_sq``.
    """
    checks.eigenvalues("eigenvalues", eigenvalues)
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    kept = active_mask(eigenvalues, active, sigma_sq)
    dim, num_active = len(eigenvalues), len(active)
    log_det = eigenvalues[kept].log().sum() + (dim - num_active) * sigma_sq.log()
    distance = num_active + eigenvalues[~kept].sum() / sigma_sq
    return -0.5 * (dim * LOG_2PI + log_det + distance)


def stationary_weights(
    spectrum: Spectrum, active: tuple[int, ...], k: int, sigma_sq: float | Tensor
) -> Tensor:
    """W (n, k) whose first columns are the active components and whose others are zero.

    Raises:
        ValueError: more than k active components, or one with eigenvalue <= ``sigma_sq``.
    """
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    k = checks.latent_dim(k, spectrum.dim)
    if len(active) > k:
        raise ValueError(f"active must hold at most k = {k} components, got {len(active)}")
    active_mask(spectrum.eigenvalues, active, sigma_sq)
    chosen = list(active)
    weights = spectrum.eigenvectors.new_zeros(spectrum.dim, k)
    lengths = (spectrum.eigenvalues[chosen] - sigma_sq).sqrt()
    weights[:, : len(chosen)] = spectrum.eigenvectors[:, chosen] * lengths
    return weights


def active_mask(eigenvalues: Tensor, active: tuple[int, ...], sigma_sq: Tensor) -> Tensor:
    """(n,) mask of an active set.

    Raises:
        ValueError: a component out of range, named twice, or with eigenvalue <= ``sigma_sq``.
    """
    for j in active:
        checks.integer("active", j, low=0, high=len(eigenvalues) - 1)
    if len(set(active)) != len(active):
        raise ValueError(f"active must hold distinct components, got {active}")
    mask = torch.zeros(len(eigenvalues), dtype=torch.bool)
    mask[list(active)] = True
    if bool((eigenvalues[mask] <= sigma_sq).any()):
        raise ValueError(
            f"active must hold eigenvalues above sigma_sq = {sigma_sq.item()}, "
            f"got {eigenvalues[mask].tolist()}"
        )
    return mask


def _checked(
    weights: Tensor, sigma_sq: float | Tensor, cov: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    checks.covariance("cov", cov)
    checks.tensor("weights", weights, len(cov), None)
    checks.latent_dim(weights.shape[-1], len(cov))
    return weights, checks.positive("sigma_sq", sigma_sq), cov
