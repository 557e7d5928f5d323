"""What models draw, against a linear model whose pictures can be worked out by hand."""

import pytest
import torch
from torch import nn

from vae_lib import generation
from vae_lib.transforms import inverse_logit
from vae_lib.vae import EnsembleLinear, GaussianVAE

ALPHA, DIM, K = 0.05, 6, 3


@pytest.fixture
def model(make_generator) -> GaussianVAE:
    """Encoder and decoder are affine maps; float64."""
    layers = [EnsembleLinear(*sizes, [make_generator(1)]) for sizes in ((DIM, 2 * K), (K, DIM))]
    return GaussianVAE(
        *layers,
        latent_dim=K,
        sigma_sq=torch.ones(1, dtype=torch.float64),
        learned=torch.tensor([False]),
    ).double()


@pytest.fixture
def data(make_generator) -> torch.Tensor:
    return torch.randn(4, DIM, generator=make_generator(2), dtype=torch.float64)


def affine(layer: EnsembleLinear, rows: torch.Tensor) -> torch.Tensor:
    return (rows @ layer.weight[0] + layer.bias[0]).detach()


def pictures(model: GaussianVAE, latents: torch.Tensor) -> torch.Tensor:
    return inverse_logit(affine(model.decoder, latents), alpha=ALPHA).clamp(0, 256)


def means(model: GaussianVAE, data: torch.Tensor) -> torch.Tensor:
    return affine(model.encoder, data)[:, :K]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_decoded_means_are_pixel_values(model, data):
    close(generation.decode_pixels(model, data[:, :K], alpha=ALPHA), pictures(model, data[:, :K]))


def test_what_the_decoder_puts_outside_the_logit_s_range_is_black_or_white():
    class Constant(nn.Module):
        def forward(self, latents):
            return torch.tensor([-30.0, 30.0]).expand(*latents.shape[:2], 2)

    extreme = GaussianVAE(
        nn.Identity(),
        Constant(),
        latent_dim=1,
        sigma_sq=torch.ones(1),
        learned=torch.tensor([False]),
    )
    found = generation.decode_pixels(extreme, torch.zeros(1, 1), alpha=ALPHA)
    assert found.tolist() == [[0.0, 256.0]]


def test_a_reconstruction_decodes_the_posterior_mean(model, data):
    found = generation.reconstruct(model, data, alpha=ALPHA)
    close(found, pictures(model, means(model, data)))


def test_samples_decode_standard_normal_latents_of_the_generator(model, make_generator):
    found = generation.sample(model, 5, alpha=ALPHA, generator=make_generator(3))
    latents = torch.randn(5, K, generator=make_generator(3), dtype=torch.float64)
    close(found, pictures(model, latents))
    with pytest.raises(ValueError, match="num_samples must be"):
        generation.sample(model, 0, alpha=ALPHA, generator=make_generator())


def test_a_traversal_moves_one_latent_and_leaves_the_others(model, data):
    values = [-3.0, 0.0, 2.5]
    found = generation.traverse(model, data[0], 1, values, alpha=ALPHA)
    latents = means(model, data[:1]).repeat(3, 1)
    latents[:, 1] = torch.tensor(values)
    close(found, pictures(model, latents))
    for latent in (-1, K):
        with pytest.raises(ValueError, match="latent must be"):
            generation.traverse(model, data[0], latent, values, alpha=ALPHA)


def test_an_interpolation_runs_straight_from_one_posterior_mean_to_the_other(model, data):
    found = generation.interpolate(model, data[0], data[1], steps=5, alpha=ALPHA)
    first, second = means(model, data[:2])
    latents = torch.stack([first + share * (second - first) for share in (0, 0.25, 0.5, 0.75, 1)])
    close(found, pictures(model, latents))
    close(found[[0, -1]], generation.reconstruct(model, data[:2], alpha=ALPHA))
    with pytest.raises(ValueError, match="steps must be"):
        generation.interpolate(model, data[0], data[1], steps=1, alpha=ALPHA)
