"""What is measured of a trained VAE: ELBO, tuned ELBO, collapse and importance-weighted bound.

With s the mean squared reconstruction error per dimension and J the mean log-determinant of the
preprocessing (:mod:`vae_lib.transforms`),

    ELBO       = -KL - (n/2) [log(2 pi sigma_sq) + s / sigma_sq] + J
    tuned ELBO = -KL - (n/2) [log(2 pi s) + 1] + J

in nats, of pixel values in [0, 256). The second is the ELBO of the same encoder and decoder with
the noise variance that suits them best, which is s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_lib import checks, collapse
from vae_lib.training import generator
from vae_lib.transforms import block_rows, dequantise, log_abs_det, logit, uniform_noise
from vae_lib.vae import LOG_2PI, GaussianVAE

EVALUATION_SEED = 2**31 + 1  # its streams have names of their own, apart from training's
_BLOCK_ROWS = 1000


@dataclass(frozen=True)
class Measures:
    """Measures of one model on a set of images, all float64; nats where nothing else is said.

    Attributes:
        elbo: mean over images, one draw of the dequantisation noise and of z each.
        elbo_se: its standard error over the images.
        tuned_elbo: the same with the noise variance ``tuned_sigma_sq``.
        tuned_sigma_sq: mean squared reconstruction error per dimension.
        sigma_sq: the model's own noise variance.
        kl: mean KL of q(z | x) to the prior.
        log_abs_det: J on these images.
        collapse: share of (0.01, 0.01)-collapsed latents.
        active_units: number of latents whose mean varies by more than 0.01.
        kl_per_latent: (k,), means over the images.
        mean_variance: (k,), Var_x(E[z_i | x]).
        collapse_epsilon: (k,), the epsilon above which a latent is collapsed at delta = 0.01.
    """

    elbo: float
    elbo_se: float
    tuned_elbo: float
    tuned_sigma_sq: float
    sigma_sq: float
    kl: float
    log_abs_det: float
    collapse: float
    active_units: int
    kl_per_latent: Tensor
    mean_variance: Tensor
    collapse_epsilon: Tensor


def evaluate(
    model: GaussianVAE,
    images: Tensor,
    *,
    alpha: float,
    shift: Tensor | None = None,
    seed: int = EVALUATION_SEED,
) -> Measures:
    """Measure a single model (E = 1) on ``images`` (N, n) of bytes, in float64.

    Args:
        model: a :meth:`GaussianVAE.select`-ed member.
        images: uint8; their order decides which noise they get.
        alpha: of the logit.
        shift: (n,), subtracted from the data of a model trained on centred ones.
        seed: of the noise; models measured with one seed see the same.

    Raises:
        ValueError: ``model`` holds several members, or ``images`` is not of dtype uint8.
    """
    _single(model)
    device = model.log_sigma_sq.device
    random = generator(seed, "evaluation", device)
    dim = images.shape[1]
    # Of all that is of size N x k only the divergences are kept: 0.8 GB for all of CelebA.
    kl = torch.empty(len(images), model.latent_dim, dtype=torch.float64, device=device)
    errors, log_dets = torch.empty(2, len(images), dtype=torch.float64, device=device)
    spread, start = _Spread(), 0
    for block in images.split(block_rows(dim, at_most=_BLOCK_ROWS)):
        part = slice(start, start := start + len(block))
        mean, kl[part], errors[part], log_dets[part] = _measured(
            model, block.to(device), alpha=alpha, shift=shift, random=random
        )
        spread.add(mean)
    sigma_sq = model.log_sigma_sq.exp().item()
    tuned_sigma_sq = errors.mean().item() / dim

    def elbos(variance: float) -> Tensor:
        fit = dim * (LOG_2PI + math.log(variance)) + errors / variance
        return -kl.sum(-1) - 0.5 * fit + log_dets

    elbo = elbos(sigma_sq)
    thresholds = collapse.collapse_epsilon(kl, delta=0.01)
    return Measures(
        elbo=elbo.mean().item(),
        elbo_se=(elbo.std() / math.sqrt(len(elbo))).item(),
        tuned_elbo=elbos(tuned_sigma_sq).mean().item(),
        tuned_sigma_sq=tuned_sigma_sq,
        sigma_sq=sigma_sq,
        kl=kl.sum(-1).mean().item(),
        log_abs_det=log_dets.mean().item(),
        collapse=collapse.fraction_below(thresholds, 0.01).item(),
        active_units=int((spread.variance() > collapse.ACTIVE_VARIANCE).sum()),
        kl_per_latent=kl.mean(0).cpu(),
        mean_variance=spread.variance().cpu(),
        collapse_epsilon=thresholds.cpu(),
    )


@torch.no_grad()
def _measured(
    model: GaussianVAE,
    images: Tensor,
    *,
    alpha: float,
    shift: Tensor | None,
    random: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means (B, k), divergences (B, k), squared errors (B,) and log-determinants (B,).

    Of one block, in a function of its own: its large arrays are gone before those of the next.
    """
    noise = uniform_noise(images.shape, generator=random, dtype=torch.float64)
    pixels = dequantise(images, noise)
    data = logit(pixels, alpha=alpha)
    if shift is not None:
        data = data - shift.to(data.device)
    mean, log_var = model.encode(data.unsqueeze(0))
    draws = torch.randn(mean.shape, generator=random, device=mean.device, dtype=torch.float64)
    latents = mean + (0.5 * log_var).exp() * draws
    error = (model.decode(latents) - data).square_().sum(-1)
    kl = collapse.kl_per_latent(mean, log_var)
    return mean[0], kl[0], error[0], log_abs_det(pixels, alpha=alpha)


