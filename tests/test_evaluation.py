"""What is measured of a model, against torch.distributions and Gaussians that are known exactly.

A VAE with linear networks is probabilistic PCA: p(x) is Gaussian, and so is the posterior.
"""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.oracles import (
    EPS,
    dense_posterior,
    log_uniform,
    model_covariance,
    normal,
    orthogonal,
    standard_error,
)
from vae_lib import collapse, evaluation, transforms
from vae_lib.evaluation import EVALUATION_SEED, evaluate, importance_bound
from vae_lib.rows import identity
from vae_lib.training import generator
from vae_lib.vae import GaussianVAE, mlp

ALPHA = 1e-3
DIM, LATENTS = 6, 2


def random_model(make_generator, *, seed=0, dim=DIM, k=LATENTS, num_members=1) -> GaussianVAE:
    """A perceptron whose latents have different sizes, in float64."""
    generators = [make_generator(seed + member) for member in range(num_members)]
    model = GaussianVAE(
        mlp((dim, 8, 2 * k), generators),
        mlp((k, 8, dim), generators),
        latent_dim=k,
        sigma_sq=log_uniform(make_generator(seed), 0.5, 2, num_members),
        learned=torch.ones(num_members, dtype=torch.bool),
    )
    return model.double().requires_grad_(False)


def random_bytes(generator, count, dim=DIM) -> torch.Tensor:
    return torch.randint(256, (count, dim), dtype=torch.uint8, generator=generator)


def linear_model(weights, offset, sigma_sq, encoder_weights, log_variances) -> GaussianVAE:
    """p(x|z) = N(W z + mu, sigma_sq I), q(z|x) = N(V (x - mu), exp(log_variances))."""
    dim, k = weights.shape
    encoder, decoder = (mlp(sizes, [torch.Generator()]) for sizes in ((dim, 2 * k), (k, dim)))
    model = GaussianVAE(
        encoder,
        decoder,
        latent_dim=k,
        sigma_sq=torch.ones(1),
        learned=torch.tensor([False]),
    ).double()
    with torch.no_grad():
        model.log_sigma_sq.fill_(math.log(sigma_sq))
        decoder[0].weight[0] = weights.T
        decoder[0].bias[0, 0] = offset
        encoder[0].weight[0, :, :k] = encoder_weights.T
        encoder[0].weight[0, :, k:] = 0
        encoder[0].bias[0, 0, :k] = -encoder_weights @ offset
        encoder[0].bias[0, 0, k:] = log_variances
    return model.requires_grad_(False)


class PPCA:
    """Random pPCA, its exact density, and its exact posterior where W's columns are orthogonal."""

    def __init__(self, make_generator, *, seed=0, dim=DIM, k=LATENTS, orthogonal_columns=True):
        random = make_generator(seed)
        self.sigma_sq = 0.6
        self.offset = normal(random, dim)
        self.weights = orthogonal(random, dim)[:, :k] * log_uniform(random, 0.7, 2, k)
        if not orthogonal_columns:
            self.weights = self.weights @ normal(random, k, k)
        covariance = model_covariance(self.weights, self.sigma_sq)
        self.density = MultivariateNormal(self.offset, covariance)
        self.gain = self.weights.T @ torch.linalg.inv(covariance)
        centred = torch.zeros(1, dim, dtype=torch.float64)
        self.posterior_cov = dense_posterior(
            self.weights, self.sigma_sq, centred
        ).covariance_matrix[0]
        self.random = random

    def sample(self, count: int) -> torch.Tensor:
        dim, k = self.weights.shape
        latents, noise = normal(self.random, count, k), normal(self.random, count, dim)
        return self.offset + latents @ self.weights.T + math.sqrt(self.sigma_sq) * noise

    def model(self, *, gain=1.0, variance=1.0) -> GaussianVAE:
        """With 1 and 1, the encoder is the posterior; else its mean and variance are scaled."""
        variances = variance * self.posterior_cov.diagonal()
        return linear_model(
            self.weights, self.offset, self.sigma_sq, gain * self.gain, variances.log()
        )

    def elbo(self, data, *, gain=1.0, variance=1.0) -> torch.Tensor:
        """log p(x) - KL(q(z|x) || p(z|x)) of each row, both dense."""
        posterior = dense_posterior(self.weights, self.sigma_sq, data - self.offset)
        cov = (variance * self.posterior_cov.diagonal()).diag()
        q = MultivariateNormal(gain * posterior.mean, cov)
        return self.density.log_prob(data) - kl_divergence(q, posterior)


