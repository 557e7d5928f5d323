"""Slices, curvatures and escape times against dense likelihoods, autograd and integration."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad

from tests.oracles import (
    EPS,
    autograd_gradient,
    autograd_hessian,
    condition,
    covariance_of,
    dense_gap,
    dense_log_likelihood,
    difference,
    normal,
    orthogonal,
)
from vae_lib import landscape, linear_vae, ppca
from vae_lib.spectrum import Spectrum, spectrum_of_covariance

EIGENVALUES = [6, 3, 1.2, 0.7, 0.5]
NOISES = [0.3, 0.6, 1.0, 2.0, 5.0, 8.0]
each_noise = pytest.mark.parametrize("sigma_sq", NOISES)


@pytest.fixture
def problem(make_generator) -> tuple[torch.Tensor, Spectrum]:
    """A covariance with known eigenvalues in a random basis, and its spectrum."""
    cov = covariance_of(EIGENVALUES, orthogonal(make_generator(5), len(EIGENVALUES)))
    return cov, spectrum_of_covariance(cov)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_lengths(start: float, end: float) -> torch.Tensor:
    """Five lengths, evenly spread in their logarithm."""
    return torch.logspace(math.log10(start), math.log10(end), 5, dtype=torch.float64)


# Curvature


@pytest.mark.parametrize(
    ("sigma_sq", "k"), [*((sigma_sq, 2) for sigma_sq in NOISES), (1.0, 1), (1.0, 3)]
)
@pytest.mark.parametrize("profiled", [False, True], ids=["likelihood", "best ELBO"])
def test_the_curvature_of_every_column_along_every_unused_eigenvector(
    problem, sigma_sq, k, profiled
):
    """At every pPCA point, collapsed columns and active ones, against autograd Hessians."""
    cov, found = problem

    def objective(weights):
        value = dense_log_likelihood(weights, sigma_sq, cov)
        return value - dense_gap(weights, sigma_sq) if profiled else value

    for active in ppca.stationary_sets(found.eigenvalues, k, sigma_sq):
        weights = ppca.stationary_weights(found, active, k, sigma_sq)
        hessian = autograd_hessian(objective, weights)
        for column in range(k):
            is_active = column < len(active)
            scale = found.eigenvalues[active[column]] if is_active else numbers(sigma_sq)[0]
            for j in set(range(5)) - set(active):
                move = torch.zeros(5, k, dtype=torch.float64)
                move[:, column] = found.eigenvectors[:, j]
                measured = move.flatten() @ hessian @ move.flatten()
                formula = landscape.curvature(found.eigenvalues[j], sigma_sq, scale)
                assert difference(measured, formula) <= 1e-8
                if not is_active:
                    collapsed = landscape.collapsed_curvature(found.eigenvalues[j], sigma_sq)
                    assert difference(measured, collapsed) <= 1e-8


@pytest.mark.parametrize(
    ("curvatures", "name"),
    [
        ([-1, -2], "maximum"),
        ([-1, 0, 2], "saddle"),
        ([1, 0], "minimum"),
        ([0, 0], "degenerate"),
        ([-1, 1e-12], "maximum"),
        ([1, -1e-12], "minimum"),
        ([1e-12, -1e-12], "degenerate"),
    ],
)
def test_a_point_is_named_after_the_signs_of_its_curvatures(curvatures, name):
    assert landscape.kind(numbers(*curvatures), zero=1e-9) == name


# Slices


@each_noise
@pytest.mark.parametrize("pair", [(0, 1), (1, 3), (3, 4)])
@pytest.mark.parametrize("other", [(), (2,)], ids=["alone", "beside an active column"])
def test_a_pair_slice_is_a_difference_of_dense_likelihoods(problem, sigma_sq, pair, other):
    cov, found = problem
    if any(found.eigenvalues[j] <= sigma_sq for j in other):
        other = ()
    base = ppca.stationary_weights(found, other, 3, sigma_sq)
    along_i, along_j = torch.linspace(-3, 3, 9).double(), torch.linspace(-1, 2, 7).double()
    grid = base.expand(9, 7, 5, 3).clone()
    grid[..., 1] = along_i[:, None, None] * found.eigenvectors[:, pair[0]]
    grid[..., 2] = along_j[None, :, None] * found.eigenvectors[:, pair[1]]
    expected = dense_log_likelihood(grid, sigma_sq, cov) - dense_log_likelihood(base, sigma_sq, cov)
    values = found.eigenvalues[list(pair)].tolist()
    rises = landscape.pair_slice(*values, sigma_sq, along_i, along_j)
    # Two likelihoods of size n (1 + log) + tr S / sigma_sq are subtracted.
    size = 5 * (2 + abs(math.log(sigma_sq))) + sum(EIGENVALUES) / sigma_sq
    worst = condition(grid, sigma_sq).max().item()
    assert difference(rises, expected) <= EPS * 5**2 * size * worst
    # The columns stay orthogonal, so that the best ELBO has the same slice.
    gap = linear_vae.hadamard_gap(grid, sigma_sq)
    assert gap.abs().max().item() <= EPS * 5**2 * worst


def test_a_slice_is_the_sum_of_its_two_edges_and_batches_over_noise():
    along_i, along_j = torch.linspace(0, 2, 4).double(), torch.linspace(0, 3, 6).double()
    noises = numbers(0.5, 1, 2)
    batch = landscape.pair_slice(3.0, 0.7, noises[:, None], along_i, along_j)
    assert batch.shape == (3, 4, 6)
    for values, sigma_sq in zip(batch, noises, strict=True):
        alone = landscape.pair_slice(3.0, 0.7, sigma_sq, along_i, along_j)
        assert torch.equal(values, alone)
        edges = [
            landscape.column_rise(3.0, sigma_sq, along_i)[:, None],
            landscape.column_rise(0.7, sigma_sq, along_j)[None, :],
        ]
        assert difference(alone, edges[0] + edges[1]) == 0


@each_noise
@pytest.mark.parametrize("eigenvalue", EIGENVALUES)
def test_a_column_rises_with_its_curvature_and_most_at_its_stationary_length(eigenvalue, sigma_sq):
    length = torch.linspace(0, 5, 2001, dtype=torch.float64)
    rise = landscape.column_rise(eigenvalue, sigma_sq, length)
    assert rise[0] == 0
    # rise = curvature a^2 / 2 + O(a^4), with a fourth derivative of at most 12 (2 lambda/sigma_sq
    # + 1) / sigma_sq^2, one 24th of which remains.
    small = length[1]
    parabola = landscape.collapsed_curvature(numbers(eigenvalue)[0], sigma_sq) * small**2 / 2
    rest = (2 * eigenvalue / sigma_sq + 1) / (2 * sigma_sq**2) * small**4
    assert abs(rise[1] - parabola) <= rest
    best = math.sqrt(max(eigenvalue - sigma_sq, 0))
    top = landscape.column_rise(eigenvalue, sigma_sq, numbers(best))
    assert (rise <= top + 4 * EPS * eigenvalue / sigma_sq).all()


# Time


@pytest.mark.parametrize("eigenvalue", [1.1, 2.0, 10.0, 1e3])
@pytest.mark.parametrize("sigma_sq", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("start", [1e-8, 1e-3, 0.05])
@pytest.mark.parametrize("fraction", [0.5, 0.99])
def test_the_escape_time_is_the_integral_of_the_flow(eigenvalue, sigma_sq, start, fraction):
    """The velocity is the gradient of the dense likelihood, the integral scipy's."""
    cov = torch.diag(numbers(eigenvalue, 0.5 * sigma_sq))

    def velocity(length: float) -> float:
        """C^-1 S C^-1 W - C^-1 W, where all matrices are diagonal."""
        model = length**2 + sigma_sq
        return eigenvalue * length / model**2 - length / model

    lengths = log_lengths(start, math.sqrt(eigenvalue))
    weights = torch.stack([lengths, torch.zeros(5).double()], dim=1)[..., None]
    (gradient,) = autograd_gradient(
        lambda weights: dense_log_likelihood(weights, sigma_sq, cov), weights
    )
    # Two terms of size lambda / sigma_sq^(3/2) or less are subtracted.
    tolerance = 100 * EPS * (eigenvalue / sigma_sq + 1) / sigma_sq**0.5
    velocities = numbers(*[velocity(length) for length in lengths.tolist()])
    assert difference(gradient[:, 0, 0], velocities) <= tolerance
    assert gradient[:, 1].abs().max().item() <= tolerance

    def slowness(log_length: float) -> float:
        """dt / d log a."""
        return math.exp(log_length) / velocity(math.exp(log_length))

    end = fraction * math.sqrt(eigenvalue - sigma_sq)
    expected, error = quad(
        slowness, math.log(start), math.log(end), epsabs=0, epsrel=1e-10, limit=200
    )
    assert error <= 1e-9 * expected
    time = landscape.escape_time(eigenvalue, sigma_sq, start=start, fraction=fraction)
    assert time.item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("eigenvalue", "sigma_sq"), [(2.0, 1.0), (1.1, 1.0), (7.0, 0.3)])