def importance_bound(
    model: GaussianVAE,
    data: Tensor,
    *,
    num_samples: int,
    random: torch.Generator,
    max_rows: int = 4000,
) -> tuple[Tensor, Tensor]:
    """Importance-weighted bound on log p(x) (Burda et al. 2016), and the ELBO of its samples.

    log (1/K) sum_j w_j with w_j = p(x, z_j) / q(z_j | x), z_j ~ q(z | x): at K = 1 a sample of
    the ELBO, rising with K in expectation to log p(x). The mean of the log w_j estimates the ELBO
    with the same samples, so that the bound is never below it.

    Args:
        model: a single model (E = 1); its dtype is the computation's.
        data: (B, n), of the model's dtype, as the model sees them.
        num_samples: K >= 1.
        random: generator on the model's device.
        max_rows: decoded at a time, so that the memory does not grow with K.

    Returns:
        Bound and ELBO, each (B,), in nats of ``data`` (no log-determinant added), float64.

    Raises:
        ValueError: ``num_samples`` or ``max_rows`` < 1, or ``model`` holds several members.
    """
    _single(model)
    checks.integer("num_samples", num_samples, low=1)
    checks.integer("max_rows", max_rows, low=1)
    dim, k = data.shape[1], model.latent_dim
    log_sigma_sq = model.log_sigma_sq.to(torch.float64)
    bounds, elbos = [], []
    with torch.no_grad():
        mean, log_var = (part[0] for part in model.encode(data.unsqueeze(0)))
        for x, m, v in zip(data, mean, log_var, strict=True):  # one image at a time
            log_weights = []
            for start in range(0, num_samples, max_rows):
                rows = min(max_rows, num_samples - start)
                noise = torch.randn(rows, k, generator=random, dtype=data.dtype, device=data.device)
                z = m + (0.5 * v).exp() * noise
                error = (model.decode(z.unsqueeze(0))[0] - x).square().sum(-1)
                log_joint = -0.5 * (
                    dim * (LOG_2PI + log_sigma_sq)
                    + error.to(torch.float64) / log_sigma_sq.exp()
                    + z.square().sum(-1)
                )
                # (k/2) log 2 pi stands in the prior and in q, and cancels.
                log_weights.append(log_joint + 0.5 * (v.sum() + noise.square().sum(-1)))
            log_weight = torch.cat(log_weights)
            bounds.append(log_weight.logsumexp(0) - math.log(num_samples))
            elbos.append(log_weight.mean())
    return torch.stack(bounds), torch.stack(elbos)


class _Spread:
    """Variance (k,) of rows that come in blocks; it divides by their number."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, rows: Tensor) -> None:
        """``rows`` (B, k), joined to those before (Chan, Golub and LeVeque 1983)."""
        count, mean = len(rows), rows.mean(0)
        between = mean - self.mean
        total = self.count + count
        self.squares = self.squares + (rows - mean).square().sum(0)
        self.squares = self.squares + between.square() * (self.count * count / total)
        self.mean = self.mean + between * (count / total)
        self.count = total

    def variance(self) -> Tensor:
        """Of all rows so far."""
        return self.squares / self.count


def _single(model: GaussianVAE) -> None:
    if model.num_members != 1:
        raise ValueError(f"model must be a single one (E = 1), got E = {model.num_members}")
