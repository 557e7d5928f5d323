"""pPCA against dense Gaussians, autograd, a numerical optimiser and scikit-learn."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal

from tests.oracles import (
    EPS,
    autograd_gradient,
    condition,
    covariance_of,
    dense_log_likelihood,
    dense_posterior,
    difference,
    log_uniform,
    model_covariance,
    normal,
    orthogonal,
    points_with_covariance,
    random_covariance,
)
from vae_lib import data, ppca
from vae_lib.spectrum import Spectrum, covariance, spectrum, spectrum_of_covariance

SHAPES = [(2, 1), (5, 2), (8, 3), (10, 9)]
BATCHES = [(), (4,), (2, 3)]
each_shape = pytest.mark.parametrize(("dim", "k"), SHAPES)
each_seed = pytest.mark.parametrize("seed", range(3))


def problem(generator, dim, k, batch=()):
    """Random W (..., n, k), sigma_sq (...) in [0.1, 10] and S (n, n)."""
    weights = normal(generator, *batch, dim, k)
    return weights, log_uniform(generator, 0.1, 10, *batch), random_covariance(generator, dim)


def rounding(weights, sigma_sq, cov) -> float:
    """Error allowed in a likelihood or its gradient: eps, times n^2 additions, times the size of
    the terms, times the condition of the matrix that is factorised."""
    dim = len(cov)
    size = dim * math.log(2 * math.pi) + (dim + cov.trace() / sigma_sq).max().item()
    worst = condition(weights, sigma_sq).max().item()
    return EPS * dim**2 * size * worst * max(1, 1 / sigma_sq.min().item())


@each_shape
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_the_likelihood_equals_the_dense_one(make_generator, dim, k, batch):
    weights, sigma_sq, cov = problem(make_generator(dim), dim, k, batch)
    found = ppca.log_likelihood(weights, sigma_sq, cov)
    assert found.shape == batch
    tolerance = rounding(weights, sigma_sq, cov)
    assert difference(found, dense_log_likelihood(weights, sigma_sq, cov)) <= tolerance


@each_shape
def test_the_likelihood_is_the_mean_log_density_of_the_data(make_generator, dim, k):
    weights, sigma_sq, cov = problem(make_generator(dim), dim, k)
    model = MultivariateNormal(
        torch.zeros(dim, dtype=torch.float64), model_covariance(weights, sigma_sq)
    )
    expected = model.log_prob(points_with_covariance(cov)).mean()
    found = ppca.log_likelihood(weights, sigma_sq, cov)
    assert difference(found, expected) <= rounding(weights, sigma_sq, cov)


def test_the_likelihood_broadcasts_weights_against_noise(make_generator):
    weights, _, cov = problem(make_generator(), 5, 2, (3, 1))
    sigma_sq = torch.tensor([0.5, 1, 2, 4], dtype=torch.float64)
    found = ppca.log_likelihood(weights, sigma_sq, cov)
    assert found.shape == (3, 4)
    one_by_one = [
        [dense_log_likelihood(row[0], value, cov) for value in sigma_sq] for row in weights
    ]
    expected = torch.stack([torch.stack(row) for row in one_by_one])
    assert difference(found, expected) <= rounding(weights, sigma_sq, cov)


@each_shape
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_the_gradient_equals_autograd_of_the_dense_likelihood(make_generator, dim, k, batch):
    weights, sigma_sq, cov = problem(make_generator(dim + 1), dim, k, batch)
    expected, _ = autograd_gradient(
        lambda weights, sigma_sq: dense_log_likelihood(weights, sigma_sq, cov), weights, sigma_sq
    )
    found = ppca.log_likelihood_gradient(weights, sigma_sq, cov)
    tolerance = rounding(weights, sigma_sq, cov) * weights.abs().max().item()
    assert difference(found, expected) <= tolerance


@each_shape
def test_autograd_of_the_likelihood_equals_autograd_of_the_dense_one(make_generator, dim, k):
    """The gradients in W and in sigma_sq that training uses."""
    weights, sigma_sq, cov = problem(make_generator(dim + 2), dim, k)
    found = autograd_gradient(lambda *point: ppca.log_likelihood(*point, cov), weights, sigma_sq)
    expected = autograd_gradient(
        lambda *point: dense_log_likelihood(*point, cov), weights, sigma_sq
    )
    tolerance = rounding(weights, sigma_sq, cov) * max(1, weights.abs().max().item())
    for ours, theirs in zip(found, expected, strict=True):
        assert difference(ours, theirs) <= tolerance


@each_shape
def test_log_prob_equals_the_dense_density(make_generator, dim, k):
    generator = make_generator(dim)
    weights, sigma_sq, cov = problem(generator, dim, k)
    mean = normal(generator, dim)
    rows = mean + points_with_covariance(cov)
    dense = MultivariateNormal(mean, model_covariance(weights, sigma_sq))
    found = ppca.log_prob(ppca.PPCA(weights, sigma_sq, mean), rows)
    # One row's squared length is up to 2n times the mean.
    tolerance = 2 * dim * rounding(weights, sigma_sq, cov)
    assert difference(found, dense.log_prob(rows)) <= tolerance


@each_shape
def test_the_posterior_is_the_joint_gaussian_conditioned_on_x(make_generator, dim, k):
    generator = make_generator(dim)
    weights, sigma_sq, cov = problem(generator, dim, k)
    mean = normal(generator, dim)
    rows = mean + points_with_covariance(cov)
    found = ppca.posterior(ppca.PPCA(weights, sigma_sq, mean), rows)
    dense = dense_posterior(weights, sigma_sq, rows - mean)
    tolerance = 2 * dim * rounding(weights, sigma_sq, cov)
    assert difference(found.mean, dense.mean) <= tolerance
    assert difference(found.covariance, dense.covariance_matrix[0]) <= tolerance


def test_samples_have_the_mean_and_the_covariance_of_the_model(make_generator):
    generator = make_generator(0)
    model = ppca.PPCA(
        normal(generator, 4, 2), torch.tensor(0.3, dtype=torch.float64), normal(generator, 4)
    )
    num_samples = 100_000
    draws = ppca.sample(model, num_samples, generator=generator)
    assert draws.shape == (num_samples, 4)
    cov = model_covariance(model.weights, model.sigma_sq)
    # Five standard errors: for a Gaussian Var(x_i) = C_ii and Var(x_i x_j) = C_ii C_jj + C_ij^2.
    mean_error = (cov.diagonal() / num_samples).sqrt()
    assert ((draws.mean(0) - model.mean).abs() <= 5 * mean_error).all()
    variances = cov.diagonal()
    cov_error = ((variances[:, None] * variances + cov.square()) / num_samples).sqrt()
    assert ((covariance(draws) - cov).abs() <= 5 * cov_error).all()


def test_samples_repeat_with_the_seed_and_differ_without(make_generator):
    model = ppca.PPCA(torch.ones(3, 1).double(), torch.tensor(1.0).double(), torch.zeros(3))
    first, again = (ppca.sample(model, 5, generator=make_generator(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, ppca.sample(model, 5, generator=make_generator(2)))


# The maximum likelihood estimate


def at_the_maximum(generator, dim, k):
    """A spectrum, its covariance and the MLE."""
    cov = random_covariance(generator, dim)
    found = spectrum_of_covariance(cov)
    return cov, found, ppca.mle(found, k)


@each_shape
@each_seed
def test_the_gradient_is_zero_at_the_mle_in_weights_and_in_noise(make_generator, dim, k, seed):
    cov, _, model = at_the_maximum(make_generator(seed), dim, k)
    gradients = autograd_gradient(
        lambda *point: dense_log_likelihood(*point, cov), model.weights, model.sigma_sq
    )
    # The terms that cancel are of size |C^-1 W| <= 1 / sigma_sq^(1/2) and n / sigma_sq.
    tolerance = rounding(model.weights, model.sigma_sq, cov)
    for gradient in gradients:
        assert gradient.abs().max().item() <= tolerance


@each_shape
@each_seed
def test_the_mle_attains_the_closed_form_maximum(make_generator, dim, k, seed):
    cov, found, model = at_the_maximum(make_generator(seed), dim, k)
    expected = dense_log_likelihood(model.weights, model.sigma_sq, cov)
    tolerance = rounding(model.weights, model.sigma_sq, cov)
    assert difference(ppca.max_log_likelihood(found.eigenvalues, k), expected) <= tolerance
    kept, discarded = found.eigenvalues[:k], found.eigenvalues[k:]
    assert model.sigma_sq.item() == pytest.approx(discarded.mean().item(), rel=dim * EPS)
    # A decomposition of S and one of W are each good to about n eps; a square doubles that.
    lengths = torch.linalg.svdvals(model.weights).square()
    assert difference(lengths, kept - model.sigma_sq) <= 3 * 2 * dim * EPS * kept[0].item()


@each_shape
@pytest.mark.parametrize("step", [1e-3, 1e-1, 1.0])
def test_no_random_perturbation_of_the_mle_is_better(make_generator, dim, k, step):
    generator = make_generator(dim)
    cov, found, model = at_the_maximum(generator, dim, k)
    weights = model.weights + step * normal(generator, 200, dim, k)
    sigma_sq = model.sigma_sq * (step * normal(generator, 200)).exp()
    perturbed = ppca.log_likelihood(weights, sigma_sq, cov)
    best = ppca.max_log_likelihood(found.eigenvalues, k)
    # A random step of 1e-3 is no pure rotation of W, so the fall, of order 1e-6, is seen.
    assert (perturbed < best).all()


@pytest.mark.parametrize("seed", range(6))
def test_no_numerical_optimisation_beats_the_mle(make_generator, seed):
    """L-BFGS on the dense likelihood from random starts reaches the closed form, never more."""
    dim, k = 5, 2
    generator = make_generator(seed)
    cov = random_covariance(generator, dim)

    def negative(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(flat).requires_grad_()
        value = -dense_log_likelihood(point[:-1].reshape(dim, k), point[-1].exp(), cov)
        return value.item(), torch.autograd.grad(value, point)[0].numpy()

    start = normal(generator, dim * k + 1).numpy()
    options = {"ftol": 1e-15, "gtol": 1e-8, "maxiter": 10_000, "maxfun": 20_000}
    result = minimize(negative, start, jac=True, method="L-BFGS-B", options=options)
    best = ppca.max_log_likelihood(spectrum_of_covariance(cov).eigenvalues, k).item()
    assert -result.fun <= best + 1e-12 * abs(best)
    # The optimiser stops where the gradient g is below about 1e-6, which leaves g^2 / curvature.
    assert -result.fun >= best - 1e-9


@each_shape
@each_seed
def test_rotations_leave_the_likelihood_unchanged(make_generator, dim, k, seed):
    generator = make_generator(seed)
    cov, found, model = at_the_maximum(generator, dim, k)
    rotated = ppca.mle(found, k, rotation=orthogonal(generator, k))
    # By rounding W, 1 x 1 "rotations" are signs; the others move W by its own size.
    assert difference(rotated.weights, model.weights) > 1e-3 or k == 1
    tolerance = rounding(model.weights, model.sigma_sq, cov)
    pair = [ppca.log_likelihood(each.weights, each.sigma_sq, cov) for each in (model, rotated)]
    assert difference(*pair) <= tolerance
    covs = [model_covariance(each.weights, each.sigma_sq) for each in (model, rotated)]
    assert difference(*covs) <= 10 * dim * EPS * covs[0].abs().max().item()


@pytest.mark.parametrize("sigma_sq", [0.3, 0.6, 1.0, 2.0, 5.0, 8.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_at_fixed_noise_no_weights_beat_the_closed_form(make_generator, sigma_sq, k):
    generator = make_generator(3)
    cov = covariance_of([6, 3, 1.2, 0.7, 0.5], orthogonal(generator, 5))
    found = spectrum_of_covariance(cov)
    model = ppca.mle_at(found, k, sigma_sq)
    best = ppca.max_log_likelihood(found.eigenvalues, k, sigma_sq)
    tolerance = rounding(model.weights, model.sigma_sq, cov)
    assert difference(dense_log_likelihood(model.weights, sigma_sq, cov), best) <= tolerance
    assert model.sigma_sq.item() == sigma_sq
    kept = min(k, int((found.eigenvalues > sigma_sq).sum()))
    assert (model.weights.norm(dim=0) > 0).tolist() == [True] * kept + [False] * (k - kept)
    (gradient,) = autograd_gradient(
        lambda weights: dense_log_likelihood(weights, sigma_sq, cov), model.weights
    )
    assert gradient.abs().max().item() <= tolerance
    for scale in (1e-2, 1.0):
        moved = model.weights + scale * normal(generator, 200, 5, k)
        assert (ppca.log_likelihood(moved, sigma_sq, cov) < best).all()
        elsewhere = scale * normal(generator, 200, 5, k)
        assert (ppca.log_likelihood(elsewhere, sigma_sq, cov) <= best + tolerance).all()


@each_shape
def test_no_fixed_noise_beats_the_best_noise(make_generator, dim, k):
    eigenvalues = spectrum_of_covariance(random_covariance(make_generator(dim), dim)).eigenvalues
    best = ppca.max_log_likelihood(eigenvalues, k)
    best_noise = ppca.mle_sigma_sq(eigenvalues, k).item()
    for factor in (0.01, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2, 10, 100):
        assert ppca.max_log_likelihood(eigenvalues, k, factor * best_noise) < best
    again = ppca.max_log_likelihood(eigenvalues, k, best_noise)
    assert difference(again, best) <= dim * EPS * dim * abs(best.item())


def test_data_without_noise_have_no_maximum():
    eigenvalues = torch.tensor([3, 1, 0, 0], dtype=torch.float64)
    assert ppca.mle_sigma_sq(eigenvalues, 1).item() == pytest.approx(1 / 3)
    for k in (2, 3):
        with pytest.raises(ValueError, match=rf"k must be below the data's rank 2, got {k}"):
            ppca.mle_sigma_sq(eigenvalues, k)


@pytest.mark.parametrize(("num_samples", "dim", "rank"), [(5, 8, 4), (50, 8, 3)])
def test_measured_data_without_noise_have_no_maximum_either(make_generator, num_samples, dim, rank):
    """Centred rows or a product of rank 3: what is left of the spectrum is rounding, no noise."""
    generator = make_generator(0)
    rows = normal(generator, num_samples, rank) @ normal(generator, rank, dim)
    eigenvalues = spectrum(rows).eigenvalues
    assert ppca.mle_sigma_sq(eigenvalues, rank - 1) > 1e-6
    with pytest.raises(ValueError, match="rank"):
        ppca.mle_sigma_sq(eigenvalues, rank)


# All stationary points


@pytest.mark.parametrize("sigma_sq", [0.3, 0.6, 1.0, 2.0, 5.0, 8.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_stationary_sets_are_all_small_subsets_of_the_large_eigenvalues(sigma_sq, k):
    eigenvalues = torch.tensor([6, 3, 1.2, 0.7, 0.5], dtype=torch.float64)
    found = ppca.stationary_sets(eigenvalues, k, sigma_sq)
    usable = [j for j in range(5) if eigenvalues[j] > sigma_sq]
    assert found[0] == ()
    assert len(found) == sum(math.comb(len(usable), size) for size in range(k + 1))
    assert set(found) == {s for size in range(k + 1) for s in combinations(usable, size)}
    assert found == sorted(found, key=lambda active: (len(active), active))


@pytest.mark.parametrize("sigma_sq", [0.3, 0.6, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_likelihoods_of_stationary_points_equal_the_dense_ones(make_generator, sigma_sq, k):
    cov = covariance_of([6, 3, 1.2, 0.7, 0.5], orthogonal(make_generator(4), 5))
    found = spectrum_of_covariance(cov)
    for active in ppca.stationary_sets(found.eigenvalues, k, sigma_sq):
        weights = ppca.stationary_weights(found, active, k, sigma_sq)
        value = ppca.stationary_log_likelihood(found.eigenvalues, active, sigma_sq)
        expected = dense_log_likelihood(weights, sigma_sq, cov)
        tolerance = rounding(weights, torch.tensor(sigma_sq, dtype=torch.float64), cov)
        assert difference(value, expected) <= tolerance
        assert value <= ppca.max_log_likelihood(found.eigenvalues, k, sigma_sq) + tolerance


# scikit-learn, whose PCA divides by N - 1: our eigenvalues are scaled by N / (N - 1) to match.


def with_n_minus_1(found: Spectrum, num_samples: int) -> Spectrum:
    factor = num_samples / (num_samples - 1)
    return Spectrum(found.mean, found.eigenvalues * factor, found.eigenvectors)


def assert_equals_scikit_learn(rows: torch.Tensor, k: int) -> None:
    theirs = PCA(n_components=k, svd_solver="full").fit(rows.numpy())
    ours = ppca.mle(with_n_minus_1(spectrum(rows), len(rows)), k)
    assert ours.sigma_sq.item() == pytest.approx(theirs.noise_variance_, rel=1e-8)
    cov = model_covariance(ours.weights, ours.sigma_sq)
    assert difference(cov, torch.from_numpy(theirs.get_covariance())) <= 1e-8 * cov.abs().max()
    scores = torch.from_numpy(theirs.score_samples(rows.numpy()))
    found = ppca.log_prob(ours, rows)
    assert difference(found, scores) <= 1e-8 * scores.abs().max().item()
    # The same number two ways: the mean over images, and the closed form on S of N.
    mean = ppca.log_likelihood(ours.weights, ours.sigma_sq, covariance(rows))
    assert difference(found.mean(), mean) <= 1e-8 * scores.abs().max().item()


@pytest.mark.parametrize(("num_samples", "dim", "k"), [(50, 2, 1), (200, 6, 2), (80, 40, 25)])
def test_the_mle_and_its_scores_equal_scikit_learn_s(make_generator, num_samples, dim, k):
    generator = make_generator(dim)
    scales = torch.linspace(3, 0.5, dim, dtype=torch.float64)
    rows = normal(generator, num_samples, dim) * scales @ orthogonal(generator, dim) - 2
    assert_equals_scikit_learn(rows, k)


@pytest.mark.parametrize(("num_samples", "dim", "k"), [(30, 40, 5), (10, 200, 3)])
def test_scikit_learn_averages_fewer_zeros_where_data_are_short(
    make_generator, num_samples, dim, k
):
    """It averages min(N, n) - k discarded eigenvalues, the likelihood's maximum all n - k."""
    rows = normal(make_generator(dim), num_samples, dim)
    theirs = PCA(n_components=k, svd_solver="full").fit(rows.numpy())
    found = with_n_minus_1(spectrum(rows), num_samples)
    ours = ppca.mle_sigma_sq(found.eigenvalues, k).item()
    ratio = (dim - k) / (min(num_samples, dim) - k)
    assert ours * ratio == pytest.approx(theirs.noise_variance_, rel=1e-8)
    # At its own noise variance all else is equal.
    model = ppca.mle_at(found, k, float(theirs.noise_variance_))
    cov = model_covariance(model.weights, model.sigma_sq)
    assert difference(cov, torch.from_numpy(theirs.get_covariance())) <= 1e-8 * cov.abs().max()
    scores = torch.from_numpy(theirs.score_samples(rows.numpy()))
    assert difference(ppca.log_prob(model, rows), scores) <= 1e-8 * scores.abs().max().item()