# The measures


def by_distributions(model, images, *, shift=None, seed=EVALUATION_SEED) -> dict[str, torch.Tensor]:
    """ELBO and its parts of each image, with the draws of ``evaluate``; at most one block."""
    random = generator(seed, "evaluation")
    uniform = transforms.uniform_noise(tuple(images.shape), generator=random, dtype=torch.float64)
    normals = torch.randn(1, len(images), model.latent_dim, generator=random, dtype=torch.float64)[
        0
    ]
    pixels = images.to(torch.float64) + uniform
    s = ALPHA + (1 - 2 * ALPHA) * pixels / 256
    log_det = (math.log((1 - 2 * ALPHA) / 256) - s.log() - (1 - s).log()).sum(-1)
    data = torch.logit(s) - (0 if shift is None else shift)
    mean, log_var = (part[0] for part in model.encode(data[None]))
    q = Normal(mean, (0.5 * log_var).exp())
    kl = kl_divergence(q, Normal(torch.zeros((), dtype=torch.float64), 1.0))
    decoded = model.decode((q.mean + q.stddev * normals)[None])[0]
    log_lik = Normal(decoded, model.sigma_sq[0].sqrt()).log_prob(data).sum(-1)
    return {
        "elbo": log_lik - kl.sum(-1) + log_det,
        "kl": kl,
        "log_det": log_det,
        "mean": mean,
        "error": (decoded - data).square(),
    }


@pytest.mark.parametrize("count", [2, 30, 1000])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_measures_are_those_of_torch_distributions_on_the_same_draws(
    make_generator, count, shifted
):
    random = make_generator(count)
    model, images = random_model(make_generator), random_bytes(random, count)
    shift = 3 * normal(random, DIM) if shifted else None
    found = evaluate(model, images, alpha=ALPHA, shift=shift)
    expected = by_distributions(model, images, shift=shift)
    # 1 - s, taken from s here, has a relative error of up to eps / alpha near white; besides it
    # a hundred roundings of numbers of the ELBO's size.
    tolerance = DIM * EPS / ALPHA + 100 * EPS * expected["elbo"].abs().max().item()
    assert found.elbo == pytest.approx(expected["elbo"].mean().item(), abs=tolerance)
    assert found.elbo_se == pytest.approx(
        (expected["elbo"].var(correction=1) / count).sqrt().item(), abs=tolerance
    )
    assert found.kl == pytest.approx(expected["kl"].sum(-1).mean().item(), abs=tolerance)
    assert found.log_abs_det == pytest.approx(expected["log_det"].mean().item(), abs=tolerance)
    assert found.tuned_sigma_sq == pytest.approx(expected["error"].mean().item(), abs=tolerance)
    assert found.sigma_sq == pytest.approx(model.sigma_sq.item(), rel=4 * EPS)
    for value, wanted in (
        (found.kl_per_latent, expected["kl"].mean(0)),
        (found.mean_variance, expected["mean"].var(0, correction=0)),
        (found.collapse_epsilon, collapse.collapse_epsilon(expected["kl"], delta=0.01)),
    ):
        assert value.shape == (LATENTS,)
        assert (value - wanted).abs().max().item() <= tolerance


