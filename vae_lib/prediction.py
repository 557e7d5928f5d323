"""Table 1 as linear theory predicts it: from the eigenvalues of the data, without training.

At fixed sigma_sq the best linear VAE keeps A, the leading min(k, #{lambda_j > sigma_sq})
components, and by Theorem 3 it has no other local maximum. All columns follow in closed form:

    KL = 1/2 sum_A log(lambda_j / sigma_sq)
    s  = [|A| sigma_sq + sum of the other eigenvalues] / n          (the tuned noise variance)

and ELBO and tuned ELBO by the identities of :mod:`vae_lib.evaluation`. Where sigma_sq is learned
it ends at pPCA's estimate, the mean of the discarded eigenvalues, wherever it started.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_lib import checks, ppca
from vae_lib.rows import identity
from vae_lib.spectrum import Spectrum


@dataclass(frozen=True)
class Prediction:
    """What a linear VAE at its global optimum has for the columns of the table, in nats.

    Attributes:
        sigma_sq: noise variance, fixed or learned.
        elbo: of pixel values if J was given; it equals the log-likelihood.
        tuned_elbo: with the noise variance ``tuned_sigma_sq``, same encoder and decoder.
        tuned_sigma_sq: mean squared reconstruction error per dimension.
        kl: of q(z | x) to the prior.
        collapse_percent: 100 (1 - |A| / k).
        active: |A|, the number of components kept.
    """

    sigma_sq: float
    elbo: float
    tuned_elbo: float
    tuned_sigma_sq: float
    kl: float
    collapse_percent: float
    active: int


def predict(
    eigenvalues: Tensor, *, k: int, sigma_sq: float | None, log_abs_det: float = 0.0
) -> Prediction:
    """The table's columns for a linear VAE on data with these eigenvalues.

    Args:
        eigenvalues: (n,), descending, float64, of the preprocessed data's covariance.
        k: latent dimension, 1 <= k < n.
        sigma_sq: fixed noise variance, > 0; None where it is learned.
        log_abs_det: J of the preprocessing, added to both ELBOs.

    Raises:
        ValueError: an argument outside its range, or fewer than k eigenvalues above zero where
            the variance is learned.
    """
    checks.eigenvalues("eigenvalues", eigenvalues)
    dim = len(eigenvalues)
    k = checks.latent_dim(k, dim)
    if sigma_sq is None:
        sigma_sq = ppca.mle_sigma_sq(eigenvalues, k).item()
    variance = checks.positive("sigma_sq", sigma_sq).item()
    kept = eigenvalues[:k][eigenvalues[:k] > variance]
    lost = eigenvalues[len(kept) :].sum().item()
    tuned_sigma_sq = (len(kept) * variance + lost) / dim
    kl = 0.5 * torch.log(kept / variance).sum().item()
    elbo, tuned_elbo = identity(
        kl=kl,
        sigma_sq=variance,
        tuned_sigma_sq=tuned_sigma_sq,
        log_abs_det=log_abs_det,
        dim=dim,
    )
    return Prediction(
        sigma_sq=variance,
        elbo=elbo,
        tuned_elbo=tuned_elbo,
        tuned_sigma_sq=tuned_sigma_sq,
        kl=kl,
        collapse_percent=100 * (1 - len(kept) / k),
        active=len(kept),
    )


def elbo_on(
    fitted: Spectrum, data: Tensor, *, k: int, sigma_sq: float, dim: int
) -> tuple[float, float]:
    """Mean ELBO of ``data`` under a linear VAE at its optimum on other data, and standard error.

    It is the log-likelihood, in nats of ``data``: no J is added. On the data of ``fitted`` itself
    it is the maximum. In expectation that maximum lies above what more data would give, and the
    value on new data below.

    Args:
        fitted: spectrum of the data that the linear VAE was fitted to.
        data: (B >= 2, m), float64, in the coordinates of ``fitted``.
        k: latent dimension, 1 <= k <= m.
        sigma_sq: fixed noise variance, > 0.
        dim: n, the dimension of the data: m, or more where these are coordinates of a subspace.

    Raises:
        ValueError: an argument outside its range.
    """
    checks.matrix("data", data, None, fitted.dim)
    if len(data) < 2:
        raise ValueError(f"data must have at least 2 rows, for a standard error, got {len(data)}")
    checks.integer("dim", dim, low=fitted.dim)
    checks.integer("k", k, low=1, high=fitted.dim)
    variance = checks.positive("sigma_sq", sigma_sq).item()
    kept = min(k, fitted.count_above(variance))
    eigenvalues = fitted.eigenvalues[:kept]
    centred = data - fitted.mean
    along = (centred @ fitted.eigenvectors[:, :kept]).square()
    across = centred.square().sum(1) - along.sum(1)
    log_det = dim * math.log(2 * math.pi * variance) + (eigenvalues / variance).log().sum()
    values = -0.5 * (log_det + (along / eigenvalues).sum(1) + across / variance)
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()