def test_from_a_small_start_the_escape_follows_the_curvature(eigenvalue, sigma_sq):
    """A start ten times smaller costs log(10) / curvature more, up to terms in a0^2."""
    curvature = landscape.collapsed_curvature(numbers(eigenvalue)[0], sigma_sq).item()
    starts = [1e-4, 1e-5, 1e-6]
    times = [landscape.escape_time(eigenvalue, sigma_sq, start=a).item() for a in starts]
    # The start enters the other terms as a0^2 (1 + lambda^2 / c^2) / 2; differences of times
    # also lose eps of the times themselves.
    rise = eigenvalue - sigma_sq
    for start, (one, ten) in zip(starts, pairwise(times), strict=False):
        rest = start**2 * (1 + (eigenvalue / rise) ** 2) + 8 * EPS * ten
        assert ten - one == pytest.approx(math.log(10) / curvature, abs=rest)
    end = 0.5 * math.sqrt(rise)
    leading = [math.log(end / start) / curvature for start in starts]
    shares = [one / time for one, time in zip(leading, times, strict=True)]
    assert all(abs(b - 1) < abs(a - 1) for a, b in pairwise(shares))


def test_escape_times_broadcast():
    eigenvalues, noises = numbers(2, 3, 5), numbers(0.5, 1)
    times = landscape.escape_time(eigenvalues, noises[:, None], start=1e-3)
    assert times.shape == (2, 3)
    for row, sigma_sq in zip(times, noises, strict=True):
        for time, eigenvalue in zip(row, eigenvalues, strict=True):
            assert (
                difference(time, landscape.escape_time(eigenvalue, sigma_sq, start=1e-3))
                <= 4 * EPS * time.item()
            )