@pytest.mark.parametrize("seed", range(5))
def test_the_two_identities_hold(make_generator, seed):
    """Of 2500 images, that is of several blocks; to rounding, where 1e-6 is promised."""
    model = random_model(make_generator, seed=seed)
    images = random_bytes(make_generator(seed), 2500)
    found = evaluate(model, images, alpha=ALPHA, shift=normal(make_generator(seed), DIM))
    elbo, tuned = identity(
        kl=found.kl,
        sigma_sq=found.sigma_sq,
        tuned_sigma_sq=found.tuned_sigma_sq,
        log_abs_det=found.log_abs_det,
        dim=DIM,
    )
    # The identities are linear in s, KL and J: their means over images are those of the ELBOs,
    # up to some hundred roundings of the largest of the terms.
    spread = DIM * (abs(math.log(2 * math.pi * found.sigma_sq)) + 20 + 50 / found.sigma_sq)
    tolerance = 100 * EPS * (spread + found.kl + abs(found.log_abs_det))
    assert found.elbo == pytest.approx(elbo, abs=tolerance)
    assert found.tuned_elbo == pytest.approx(tuned, abs=tolerance)
    # The noise variance that suits best: no other gives more.
    assert found.tuned_elbo > found.elbo
    for factor in (0.99, 1.01):
        other, _ = identity(
            kl=found.kl,
            sigma_sq=factor * found.tuned_sigma_sq,
            tuned_sigma_sq=found.tuned_sigma_sq,
            log_abs_det=found.log_abs_det,
            dim=DIM,
        )
        assert other < found.tuned_elbo


def test_the_measured_elbo_is_unbiased_over_several_blocks(make_generator):
    """Of 1500 images, cut to bytes; for each draw of u, a linear VAE's ELBO is known exactly."""
    ppca = PPCA(make_generator, orthogonal_columns=False)
    pixels = transforms.inverse_logit(ppca.sample(1500), alpha=0.0)
    images = pixels.floor().clamp(0, 255).to(torch.uint8)
    settings = {"gain": 0.7, "variance": 1.5}
    model, random = ppca.model(**settings), make_generator(8)
    found, exact = [], []
    for seed in range(40):
        found.append(evaluate(model, images, alpha=ALPHA, seed=seed).elbo)
        uniform = transforms.uniform_noise((1500, DIM), generator=random, dtype=torch.float64)
        pixels = transforms.dequantise(images, uniform)
        data = transforms.logit(pixels, alpha=ALPHA)
        log_det = transforms.log_abs_det(pixels, alpha=ALPHA)
        exact.append((ppca.elbo(data, **settings) + log_det).mean().item())
    found, exact = (torch.tensor(each, dtype=torch.float64) for each in (found, exact))
    error = standard_error(found - exact).item()
    # Student's t with 39 degrees of freedom exceeds 5 as often as a normal number exceeds 4.3.
    assert abs((found - exact).mean().item()) <= 5 * error
    assert error < 0.1


def test_collapse_and_active_units_are_counted_in_latents(make_generator):
    """Latents 0 and 1 carry nothing, 2 varies too little to be active, and 3 is active."""
    dim, k = 5, 4
    random = make_generator(0)
    encoder_weights = torch.zeros(k, dim, dtype=torch.float64)
    encoder_weights[2, 0], encoder_weights[3, 1] = 0.03, 0.4
    log_variances = torch.tensor([0.0, 0.05, -3.0, -3.0], dtype=torch.float64)
    model = linear_model(
        normal(random, dim, k), normal(random, dim), 0.5, encoder_weights, log_variances
    )
    found = evaluate(model, random_bytes(random, 400, dim), alpha=ALPHA)
    # KL of log-variances 0 and 0.05 with mean 0, by hand: 0 and 0.0006 < 0.01.
    assert found.collapse == 0.5
    expected = 0.5 * (math.exp(0.05) - 0.05 - 1)
    assert found.kl_per_latent[:2].tolist() == pytest.approx([0, expected], abs=8 * EPS)
    assert found.collapse_epsilon[:2].tolist() == pytest.approx([0, expected], abs=8 * EPS)
    assert found.active_units == 1
    assert found.mean_variance[0] < found.mean_variance[2] < 0.01 < found.mean_variance[3]


