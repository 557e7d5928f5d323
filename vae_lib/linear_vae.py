"""The linear VAE in closed form (Lucas et al., 2019).

p(x|z) = N(Wz + mean, sigma_sq I), q(z|x) = N(V(x - mean), D) with D diagonal. With the data's
covariance S and M = W^T W + sigma_sq I, the ELBO per observation is, in nats,

    ELBO = -KL + reconstruction
    KL = 1/2 [tr D - log|D| + tr(V S V^T) - k]
    reconstruction = -1/(2 sigma_sq) [tr(W D W^T) + tr(W V S V^T W^T) - 2 tr(W V S) + tr S]
                     - n/2 log(2 pi sigma_sq)

and its maximum over the encoder is the likelihood less :func:`hadamard_gap`. Leading axes of W
(..., n, k), V (..., k, n), the diagonal of D (..., k) and sigma_sq (...) are batch axes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae_lib import checks, ppca


class Encoder(NamedTuple):
    """q(z|x) = N(V(x - mean), D): ``weights`` V (..., k, n), ``variances`` diag D (..., k)."""

    weights: Tensor
    variances: Tensor


class ElboTerms(NamedTuple):
    """The two parts of the ELBO, each (...), in nats: elbo = reconstruction - kl."""

    kl: Tensor
    reconstruction: Tensor

    @property
    def elbo(self) -> Tensor:
        """E_q log p(x|z) - KL(q(z|x) || p(z))."""
        return self.reconstruction - self.kl


def elbo_terms(
    weights: Tensor, encoder: Encoder, sigma_sq: float | Tensor, cov: Tensor
) -> ElboTerms:
    """KL and expected log p(x|z) of a linear VAE on data with covariance ``cov`` (n, n).

    Raises:
        ValueError: wrong shapes, NaN, ``sigma_sq`` or ``encoder.variances`` <= 0, or ``cov``
            not symmetric positive semi-definite.
    """
    checks.covariance("cov", cov)
    checks.tensor("weights", weights, len(cov), None)
    latent_dim = checks.latent_dim(weights.shape[-1], len(cov))
    checks.tensor("encoder.weights", encoder.weights, latent_dim, len(cov))
    checks.positive(
        "encoder.variances", checks.tensor("encoder.variances", encoder.variances, latent_dim)
    )
    return unchecked_elbo_terms(weights, encoder, checks.positive("sigma_sq", sigma_sq), cov)


def elbo(weights: Tensor, encoder: Encoder, sigma_sq: float | Tensor, cov: Tensor) -> Tensor:
    """The ELBO, (...), in nats. See :func:`elbo_terms` for the arguments and errors."""
    return elbo_terms(weights, encoder, sigma_sq, cov).elbo


def unchecked_elbo_terms(
    weights: Tensor, encoder: Encoder, sigma_sq: Tensor, cov: Tensor
) -> ElboTerms:
    """:func:`elbo_terms` without the checks, for inner loops.

    One product with ``cov``, O(k n^2), is shared by all terms; none depends on the number of
    observations.
    """
    dim = weights.shape[-2]
    variances = encoder.variances
    # S V^T rather than V S: its backward pass multiplies row-major matrices, ten times faster
    # for small k.
    encoded_cov = cov @ encoder.weights.mT
    latent_cov = encoder.weights @ encoded_cov  # V S V^T, covariance of the posterior means
    gram = weights.mT @ weights
    kl = 0.5 * (
        (variances - variances.log() - 1).sum(-1) + latent_cov.diagonal(dim1=-2, dim2=-1).sum(-1)
    )
    squared_error = (
        (gram.diagonal(dim1=-2, dim2=-1) * variances).sum(-1)
        + (gram * latent_cov).sum((-2, -1))
        - 2 * (weights * encoded_cov).sum((-2, -1))
        + cov.trace()
    )
    reconstruction = -0.5 * (dim * (ppca.LOG_2PI + sigma_sq.log()) + squared_error / sigma_sq)
    return ElboTerms(kl, reconstruction)


def best_encoder(weights: Tensor, sigma_sq: float | Tensor) -> Encoder:
    """The encoder that maximises the ELBO for given W and noise, whatever the data:

    V* = M^-1 W^T (the posterior's mean) and d*_i = sigma_sq / M_ii.

    Raises:
        ValueError: ``weights`` is not a finite (..., n, k) tensor, or ``sigma_sq`` <= 0.
    """
    checks.tensor("weights", weights, None, None)
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    inner = ppca.inner(weights, sigma_sq)
    variances = sigma_sq[..., None] / inner.diagonal(dim1=-2, dim2=-1)
    return Encoder(torch.linalg.solve(inner, weights.mT), variances)


def hadamard_gap(weights: Tensor, sigma_sq: float | Tensor) -> Tensor:
    """Likelihood less the best ELBO, 1/2 [sum_i log M_ii - log|M|] >= 0, (...), in nats.

    By Hadamard's inequality it is 0 exactly where the columns of W are orthogonal.

    Raises:
        ValueError: as :func:`best_encoder`.
    """
    checks.tensor("weights", weights, None, None)
    return unchecked_hadamard_gap(weights, checks.positive("sigma_sq", sigma_sq))


def unchecked_hadamard_gap(weights: Tensor, sigma_sq: Tensor) -> Tensor:
    """:func:`hadamard_gap` without the checks.

    M is scaled to unit diagonal first, so that the two terms do not cancel: the gap is then
    minus half the log determinant of a correlation matrix.
    """
    inner = ppca.inner(weights, sigma_sq)
    scale = inner.diagonal(dim1=-2, dim2=-1).rsqrt()
    return -0.5 * torch.logdet(scale[..., :, None] * inner * scale[..., None, :])


def profiled_elbo(weights: Tensor, sigma_sq: float | Tensor, cov: Tensor) -> Tensor:
    """The ELBO maximised over the encoder: likelihood less gap, (...), in nats.

    Raises:
        ValueError: as :func:`vae_lib.ppca.log_likelihood`.
    """
    gap = hadamard_gap(weights, sigma_sq)
    return ppca.log_likelihood(weights, sigma_sq, cov) - gap


def unchecked_profiled_elbo(weights: Tensor, sigma_sq: Tensor, cov: Tensor) -> Tensor:
    """:func:`profiled_elbo` without the checks, for inner loops."""
    gap = unchecked_hadamard_gap(weights, sigma_sq)
    return ppca.unchecked_log_likelihood(weights, sigma_sq, cov) - gap


def monte_carlo_elbo(
    weights: Tensor,
    encoder: Encoder,
    sigma_sq: float | Tensor,
    data: Tensor,
    *,
    generator: torch.Generator,
) -> Tensor:
    """One unbiased draw of log p(x, z) - log q(z|x) per row of ``data`` (N, n), shape (N,).

    ``data`` are centred. The average over rows estimates the ELBO and their spread its error;
    nothing here uses the closed form, so that it can serve to check it.

    Raises:
        ValueError: ``data`` is not finite float64 with n columns, or ``sigma_sq`` <= 0.
    """
    checks.tensor("data", data, None, weights.shape[-2])
    sigma_sq = checks.positive("sigma_sq", sigma_sq)
    mean = data @ encoder.weights.mT
    noise = torch.randn(mean.shape, dtype=mean.dtype, generator=generator)
    latents = mean + encoder.variances.sqrt() * noise
    log_q = -0.5 * (noise.square() + ppca.LOG_2PI + encoder.variances.log()).sum(-1)
    log_prior = -0.5 * (latents.square() + ppca.LOG_2PI).sum(-1)
    squared_error = (data - latents @ weights.mT).square().sum(-1)
    log_lik = -0.5 * (
        weights.shape[-2] * (ppca.LOG_2PI + sigma_sq.log()) + squared_error / sigma_sq
    )
    return log_lik + log_prior - log_q


class LinearVAE(nn.Module):
    """A linear VAE with free W, V, D and, unless ``learn_sigma_sq`` is False, noise variance.

    The data are taken as centred: the optimal mean is the data's own.

    Args:
        dim: n.
        latent_dim: k, 1 <= k < n.
        sigma_sq: initial noise variance, > 0.
        learn_sigma_sq: whether ``log_sigma_sq`` is a parameter or stays as it is.
        scale: standard deviation of the initial entries of W and V, which are independent.
        generator: source of the initial values.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(
        self,
        dim: int,
        latent_dim: int,
        *,
        generator: torch.Generator,
        sigma_sq: float = 1.0,
        learn_sigma_sq: bool = True,
        scale: float = 1e-2,
    ) -> None:
        super().__init__()
        dim = checks.integer("dim", dim, low=2)
        latent_dim = checks.latent_dim(latent_dim, dim)
        checks.positive("scale", scale)
        log_sigma_sq = checks.positive("sigma_sq", sigma_sq).log()

        def draw(*shape: int) -> nn.Parameter:
            values = torch.randn(*shape, dtype=torch.float64, generator=generator)
            return nn.Parameter(scale * values)

        self.weights = draw(dim, latent_dim)
        self.encoder_weights = draw(latent_dim, dim)
        self.log_variances = nn.Parameter(torch.zeros(latent_dim, dtype=torch.float64))
        self.log_sigma_sq = nn.Parameter(log_sigma_sq, requires_grad=learn_sigma_sq)

    @property
    def sigma_sq(self) -> Tensor:
        """Noise variance, ()."""
        return self.log_sigma_sq.exp()

    @property
    def encoder(self) -> Encoder:
        """The present encoder."""
        return Encoder(self.encoder_weights, self.log_variances.exp())

    def elbo(self, cov: Tensor) -> Tensor:
        """Exact ELBO, (), in nats, on data with covariance ``cov`` (n, n)."""
        return unchecked_elbo_terms(self.weights, self.encoder, self.sigma_sq, cov).elbo

    def sampled_elbo(self, data: Tensor, *, generator: torch.Generator) -> Tensor:
        """Reparametrised estimate of the ELBO, (), in nats, on a batch of centred rows.

        The KL is exact and E_q log p(x|z) takes one draw of z for each row, as deep VAEs do.
        """
        variances = self.encoder.variances
        mean = data @ self.encoder_weights.mT
        noise = torch.randn(mean.shape, dtype=mean.dtype, generator=generator)
        squared_error = (
            (data - (mean + variances.sqrt() * noise) @ self.weights.mT).square().sum(-1)
        )
        kl = 0.5 * (variances - self.log_variances - 1 + mean.square()).sum(-1)
        log_norm = data.shape[-1] * (math.log(2 * math.pi) + self.log_sigma_sq)
        return (-0.5 * (log_norm + squared_error / self.sigma_sq) - kl).mean()
