"""What the page of related work says of objectives that the chapters do not compute."""

import math

import pytest
import torch
from torch import Tensor

from vae_lib import landscape, linear_vae, ppca
from vae_lib.examples import small_spectrum
from vae_lib.stationary import classify, hessian

SMALL = small_spectrum()
S = SMALL.covariance()
DIM, K = SMALL.dim, 2


def random_vae(seed: int) -> tuple[Tensor, linear_vae.Encoder]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return draw(DIM, K), linear_vae.Encoder(draw(K, DIM), draw(K).exp())


def weighted_elbo(
    weights: Tensor, encoder: linear_vae.Encoder, sigma_sq: Tensor, beta: float
) -> Tensor:
    terms = linear_vae.unchecked_elbo_terms(weights, encoder, sigma_sq, S)
    return terms.reconstruction - beta * terms.kl


@pytest.mark.parametrize("beta", [0.1, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(3))
def test_at_fixed_noise_a_weight_is_a_change_of_noise(beta: float, seed: int):
    weights, encoder = random_vae(seed)
    sigma_sq = torch.tensor(0.7, dtype=torch.float64)
    elbo = linear_vae.elbo(weights, encoder, beta * sigma_sq, S)
    two_pi = 2 * math.pi * sigma_sq
    constant = DIM / 2 * (beta * (beta * two_pi).log() - two_pi.log())
    torch.testing.assert_close(
        weighted_elbo(weights, encoder, sigma_sq, beta), beta * elbo + constant
    )


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.3])
def test_with_learned_noise_it_is_not(beta: float):
    lost = SMALL.eigenvalues[K:].sum()
    effective = beta * lost / (DIM - beta * K)
    assert effective < SMALL.eigenvalues[K - 1]  # all k components are alive
    assert bool(effective < ppca.mle_sigma_sq(SMALL.eigenvalues, K)) == (beta < 1)
    weights = ppca.mle_at(SMALL, K, effective).weights
    encoder = linear_vae.best_encoder(weights, effective)

    def objective(flat: Tensor) -> Tensor:
        decoder, rows, log_variances, log_sigma_sq = flat.split([DIM * K, DIM * K, K, 1])
        moved = linear_vae.Encoder(rows.reshape(K, DIM), log_variances.exp())
        return weighted_elbo(decoder.reshape(DIM, K), moved, log_sigma_sq.exp()[0], beta)

    point = torch.cat(
        [
            weights.flatten(),
            encoder.weights.flatten(),
            encoder.variances.log(),
            (effective / beta).log()[None],
        ]
    )
    assert torch.func.grad(objective)(point).abs().max() < 1e-12
    assert torch.linalg.eigvalsh(hessian(objective, point)).max() < 1e-9


@pytest.mark.parametrize("strength", [0.1, 0.6, 1.0, 2.0])
def test_a_penalised_linear_autoencoder_has_the_stationary_sets_of_ppca(strength: float):
    def gain(flat: Tensor) -> Tensor:
        decoder, encoder = (part.clone() for part in flat.split(DIM * K))
        decoder, encoder = decoder.reshape(DIM, K), encoder.reshape(K, DIM)
        missed = torch.eye(DIM, dtype=torch.float64) - decoder @ encoder
        penalty = decoder.square().sum() + encoder.square().sum()
        return -(missed @ S @ missed.T).trace() - strength * penalty

    def likelihood(weights: Tensor) -> Tensor:
        noise = torch.tensor(strength, dtype=torch.float64)
        return ppca.unchecked_log_likelihood(weights, noise, S)

    def rising(curvatures: Tensor) -> int:
        return int((curvatures > 1e-9 * curvatures.abs().max()).sum())

    sets = ppca.stationary_sets(SMALL.eigenvalues, K, strength)
    assert len(sets) > 1
    for active in sets:
        weights = torch.zeros(DIM, K, dtype=torch.float64)
        for column, j in enumerate(active):
            length = (1 - strength / SMALL.eigenvalues[j]).sqrt()
            weights[:, column] = length * SMALL.eigenvectors[:, j]
        point = torch.cat([weights.flatten(), weights.T.flatten()])
        assert torch.func.grad(gain)(point).abs().max() < 1e-12

        of_ppca = ppca.stationary_weights(SMALL, active, K, strength)
        encoder = linear_vae.best_encoder(of_ppca, strength)
        torch.testing.assert_close(weights @ weights.T, of_ppca @ encoder.weights)
        curvatures = torch.linalg.eigvalsh(hessian(gain, point))
        assert rising(curvatures) == rising(classify(likelihood, of_ppca)[1])


def test_training_the_encoder_along_is_slower_than_having_the_best():
    eigenvalues = torch.logspace(-3, 3, 61, dtype=torch.float64)
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        sigma_sq = share * eigenvalues
        along = landscape.elbo_escape_rate(eigenvalues, sigma_sq)
        best = landscape.collapsed_curvature(eigenvalues, sigma_sq)
        assert bool((along < best).all())


@pytest.mark.parametrize("sigma_sq", [0.1, 1.0, 10.0, 1000.0])
def test_without_the_pull_on_the_mean_a_collapsed_column_is_unstable(sigma_sq: float):
    noise = torch.tensor(sigma_sq, dtype=torch.float64)

    def objective(flat: Tensor) -> Tensor:
        decoder, rows = flat.split(DIM * K)
        encoder = linear_vae.Encoder(rows.reshape(K, DIM), torch.ones(K, dtype=torch.float64))
        terms = linear_vae.unchecked_elbo_terms(decoder.reshape(DIM, K), encoder, noise, S)
        pull = 0.5 * (encoder.weights @ S @ encoder.weights.T).trace()
        return terms.elbo + pull

    collapsed = torch.zeros(2 * DIM * K, dtype=torch.float64)
    assert torch.func.grad(objective)(collapsed).abs().max() == 0
    assert torch.linalg.eigvalsh(hessian(objective, collapsed)).max() > 0


def test_a_mixed_pair_is_stationary_beside_other_columns_and_with_learned_noise():
    values = torch.tensor([6.0, 5.0, 3.0, 0.9, 0.7, 0.4], dtype=torch.float64)
    noise = values[3:].mean()
    scales = 0.5 * (values[:2] + values[:2].prod().sqrt())
    weights = torch.zeros(6, 3, dtype=torch.float64)
    weights[:2, :2] = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    weights[:2] *= (scales - noise).sqrt()[:, None]
    weights[2, 2] = (values[2] - noise).sqrt()

    def best_elbo(flat: Tensor) -> Tensor:
        return linear_vae.unchecked_profiled_elbo(
            flat[:-1].reshape(6, 3), flat[-1].exp(), torch.diag(values)
        )

    point = torch.cat([weights.flatten(), noise.log()[None]])
    assert torch.func.grad(best_elbo)(point).abs().max() < 1e-12
    roots = values[:2].sqrt()
    height = 2 * (roots.mean() / roots.prod().sqrt()).log()
    torch.testing.assert_close(ppca.max_log_likelihood(values, 3) - best_elbo(point), height)