def test_measures_repeat_with_the_seed_and_leave_the_model_alone(make_generator):
    model, images = random_model(make_generator), random_bytes(make_generator(1), 40)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (evaluate(model, images, alpha=ALPHA) for _ in range(2))
    other = evaluate(model, images, alpha=ALPHA, seed=5)
    assert first.elbo == again.elbo
    assert first.elbo != other.elbo
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_several_members_and_other_images_are_refused(make_generator):
    model, pair = random_model(make_generator), random_model(make_generator, num_members=2)
    images = random_bytes(make_generator(1), 40)
    with pytest.raises(ValueError, match=r"^model must be a single one \(E = 1\), got E = 2"):
        evaluate(pair, images, alpha=ALPHA)
    with pytest.raises(ValueError, match=r"^images must be a tensor of dtype uint8"):
        evaluate(model, images.double(), alpha=ALPHA)
    with pytest.raises(ValueError, match=r"^alpha must be"):
        evaluate(model, images, alpha=0.5)


# The importance-weighted bound


def test_a_single_sample_is_a_sample_of_the_elbo(make_generator):
    """K = 1: bound and ELBO are one, and their mean is the exact ELBO."""
    ppca = PPCA(make_generator, orthogonal_columns=False)
    settings = {"gain": 0.7, "variance": 1.5}
    data = ppca.sample(2000)
    bound, elbo = importance_bound(
        ppca.model(**settings), data, num_samples=1, random=make_generator(1)
    )
    assert bound.shape == elbo.shape == (2000,)
    assert torch.equal(bound, elbo)
    errors = bound - ppca.elbo(data, **settings)
    assert abs(errors.mean().item()) <= 5 * errors.std().item() / math.sqrt(2000)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 10, 4001])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_with_the_exact_posterior_every_bound_is_the_log_density(make_generator, num_samples, k):
    ppca = PPCA(make_generator, k=k)
    data = ppca.sample(5)
    found = importance_bound(ppca.model(), data, num_samples=num_samples, random=make_generator(2))
    expected = ppca.density.log_prob(data)
    # Weights of draws of up to 5 standard deviations add terms of some hundred nats; C's inverse
    # is formed, and its condition is below 1 + 4 / 0.6.
    tolerance = 100 * EPS * 100 * 8
    for values in found:
        assert (values - expected).abs().max().item() <= tolerance


def test_in_float32_the_bound_is_the_same_to_float32_s_precision(make_generator):
    ppca = PPCA(make_generator)
    data = ppca.sample(5)
    bound, elbo = importance_bound(
        ppca.model().float(), data.float(), num_samples=50, random=make_generator(2)
    )
    assert bound.dtype == elbo.dtype == torch.float64
    expected = ppca.density.log_prob(data)
    tolerance = 100 * 2.0**-23 * 100
    for values in (bound, elbo):
        assert (values - expected).abs().max().item() <= tolerance


@pytest.mark.parametrize("num_samples", [1, 7, 300])
def test_the_bound_is_never_below_the_elbo_of_its_samples(make_generator, num_samples):
    model = random_model(make_generator)
    data = normal(make_generator(3), 40, DIM)
    bound, elbo = importance_bound(model, data, num_samples=num_samples, random=make_generator(4))
    assert (bound >= elbo - 100 * EPS * elbo.abs()).all()
    assert num_samples == 1 or (bound > elbo).any()


def test_the_bound_rises_with_the_number_of_samples_and_the_elbo_does_not(make_generator):
    ppca = PPCA(make_generator, orthogonal_columns=False)
    settings = {"gain": 0.5, "variance": 1.3}
    data = ppca.sample(500)
    model, exact = ppca.model(**settings), ppca.density.log_prob(data)
    counts = (1, 4, 16)
    found = [
        importance_bound(model, data, num_samples=count, random=make_generator(count))
        for count in counts
    ]
    gaps = torch.stack([exact - bound for bound, _ in found])
    errors = gaps.std(1) / math.sqrt(500)
    means = gaps.mean(1)
    # Each four times as many samples gain more than 5 standard errors of the difference.
    gains = -means.diff()
    assert (gains > 5 * (errors[:-1].square() + errors[1:].square()).sqrt()).all()
    assert means[-1] > -5 * errors[-1]
    for _, elbo in found:
        difference = elbo - ppca.elbo(data, **settings)
        assert abs(difference.mean()) <= 5 * difference.std() / math.sqrt(500)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_with_many_samples_the_bound_is_the_exact_log_density(make_generator, k):
    """An imperfect encoder whose weights have a variance. Each of three x two hundred times."""
    ppca = PPCA(make_generator, seed=k, k=k, orthogonal_columns=False)
    settings = {"gain": 0.8, "variance": 1.3}
    rows = ppca.sample(3)
    data = rows.repeat_interleave(200, 0)
    bound, _ = importance_bound(
        ppca.model(**settings), data, num_samples=500, random=make_generator(5)
    )
    bound = bound.reshape(3, 200)
    exact = ppca.density.log_prob(rows)
    # The logarithm of a mean of K weights has a bias of minus half its variance, to first order
    # in 1 / K; the other half is for the higher orders.
    variance = bound.var(1)
    error = 5 * (variance / 200).sqrt()
    assert ((bound.mean(1) - exact).abs() <= error + variance).all()
    # The test tells the bound from the ELBO, from a lost log K and from a lost constant.
    loss = exact - ppca.elbo(rows, **settings)
    assert (error + variance < 0.2 * loss).all()


