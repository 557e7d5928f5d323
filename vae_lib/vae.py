"""Gaussian VAEs with one noise variance, as ensembles of E models in one batched computation.

    p(z) = N(0, I),   p(x | z) = N(decoder(z), sigma_sq I),   q(z | x) = N(mean(x), diag(var(x)))

(Kingma and Welling, 2014). Every tensor has a leading axis of length E, every parameter too, and
no operation mixes members: a member's gradient is that of the same model alone. E = 1 is the
single model. A network of another kind fits in by keeping these shapes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_lib import checks

LOG_2PI = math.log(2 * math.pi)


class EnsembleLinear(nn.Module):
    """E affine maps: (E, B, in) to (E, B, out), ``weight`` (E, in, out), ``bias`` (E, 1, out)."""

    def __init__(self, num_inputs: int, num_outputs: int, generators: Sequence[torch.Generator]):
        """Draw U(-b, b), b = 1 / sqrt(in), PyTorch's own default; one generator a member."""
        super().__init__()
        bound = 1 / math.sqrt(num_inputs)
        weights, biases = [], []
        for generator in generators:
            weights.append(torch.empty(num_inputs, num_outputs))
            biases.append(torch.empty(1, num_outputs))
            weights[-1].uniform_(-bound, bound, generator=generator)
            biases[-1].uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.stack(biases))

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs`` (E, B, in)."""
        if len(self.weight) == 1:  # a plain product is up to twice as fast as a batch of one
            # and squeeze, unlike [0], has a gradient without a buffer of zeros
            bias, inputs, weight = self.bias.squeeze(0), inputs.squeeze(0), self.weight.squeeze(0)
            return torch.addmm(bias, inputs, weight).unsqueeze(0)
        return torch.baddbmm(self.bias, inputs, self.weight)


def mlp(sizes: Sequence[int], generators: Sequence[torch.Generator]) -> nn.Sequential:
    """A perceptron with ReLUs between its layers; ``sizes`` from input to output."""
    layers: list[nn.Module] = []
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [EnsembleLinear(num_inputs, num_outputs, generators), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class GaussianVAE(nn.Module):
    """E Gaussian VAEs.

    Attributes:
        latent_dim: k.
        encoder: (E, B, n) to (E, B, 2k), the posterior's means and log-variances.
        decoder: (E, B, k) to (E, B, n), the means of p(x | z).
        log_sigma_sq: (E,), logarithms of the noise variances.
        learned: (E,), bool; where it is false, ``log_sigma_sq`` gets no gradient.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent_dim: int,
        sigma_sq: Tensor,
        learned: Tensor,
    ):
        """``sigma_sq`` (E,), the initial variances, > 0; ``learned`` (E,), bool."""
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder, self.decoder = encoder, decoder
        initial = checks.positive("sigma_sq", sigma_sq).log()
        self.log_sigma_sq = nn.Parameter(initial.to(torch.float32))
        self.register_buffer("learned", learned)

    @property
    def num_members(self) -> int:
        """E."""
        return len(self.log_sigma_sq)

    @property
    def sigma_sq(self) -> Tensor:
        """Noise variances (E,)."""
        return self.log_sigma_sq.exp()

    def encode(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), each (E, B, k), of ``data`` (E, B, n)."""
        return self.encoder(data).chunk(2, dim=-1)

    def decode(self, latents: Tensor) -> Tensor:
        """Mean of p(x | z), (E, B, n), of ``latents`` (E, B, k)."""
        return self.decoder(latents)

    def terms(self, data: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """KL (E, B) of q(z | x) to the prior, in nats, and squared error (E, B) of one sample.

        Args:
            data: (E, B, n).
            noise: (E, B, k), standard normal; z = mean + std * noise.
        """
        mean, log_var = self.encode(data)
        std = (0.5 * log_var).exp()
        kl = (mean.square() + std.square() - log_var).sum(-1).sub(noise.shape[-1]).mul(0.5)
        error = self.decode(torch.addcmul(mean, std, noise)) - data
        # The norm's gradient takes one pass over the pixels, that of a sum of squares three.
        return kl, torch.linalg.vector_norm(error, dim=-1).square()

    def negative_elbo(self, kl: Tensor, squared_error: Tensor, *, dim: int) -> Tensor:
        """-ELBO (E, B), in nats, of the two :meth:`terms`; a KL times beta gives beta-VAE's.

        KL + (n / 2) log(2 pi sigma_sq) + squared_error / (2 sigma_sq).
        """
        log_sigma_sq = torch.where(self.learned, self.log_sigma_sq, self.log_sigma_sq.detach())
        log_sigma_sq = log_sigma_sq.unsqueeze(-1)
        fit = torch.addcmul(dim * (LOG_2PI + log_sigma_sq), squared_error, (-log_sigma_sq).exp())
        return torch.add(kl, fit, alpha=0.5)

    def select(self, index: int, dtype: torch.dtype = torch.float64) -> GaussianVAE:
        """Copy of one member, an ensemble with E = 1, in ``dtype``."""
        checks.integer("index", index, low=0, high=self.num_members - 1)
        alone = copy.deepcopy(self).to(dtype).requires_grad_(False)
        for tensor in (*alone.parameters(), *alone.buffers()):
            tensor.data = tensor.data[index : index + 1].clone()
        return alone
