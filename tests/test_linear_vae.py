"""The closed forms of the linear VAE against sampling, dense Gaussians and autograd."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.oracles import (
    EPS,
    autograd_gradient,
    condition,
    dense_gap,
    dense_log_likelihood,
    dense_posterior,
    difference,
    log_uniform,
    normal,
    orthogonal,
    points_with_covariance,
    random_covariance,
    standard_error,
)
from vae_lib import linear_vae, ppca
from vae_lib.linear_vae import Encoder, LinearVAE
from vae_lib.spectrum import spectrum, spectrum_of_covariance

SHAPES = [(2, 1), (5, 2), (8, 3), (10, 9)]
BATCHES = [(), (4,), (2, 3)]
each_shape = pytest.mark.parametrize(("dim", "k"), SHAPES)
each_batch = pytest.mark.parametrize("batch", BATCHES, ids=str)


def problem(generator, dim, k, batch=()):
    """Random W, sigma_sq in [0.1, 10] and S."""
    weights = normal(generator, *batch, dim, k)
    return weights, log_uniform(generator, 0.1, 10, *batch), random_covariance(generator, dim)


def random_encoder(generator, dim, k, batch=()) -> Encoder:
    return Encoder(
        0.5 * normal(generator, *batch, k, dim), log_uniform(generator, 0.1, 10, *batch, k)
    )


def near_best_encoder(generator, weights, sigma_sq, distance) -> Encoder:
    """The best encoder with random errors of relative size ``distance`` (...)."""
    best = linear_vae.best_encoder(weights, sigma_sq)
    errors = [normal(generator, *part.shape) for part in best]
    return Encoder(
        best.weights * (1 + distance[..., None, None] * errors[0]),
        best.variances * (distance[..., None] * errors[1]).exp(),
    )


def size_of_terms(weights, encoder, sigma_sq, cov):
    """Sum of the sizes of all terms that the ELBO and the likelihood add up, (...)."""
    decoded = weights @ encoder.weights @ torch.linalg.cholesky(cov)
    encoded = encoder.weights @ torch.linalg.cholesky(cov)
    spread = (weights.square() * encoder.variances[..., None, :]).sum((-2, -1))
    error = spread + (decoded.square().sum((-2, -1)).sqrt() + cov.trace().sqrt()).square()
    kl = encoder.variances.sum(-1) + encoder.variances.log().abs().sum(-1)
    kl = kl + encoded.square().sum((-2, -1)) + weights.shape[-1]
    logs = len(cov) * (math.log(2 * math.pi) + sigma_sq.log().abs())
    return kl + error / sigma_sq + logs + len(cov)


def rounding(weights, encoder, sigma_sq, cov):
    """Error allowed in ELBO and likelihood, (...): eps, times n^2 additions, times the size of
    the terms, times the condition of C, which the dense likelihood factorises."""
    worst = condition(weights, sigma_sq)
    return EPS * len(cov) ** 2 * worst * size_of_terms(weights, encoder, sigma_sq, cov)


# ELBO and likelihood


def test_the_elbo_never_exceeds_the_likelihood_on_10_000_random_models(make_generator):
    """100 covariances, each with 100 models: half with any encoder at all, half within a relative
    1 to 1e-8 of the best one, and of those ten with orthogonal columns, where the bound is tight.
    """
    generator = make_generator(0)
    num_models = num_tight = 0
    for index in range(100):
        dim = 2 + index % 8
        k = 1 + (index // 8) % (dim - 1)
        cov = random_covariance(generator, dim)
        sigma_sq = log_uniform(generator, 1e-2, 1e2, 100)
        weights = normal(generator, 100, dim, k)
        weights = weights * log_uniform(generator, 1e-2, 10, 100)[:, None, None]
        columns = torch.linalg.qr(weights[:10])[0]
        weights[:10] = columns * log_uniform(generator, 1e-2, 10, 10, 1, k)
        distance = log_uniform(generator, 1e-8, 1, 100)
        distance[:5] = 0
        near = near_best_encoder(generator, weights, sigma_sq, distance)
        anywhere = random_encoder(generator, dim, k, (100,))
        encoder = Encoder(
            torch.cat([near.weights[:50], anywhere.weights[50:]]),
            torch.cat([near.variances[:50], anywhere.variances[50:]]),
        )
        slack = dense_log_likelihood(weights, sigma_sq, cov) - linear_vae.elbo(
            weights, encoder, sigma_sq, cov
        )
        tolerance = rounding(weights, encoder, sigma_sq, cov)
        assert (slack >= -tolerance).all()
        # Orthogonal columns and the best encoder: nothing is lost.
        assert (slack[:5] <= tolerance[:5]).all()
        num_models += len(slack)
        num_tight += int((slack <= tolerance).sum())
    assert num_models == 10_000
    assert 500 <= num_tight < 5_000


@each_shape
@pytest.mark.parametrize("seed", range(5))
def test_the_elbo_equals_the_likelihood_at_the_optimum(make_generator, dim, k, seed):
    cov = random_covariance(make_generator(seed), dim)
    found = spectrum_of_covariance(cov)
    model = ppca.mle(found, k)
    encoder = linear_vae.best_encoder(model.weights, model.sigma_sq)
    value = linear_vae.elbo(model.weights, encoder, model.sigma_sq, cov)
    assert difference(value, ppca.max_log_likelihood(found.eigenvalues, k)) <= 1e-10
    assert linear_vae.hadamard_gap(model.weights, model.sigma_sq).item() <= 1e-10


@each_shape
@each_batch
def test_the_best_elbo_is_the_likelihood_less_the_gap(make_generator, dim, k, batch):
    weights, sigma_sq, cov = problem(make_generator(dim), dim, k, batch)
    best = linear_vae.elbo(weights, linear_vae.best_encoder(weights, sigma_sq), sigma_sq, cov)
    expected = dense_log_likelihood(weights, sigma_sq, cov) - dense_gap(weights, sigma_sq)
    assert best.shape == batch
    tolerance = 1e-10 * (1 + expected.abs().max().item())
    assert difference(best, expected) <= tolerance
    assert difference(linear_vae.profiled_elbo(weights, sigma_sq, cov), expected) <= tolerance
    unchecked = linear_vae.unchecked_profiled_elbo(weights, sigma_sq, cov)
    assert difference(unchecked, expected) <= tolerance


@each_shape
@pytest.mark.parametrize("seed", range(3))
def test_the_elbo_is_the_likelihood_less_the_divergence_of_the_encoder(
    make_generator, dim, k, seed
):
    """ELBO = L - E_x KL(q(z|x) || p(z|x)), for any encoder, the posterior taken densely."""
    generator = make_generator(seed)
    weights, sigma_sq, cov = problem(generator, dim, k)
    encoder = random_encoder(generator, dim, k)
    rows = points_with_covariance(cov)
    q = MultivariateNormal(rows @ encoder.weights.T, encoder.variances.diag())
    divergence = kl_divergence(q, dense_posterior(weights, sigma_sq, rows)).mean()
    expected = dense_log_likelihood(weights, sigma_sq, cov) - divergence
    value = linear_vae.elbo(weights, encoder, sigma_sq, cov)
    # The dense posterior inverts matrices with the condition of C once more.
    tolerance = rounding(weights, encoder, sigma_sq, cov) * condition(weights, sigma_sq)
    assert difference(value, expected) <= tolerance.item()


@each_shape
@pytest.mark.parametrize("seed", range(3))
def test_both_terms_of_the_elbo_follow_from_their_definitions(make_generator, dim, k, seed):
    """KL by torch.distributions; E_q log p(x|z) by the 2^k points mean +- standard deviation,
    whose average is exact for functions that are quadratic in z."""
    generator = make_generator(seed)
    weights, sigma_sq, cov = problem(generator, dim, k)
    encoder = random_encoder(generator, dim, k)
    rows = points_with_covariance(cov)
    mean = rows @ encoder.weights.T
    deviations = encoder.variances.sqrt()
    prior = Normal(torch.zeros(k, dtype=torch.float64), 1.0)
    kl = kl_divergence(Normal(mean, deviations), prior).sum(1).mean()
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=k)), dtype=torch.float64)
    latents = mean + deviations * signs[:, None, :]
    log_lik = Normal(latents @ weights.T, sigma_sq.sqrt()).log_prob(rows).sum(-1).mean()
    terms = linear_vae.elbo_terms(weights, encoder, sigma_sq, cov)
    tolerance = rounding(weights, encoder, sigma_sq, cov).item()
    assert difference(terms.kl, kl) <= tolerance
    assert difference(terms.reconstruction, log_lik) <= tolerance
    assert difference(terms.elbo, log_lik - kl) <= tolerance
    assert torch.equal(linear_vae.elbo(weights, encoder, sigma_sq, cov), terms.elbo)


def test_the_elbo_broadcasts_all_its_arguments(make_generator):
    generator = make_generator(1)
    weights, _, cov = problem(generator, 4, 2, (3, 1))
    encoder = random_encoder(generator, 4, 2, (1, 5))
    sigma_sq = log_uniform(generator, 0.1, 10, 5)
    found = linear_vae.elbo(weights, encoder, sigma_sq, cov)
    assert found.shape == (3, 5)
    for row, column in product(range(3), range(5)):
        one = Encoder(encoder.weights[0, column], encoder.variances[0, column])
        alone = linear_vae.elbo(weights[row, 0], one, sigma_sq[column], cov)
        tolerance = rounding(weights[row, 0], one, sigma_sq[column], cov)
        assert difference(found[row, column], alone) <= tolerance


@each_shape
def test_monte_carlo_estimates_agree_with_the_closed_form(make_generator, dim, k):
    generator = make_generator(dim)
    weights, sigma_sq, cov = problem(generator, dim, k)
    encoder = random_encoder(generator, dim, k)
    rows = points_with_covariance(cov).repeat(2000, 1)
    draws = linear_vae.monte_carlo_elbo(weights, encoder, sigma_sq, rows, generator=generator)
    assert draws.shape == (len(rows),)
    # The rows are fixed and only z varies, so that the spread over rows overstates the error.
    draws = draws.reshape(2000, -1).mean(1)
    expected = linear_vae.elbo(weights, encoder, sigma_sq, cov)
    assert abs(draws.mean() - expected) <= 5 * standard_error(draws)


@each_shape
def test_at_the_optimum_every_single_draw_is_the_log_density(make_generator, dim, k):
    """There q is the posterior, and log p(x, z) - log q(z|x) = log p(x) whatever z is."""
    generator = make_generator(dim)
    cov = random_covariance(generator, dim)
    model = ppca.mle(spectrum_of_covariance(cov), k)
    encoder = linear_vae.best_encoder(model.weights, model.sigma_sq)
    rows = points_with_covariance(cov)
    draws = linear_vae.monte_carlo_elbo(
        model.weights, encoder, model.sigma_sq, rows, generator=generator
    )
    # Every row is at most n times as long as the average, and so are its terms.
    tolerance = 2 * dim * rounding(model.weights, encoder, model.sigma_sq, cov).item()
    assert difference(draws, ppca.log_prob(model, rows)) <= tolerance


# The best encoder


@each_shape
@each_batch
def test_the_best_encoder_is_stationary(make_generator, dim, k, batch):
    weights, sigma_sq, cov = problem(make_generator(dim), dim, k, batch)
    best = linear_vae.best_encoder(weights, sigma_sq)
    assert best.weights.shape == (*batch, k, dim)
    assert best.variances.shape == (*batch, k)

    def elbo(encoder_weights, log_variances):
        encoder = Encoder(encoder_weights, log_variances.exp())
        return linear_vae.unchecked_elbo_terms(weights, encoder, sigma_sq, cov).elbo

    gradients = autograd_gradient(elbo, best.weights, best.variances.log())
    # The terms that cancel in the gradient are of the size of W S / sigma_sq.
    size = (weights.abs().amax((-2, -1)) * cov.trace() / sigma_sq).max().item()
    tolerance = EPS * dim**2 * (1 + size) * condition(weights, sigma_sq).max().item()
    for gradient in gradients:
        assert gradient.abs().max().item() <= tolerance


@each_shape
@pytest.mark.parametrize("step", [1e-3, 1e-1, 1.0])
def test_no_random_perturbation_of_the_best_encoder_is_better(make_generator, dim, k, step):
    generator = make_generator(dim)
    weights, sigma_sq, cov = problem(generator, dim, k)
    best = linear_vae.best_encoder(weights, sigma_sq)
    perturbed = Encoder(
        best.weights + step * normal(generator, 500, k, dim),
        best.variances * (step * normal(generator, 500, k)).exp(),
    )
    # The ELBO is strictly concave in V and log D, and falls by about step^2.
    values = linear_vae.elbo(weights, perturbed, sigma_sq, cov)
    assert (values < linear_vae.elbo(weights, best, sigma_sq, cov)).all()


@each_shape
def test_the_best_encoder_has_the_posterior_s_mean_and_never_its_full_variance(
    make_generator, dim, k
):
    weights, sigma_sq, cov = problem(make_generator(dim), dim, k)
    rows = points_with_covariance(cov)
    best = linear_vae.best_encoder(weights, sigma_sq)
    posterior = dense_posterior(weights, sigma_sq, rows)
    size = rows.abs().max().item() * condition(weights, sigma_sq).item() ** 2
    tolerance = EPS * dim**2 * size
    assert difference(rows @ best.weights.T, posterior.mean) <= tolerance
    # d_i is the variance of z_i given x and all other z: one over the precision's diagonal.
    precision = torch.linalg.inv(posterior.covariance_matrix[0])
    assert difference(best.variances, 1 / precision.diagonal()) <= tolerance
    marginal = posterior.covariance_matrix[0].diagonal()
    assert (best.variances <= marginal + tolerance).all()


# The gap


@each_shape
@each_batch
def test_the_gap_equals_its_two_terms(make_generator, dim, k, batch):
    weights, sigma_sq, _ = problem(make_generator(dim), dim, k, batch)
    gap = linear_vae.hadamard_gap(weights, sigma_sq)
    tolerance = EPS * k**3 * condition(weights, sigma_sq).max().item() + 100 * k * EPS
    assert difference(gap, dense_gap(weights, sigma_sq)) <= tolerance
    assert (gap > tolerance).all() or k == 1


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_gap_is_zero_exactly_for_orthogonal_columns(make_generator, scale):
    generator = make_generator(0)
    columns = torch.linalg.qr(normal(generator, 8, 4))[0] * scale
    lengths = torch.tensor([2, 1, 0.5, 0], dtype=torch.float64)
    gap = linear_vae.hadamard_gap(columns * lengths, 0.7)
    # Scaled to unit diagonal, M is the identity up to n eps, and the log determinant sums k.
    assert abs(gap.item()) <= 4 * 8 * EPS
    slanted = columns * lengths
    slanted[:, 1] += 0.1 * slanted[:, 0]
    assert linear_vae.hadamard_gap(slanted, 0.7) > 0


@pytest.mark.parametrize("slant", [1e-7, 1e-4, 1e-1, 1.0])
def test_the_gap_of_two_columns_is_that_of_their_correlation(slant):
    """-1/2 log(1 - rho^2), to the precision of rho^2 and not of the two large terms."""
    weights = 1e3 * torch.tensor([[1, slant], [0, 1], [0, 0]], dtype=torch.float64)
    diagonal = (1e6 + 1, 1e6 * (1 + slant**2) + 1)
    rho_sq = (1e6 * slant) ** 2 / (diagonal[0] * diagonal[1])
    expected = -0.5 * math.log1p(-rho_sq)
    assert linear_vae.hadamard_gap(weights, 1.0).item() == pytest.approx(expected, abs=4 * EPS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dim", "k"), [(5, 2), (8, 3), (10, 9)])
def test_a_rotation_to_orthogonal_columns_raises_the_best_elbo_alone(make_generator, dim, k, seed):
    weights, sigma_sq, cov = problem(make_generator(seed), dim, k)
    rotation = torch.linalg.svd(weights)[2].T
    rotated = weights @ rotation
    tolerance = rounding(weights, linear_vae.best_encoder(weights, sigma_sq), sigma_sq, cov).item()
    before, after = (ppca.log_likelihood(each, sigma_sq, cov) for each in (weights, rotated))
    assert difference(before, after) <= tolerance
    gain = linear_vae.profiled_elbo(rotated, sigma_sq, cov) - linear_vae.profiled_elbo(
        weights, sigma_sq, cov
    )
    assert difference(gain, linear_vae.hadamard_gap(weights, sigma_sq)) <= tolerance
    assert gain > tolerance


@pytest.mark.parametrize("seed", range(3))
def test_a_rotated_mle_keeps_the_likelihood_and_loses_elbo(make_generator, seed):
    generator = make_generator(seed)
    cov = random_covariance(generator, 6)
    found = spectrum_of_covariance(cov)
    best = ppca.max_log_likelihood(found.eigenvalues, 3)
    model = ppca.mle(found, 3, rotation=orthogonal(generator, 3))
    value = linear_vae.profiled_elbo(model.weights, model.sigma_sq, cov)
    assert value < best - 1e-3
    gap = linear_vae.hadamard_gap(model.weights, model.sigma_sq)
    assert difference(value + gap, best) <= 1e-10


def test_an_n_minus_1_covariance_makes_the_elbo_seem_to_exceed_the_maximum(make_generator):
    rows = normal(make_generator(2), 40, 6)
    found = spectrum(rows)
    model = ppca.mle(found, 2)
    encoder = linear_vae.best_encoder(model.weights, model.sigma_sq)
    elbo = linear_vae.elbo(model.weights, encoder, model.sigma_sq, found.covariance())
    unbiased = spectrum_of_covariance(torch.from_numpy(np.cov(rows.numpy().T)))
    supposed_maximum = ppca.max_log_likelihood(unbiased.eigenvalues, 2)
    assert elbo > supposed_maximum
    # Below the real one it stays.
    assert elbo <= ppca.max_log_likelihood(found.eigenvalues, 2) + 1e-10


# The module


def test_a_new_model_starts_as_documented(make_generator):
    model = LinearVAE(400, 50, sigma_sq=0.25, scale=0.03, generator=make_generator(0))
    assert model.weights.shape == (400, 50)
    assert model.encoder_weights.shape == (50, 400)
    for values in (model.weights, model.encoder_weights):
        assert values.dtype == torch.float64
        # Standard errors of mean and standard deviation of 20,000 Gaussian numbers.
        assert abs(values.mean().item()) <= 5 * 0.03 / math.sqrt(20_000)
        assert values.std().item() == pytest.approx(0.03, abs=5 * 0.03 / math.sqrt(40_000))
    correlation = torch.corrcoef(
        torch.stack([model.weights.T.flatten(), model.encoder_weights.flatten()]).detach()
    )
    assert abs(correlation[0, 1].item()) <= 5 / math.sqrt(20_000)
    assert torch.equal(model.encoder.variances, torch.ones(50, dtype=torch.float64))
    assert model.sigma_sq.item() == pytest.approx(0.25, rel=4 * EPS)


def test_a_new_model_repeats_with_the_seed_and_differs_without(make_generator):
    first, again, other = (
        LinearVAE(5, 2, generator=make_generator(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["weights"], other["weights"])
    assert not torch.equal(first["encoder_weights"], other["encoder_weights"])


@pytest.mark.parametrize("learn", [True, False])
def test_the_noise_is_learned_only_if_asked(make_generator, learn):
    model = LinearVAE(4, 2, learn_sigma_sq=learn, generator=make_generator(0))
    assert model.log_sigma_sq.requires_grad is learn
    assert "log_sigma_sq" in model.state_dict()
    assert model.weights.requires_grad


@each_shape
def test_the_module_s_elbo_is_that_of_its_parameters(make_generator, dim, k):
    generator = make_generator(dim)
    model = LinearVAE(dim, k, sigma_sq=0.5, scale=0.7, generator=generator)
    with torch.no_grad():
        model.log_variances += normal(generator, k)
    cov = random_covariance(generator, dim)
    encoder = Encoder(model.encoder_weights.detach(), model.log_variances.detach().exp())
    weights, sigma_sq = model.weights.detach(), model.sigma_sq.detach()
    expected = linear_vae.elbo(weights, encoder, sigma_sq, cov)
    tolerance = rounding(weights, encoder, sigma_sq, cov).item()
    assert difference(model.elbo(cov).detach(), expected) <= tolerance


@each_shape
def test_the_sampled_elbo_is_unbiased(make_generator, dim, k):
    generator = make_generator(dim)
    model = LinearVAE(dim, k, sigma_sq=0.5, scale=0.7, generator=generator)
    cov = random_covariance(generator, dim)
    rows = points_with_covariance(cov)
    with torch.no_grad():
        model.log_variances += normal(generator, k)
        draws = torch.stack([model.sampled_elbo(rows, generator=generator) for _ in range(500)])
        assert abs(draws.mean() - model.elbo(cov)) <= 5 * standard_error(draws)
    assert draws.shape == (500,)
    assert draws.std() > 0
