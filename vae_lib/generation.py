"""What a trained VAE draws: reconstructions, samples, traversals and interpolations, as pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_lib import checks
from vae_lib.transforms import inverse_logit
from vae_lib.vae import GaussianVAE


def decode_pixels(model: GaussianVAE, latents: Tensor, *, alpha: float) -> Tensor:
    """Means of p(x | z) as pixel values in [0, 256], (B, n), for ``latents`` (B, k).

    The model (E = 1) was trained on data that were not centred.
    """
    with torch.no_grad():
        values = model.decode(latents.unsqueeze(0))[0]
    return inverse_logit(values, alpha=alpha).clamp(0, 256)


def reconstruct(model: GaussianVAE, data: Tensor, *, alpha: float) -> Tensor:
    """Pixel values (B, n) of the decoded posterior means of ``data`` (B, n)."""
    with torch.no_grad():
        mean, _ = model.encode(data.unsqueeze(0))
    return decode_pixels(model, mean[0], alpha=alpha)


def sample(
    model: GaussianVAE, num_samples: int, *, alpha: float, generator: torch.Generator
) -> Tensor:
    """Decoded means (num_samples, n) of latents drawn from the prior, without the noise."""
    checks.integer("num_samples", num_samples, low=1)
    shape = (num_samples, model.latent_dim)
    latents = torch.randn(
        shape, generator=generator, dtype=model.log_sigma_sq.dtype, device=generator.device
    )
    return decode_pixels(model, latents, alpha=alpha)


def traverse(
    model: GaussianVAE, image: Tensor, latent: int, values: Sequence[float], *, alpha: float
) -> Tensor:
    """Pixel values (len(values), n) as one ``latent`` of an image's posterior mean is varied.

    Raises:
        ValueError: there is no such latent.
    """
    checks.integer("latent", latent, low=0, high=model.latent_dim - 1)
    with torch.no_grad():
        mean, _ = model.encode(image.reshape(1, 1, -1))
    latents = mean[0].repeat(len(values), 1)
    latents[:, latent] = torch.tensor(list(values), dtype=latents.dtype)
    return decode_pixels(model, latents, alpha=alpha)


def interpolate(
    model: GaussianVAE, first: Tensor, second: Tensor, *, steps: int, alpha: float
) -> Tensor:
    """Pixel values (steps, n) on the line between the posterior means of two rows of data (n,).

    Raises:
        ValueError: ``steps`` < 2.
    """
    checks.integer("steps", steps, low=2)
    with torch.no_grad():
        mean, _ = model.encode(torch.stack([first, second]).unsqueeze(0))
    shares = torch.linspace(0, 1, steps, dtype=mean.dtype, device=mean.device).unsqueeze(1)
    return decode_pixels(model, torch.lerp(mean[0, :1], mean[0, 1:], shares), alpha=alpha)