@pytest.mark.parametrize("fraction", [1e-9, 1.0])
def test_an_escape_that_goes_nowhere_or_forever_is_refused(fraction):
    with pytest.raises(ValueError, match=f"fraction must .*start = 0.1 .*got {fraction}"):
        landscape.escape_time(2.0, 1.0, start=0.1, fraction=fraction)


def test_there_is_no_escape_from_noise_at_or_above_the_eigenvalue():
    for sigma_sq in (2.0, 3.0):
        with pytest.raises(ValueError, match=f"eigenvalue must exceed sigma_sq .*{sigma_sq}"):
            landscape.escape_time(2.0, sigma_sq, start=0.1)


@each_noise
def test_the_elbo_s_escape_rate_is_the_top_eigenvalue_of_its_joint_gradient_flow(problem, sigma_sq):
    """The Jacobian of the gradient in (W, V) at W = 0, V = 0, D = I, by autograd."""
    cov, found = problem
    k, dim = 2, 5

    def elbo(flat):
        weights, encoder_weights = flat[: dim * k].reshape(dim, k), flat[dim * k :].reshape(k, dim)
        encoder = linear_vae.Encoder(encoder_weights, torch.ones(k, dtype=torch.float64))
        return linear_vae.unchecked_elbo_terms(weights, encoder, numbers(sigma_sq)[0], cov).elbo

    jacobian = autograd_hessian(elbo, torch.zeros(2 * dim * k, dtype=torch.float64))
    rates = torch.linalg.eigvalsh(jacobian).flip(0)
    formula = landscape.elbo_escape_rate(found.eigenvalues, sigma_sq)
    # Symmetric eigenvalues are good to n eps times the largest entry.
    tolerance = 2 * dim * k * EPS * max(EIGENVALUES) * max(1, 1 / sigma_sq)
    # Every eigenvector of S gives its rate once for each of the k columns.
    expected = formula.repeat_interleave(k)
    assert difference(rates[: dim * k], expected) <= tolerance


@pytest.mark.parametrize("eigenvalue", [0.01, 1.0, 50.0])
def test_the_escape_rate_changes_sign_where_the_noise_meets_the_eigenvalue(eigenvalue):
    factors = numbers(0.1, 0.9, 0.999999, 1.000001, 1.1, 10)
    signs = landscape.elbo_escape_rate(eigenvalue, eigenvalue * factors).sign()
    assert signs.tolist() == [1, 1, 1, -1, -1, -1]
    # At the meeting the rate is 0, up to the rounding of lambda + 1 / sigma_sq.
    at = landscape.elbo_escape_rate(eigenvalue, eigenvalue).item()
    assert abs(at) <= 4 * EPS * (eigenvalue + 1 / eigenvalue)