@pytest.fixture(scope="module")
def mnist() -> torch.Tensor:
    return data.mnist_pixels(1000)


@pytest.mark.parametrize("k", [50, 200])
def test_the_mle_and_its_scores_equal_scikit_learn_s_on_mnist(mnist, k):
    """N = 1000 > n = 784, so scikit-learn averages all n - k discarded eigenvalues as we do, the
    zeros of pixels that are never inked among them: all pixels can be compared."""
    assert_equals_scikit_learn(mnist, k)


# The trap of dividing by N - 1


@pytest.mark.parametrize(("num_samples", "dim", "k"), [(20, 4, 1), (30, 8, 3), (1000, 5, 4)])
def test_dividing_by_n_minus_1_lowers_the_maximum_by_a_known_amount(
    make_generator, num_samples, dim, k
):
    rows = normal(make_generator(dim), num_samples, dim)
    right = ppca.max_log_likelihood(spectrum(rows).eigenvalues, k)
    unbiased = spectrum_of_covariance(torch.from_numpy(np.cov(rows.numpy().T)))
    wrong = ppca.max_log_likelihood(unbiased.eigenvalues, k)
    shift = dim / 2 * math.log(num_samples / (num_samples - 1))
    # Eigenvalues are off by N eps relative to the largest, and enter through their logarithms.
    condition = (unbiased.eigenvalues[0] / unbiased.eigenvalues[-1]).item()
    assert (right - wrong).item() == pytest.approx(shift, abs=EPS * num_samples * dim * condition)


def test_on_1000_mnist_images_that_is_0_3922_nats(mnist):
    """A published demonstration's N, n and k: the shift that its comment takes for rounding."""
    found = spectrum(mnist)
    right = ppca.max_log_likelihood(found.eigenvalues, 200)
    wrong = ppca.max_log_likelihood(with_n_minus_1(found, 1000).eigenvalues, 200)
    assert (right - wrong).item() == pytest.approx(0.3922, abs=5e-5)


def test_the_published_demonstration_divides_by_n_minus_one():
    """Its bound is printed as 941.6543; divided by N the maximum is (n/2) log(N/(N-1)) higher.

    Both are known to four decimals, rounded or cut.
    """
    pixels = data.mnist_pixels(60_000)[data.sharded_order(1000)]
    eigenvalues = spectrum(pixels).eigenvalues
    assert float(ppca.max_log_likelihood(eigenvalues, 200)) == pytest.approx(942.0465, abs=1e-4)
    inflated = eigenvalues * 1000 / 999
    assert float(ppca.max_log_likelihood(inflated, 200)) == pytest.approx(941.6543, abs=1e-4)