def test_the_memory_that_it_takes_is_bounded_and_the_result_is_not_changed(make_generator):
    """Draws of a multiple of 16 numbers at once are those of one draw, as PyTorch's generator
    fills blocks of 16; with four latents so are those of any multiple of four samples."""
    whole, parts = make_generator(6), make_generator(6)
    expected = torch.randn(96, 4, generator=whole, dtype=torch.float64)
    found = [torch.randn(size, 4, generator=parts, dtype=torch.float64) for size in (32, 60, 4)]
    assert torch.equal(torch.cat(found), expected)

    model = random_model(make_generator, k=4)
    data = normal(make_generator(7), 3, DIM)
    sizes = []
    model.decoder.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[1]))
    together = importance_bound(model, data, num_samples=96, random=make_generator(6))
    assert sizes == [96] * 3
    for max_rows in (4, 32, 60, 96, 1000):
        sizes.clear()
        found = importance_bound(
            model, data, num_samples=96, random=make_generator(6), max_rows=max_rows
        )
        assert max(sizes) == min(max_rows, 96)
        assert sum(sizes) == 3 * 96
        for one, other in zip(found, together, strict=True):
            # The products of other shapes may be added up in another order.
            assert (one - other).abs().max().item() <= 100 * EPS * other.abs().max().item()


def test_5000_samples_are_decoded_4000_at_a_time(make_generator):
    ppca = PPCA(make_generator, orthogonal_columns=False)
    model, sizes = ppca.model(variance=1.2), []
    model.decoder.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[1]))
    data = ppca.sample(2)
    bound, _ = importance_bound(model, data, num_samples=5000, random=make_generator(1))
    assert sizes == [4000, 1000] * 2
    # A relative variance of the weights below 10, of which 5000 leave 0.002.
    assert (bound - ppca.density.log_prob(data)).abs().max() <= 5 * math.sqrt(10 / 5000)


@pytest.mark.parametrize("name", ["num_samples", "max_rows"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_a_bad_number_of_samples_is_refused(make_generator, name, value):
    model, data = random_model(make_generator), normal(make_generator(0), 2, DIM)
    arguments = {"num_samples": 3, "max_rows": 3, name: value}
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1"):
        importance_bound(model, data, random=make_generator(), **arguments)


def test_a_bound_of_several_members_is_refused(make_generator):
    pair, data = random_model(make_generator, num_members=2), normal(make_generator(0), 2, DIM)
    with pytest.raises(ValueError, match=r"^model must be a single one \(E = 1\), got E = 2"):
        importance_bound(pair, data, num_samples=3, random=make_generator())


@pytest.mark.parametrize("block", [1, 7, 50])
def test_a_variance_in_blocks_is_that_of_all_rows(make_generator, block):
    rows = torch.randn(50, 4, generator=make_generator(3), dtype=torch.float64) + 1e4
    spread = evaluation._Spread()
    for part in rows.split(block):
        spread.add(part)
    # Subtracting means of 1e4 costs four digits; a difference of two sums would cost eight.
    torch.testing.assert_close(
        spread.variance(), rows.var(0, correction=0), rtol=50 * 1e4 * EPS, atol=0
    )