def test_the_condition_number_is_the_ratio_of_extreme_curvatures():
    eigenvalues = numbers(*EIGENVALUES)
    for sigma_sq in (0.01, 0.2, 0.49):
        curvatures = landscape.collapsed_curvature(eigenvalues, sigma_sq)
        ratio = (curvatures.max() / curvatures.min()).item()
        found = landscape.condition_number(eigenvalues, sigma_sq).item()
        # The smallest curvature is lambda - sigma_sq, whose rounding is that of lambda.
        assert found == pytest.approx(ratio, rel=8 * EPS * 0.5 / (0.5 - sigma_sq))
    noises = numbers(1e-9, 0.1, 0.3, 0.4999)
    batch = landscape.condition_number(eigenvalues, noises)
    assert (batch.diff() > 0).all()
    assert batch[0].item() == pytest.approx(6 / 0.5, rel=2e-8)
    for sigma_sq in (0.5, 0.7):
        with pytest.raises(ValueError, match=f"sigma_sq must be below .*0.5, got {sigma_sq}"):
            landscape.condition_number(eigenvalues, sigma_sq)


# Steps of gradient ascent


@pytest.mark.parametrize("rate", [0.03, 1.0, 7.0])
@pytest.mark.parametrize("growth", [2.0, 1e4])
def test_ascent_counts_the_steps_of_exponential_growth(rate, growth):
    step_size = 0.05
    exact = math.log(growth) / math.log1p(step_size * rate)
    taken = landscape.ascend_until(
        lambda point: rate * point,
        numbers(1),
        step_size=step_size,
        done=lambda point: point.item() >= growth,
        max_steps=100_000,
    )
    assert taken == math.ceil(exact)


@pytest.mark.parametrize("step_size", [0.02, 0.01, 0.005])
def test_gradient_ascent_takes_the_escape_time_to_first_order(step_size):
    """Ascent in steps of size h takes t / h + log(v1/v0) / 2 + O(h) of them, v its velocity at the
    end and at the start: a number of steps that does not grow as h falls. The count is whole."""
    sigma_sq, eigenvalue, start = 1.0, 3.0, 0.1
    cov = torch.diag(numbers(eigenvalue, 0.5))
    end = 0.5 * math.sqrt(eigenvalue - sigma_sq)

    def velocity(length: float) -> float:
        weights = torch.tensor([[length], [0]], dtype=torch.float64)
        return ppca.log_likelihood_gradient(weights, sigma_sq, cov)[0, 0].item()

    time = landscape.escape_time(eigenvalue, sigma_sq, start=start)
    predicted = time.item() / step_size
    taken = landscape.ascend_until(
        lambda weights: ppca.log_likelihood_gradient(weights, sigma_sq, cov),
        torch.tensor([[start], [0]], dtype=torch.float64),
        step_size=step_size,
        done=lambda weights: weights[0, 0].item() >= end,
        max_steps=10_000,
    )
    excess = taken - predicted - 0.5 * math.log(velocity(end) / velocity(start))
    # The curvatures along the way are of size 2, and so is the factor of h.
    assert -2 * step_size <= excess <= 1 + 2 * step_size


def test_ascent_stops_at_once_where_it_is_done():
    steps = landscape.ascend_until(
        torch.ones_like, numbers(0), step_size=1, done=lambda point: True, max_steps=1
    )
    assert steps == 0


@pytest.mark.parametrize("needed", [1, 3])
def test_ascent_may_use_all_its_steps_and_not_one_more(needed):
    def ascend(max_steps: int) -> int:
        return landscape.ascend_until(
            torch.ones_like,
            numbers(0),
            step_size=1.0,
            done=lambda point: point.item() >= needed,
            max_steps=max_steps,
        )

    assert ascend(needed + 1) == needed
    assert ascend(needed) == needed
    if needed > 1:
        with pytest.raises(RuntimeError, match=f"max_steps = {needed - 1}"):
            ascend(needed - 1)


def test_ascent_leaves_its_start_as_it_was(make_generator):
    start = normal(make_generator(0), 3)
    before = start.clone()
    landscape.ascend_until(
        torch.ones_like, start, step_size=1.0, done=lambda point: bool(point[0] > 5), max_steps=20
    )
    assert torch.equal(start, before)
