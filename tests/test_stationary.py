"""Stationary points of likelihood and ELBO: where, of what kind, and that these are all."""

from itertools import combinations

import pytest
import torch

from tests.oracles import (
    EPS,
    autograd_gradient,
    autograd_hessian,
    covariance_of,
    dense_gap,
    dense_log_likelihood,
    difference,
    normal,
    orthogonal,
)
from vae_lib import linear_vae, ppca, stationary
from vae_lib.spectrum import Spectrum, spectrum_of_covariance

SPECTRA = {
    "five": [6, 3, 1.2, 0.7, 0.5],
    "close": [2, 1.9, 1.8, 0.1],
    "wide": [50, 5, 0.5, 0.05],
    "three": [4, 2, 1.5],
}
# A gradient that counts as zero, and one a hundred thousand times larger, that does not.
ZERO, NOT_ZERO = 1e-9, 1e-4
# Noise above all eigenvalues, between them, and below all.
CASES = [
    ("five", 8.0),
    ("five", 4.0),
    ("five", 1.0),
    ("five", 0.6),
    ("five", 0.3),
    ("close", 2.5),
    ("close", 1.85),
    ("close", 0.5),
    ("close", 0.05),
    ("wide", 1.0),
    ("wide", 0.1),
    ("three", 3.0),
    ("three", 1.0),
]
each_case = pytest.mark.parametrize(("name", "sigma_sq"), CASES)
each_case_and_k = pytest.mark.parametrize(
    ("name", "sigma_sq", "k"),
    [(*case, 2) for case in CASES] + [(*case, k) for case in CASES[:3] for k in (1, 3, 4)],
)


def problem(generator, name) -> tuple[torch.Tensor, Spectrum]:
    """A covariance in a random basis, and its spectrum."""
    values = SPECTRA[name]
    cov = covariance_of(values, orthogonal(generator, len(values)))
    return cov, spectrum_of_covariance(cov)


def likelihood(cov, sigma_sq):
    return lambda weights: dense_log_likelihood(weights, sigma_sq, cov)


def best_elbo(cov, sigma_sq):
    """The best ELBO from dense matrices."""
    return lambda weights: (
        dense_log_likelihood(weights, sigma_sq, cov) - dense_gap(weights, sigma_sq)
    )


def library_objectives(cov, sigma_sq):
    """The two objectives as the library's users write them."""
    noise = torch.tensor(sigma_sq, dtype=torch.float64)
    return {
        "likelihood": lambda weights: ppca.unchecked_log_likelihood(weights, noise, cov),
        "best ELBO": lambda weights: linear_vae.unchecked_profiled_elbo(weights, noise, cov),
    }


def slope(objective, weights) -> float:
    return autograd_gradient(objective, weights)[0].norm().item()


# Where they are


@each_case_and_k
def test_the_gradient_is_zero_at_every_ppca_point_of_likelihood_and_elbo(
    make_generator, name, sigma_sq, k
):
    cov, found = problem(make_generator(1), name)
    for active in ppca.stationary_sets(found.eigenvalues, k, sigma_sq):
        weights = ppca.stationary_weights(found, active, k, sigma_sq)
        assert slope(likelihood(cov, sigma_sq), weights) <= ZERO
        assert slope(best_elbo(cov, sigma_sq), weights) <= ZERO
        # ... which a turned or stretched point is not, so that the zero means something.
        if active:
            assert slope(likelihood(cov, sigma_sq), 1.1 * weights) > NOT_ZERO


@each_case
def test_the_gradient_is_zero_at_the_extra_points_of_the_elbo_alone(make_generator, name, sigma_sq):
    cov, found = problem(make_generator(2), name)
    for point in stationary.extra_points(found, sigma_sq):
        assert slope(best_elbo(cov, sigma_sq), point.weights) <= ZERO
        assert slope(likelihood(cov, sigma_sq), point.weights) > NOT_ZERO


def test_extra_points_are_counted_by_their_two_conditions(make_generator):
    """Nine at sigma_sq = 1, where 6 mixes with 0.5 too, but 1.2 not with 0.7."""
    _, found = problem(make_generator(3), "five")
    points = stationary.extra_points(found, 1.0)
    mixed = {(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3)}
    assert {point.components for point in points} == mixed | {(0,), (1,), (2,)}
    assert len(points) == 9
    for point in points:
        assert point.weights.shape == (5, 2)
        rank = torch.linalg.matrix_rank(point.weights).item()
        assert rank == len(point.components)
        # Both columns are equally long, and never orthogonal.
        lengths = point.weights.norm(dim=0)
        assert difference(lengths[0], lengths[1]) <= 8 * EPS * lengths[0].item()
        assert abs(point.weights[:, 0] @ point.weights[:, 1]) > 1e-3


@each_case
def test_a_rotated_mle_is_no_stationary_point_of_the_elbo(make_generator, name, sigma_sq):
    cov, found = problem(make_generator(4), name)
    if found.count_above(sigma_sq) < 2:
        sigma_sq = 0.5 * found.eigenvalues[1].item()
    rotation = torch.tensor([[1, 1], [1, -1]], dtype=torch.float64) / 2**0.5
    weights = ppca.mle_at(found, 2, sigma_sq, rotation=rotation).weights
    assert slope(likelihood(cov, sigma_sq), weights) <= ZERO
    assert slope(best_elbo(cov, sigma_sq), weights) > NOT_ZERO


# Of what kind they are


@each_case_and_k
@pytest.mark.parametrize("objective", ["likelihood", "best ELBO"])
def test_the_class_of_every_ppca_point_is_predicted(make_generator, name, sigma_sq, k, objective):
    cov, found = problem(make_generator(5), name)
    function = library_objectives(cov, sigma_sq)[objective]
    best = ppca.max_log_likelihood(found.eigenvalues, k, sigma_sq)
    for active in ppca.stationary_sets(found.eigenvalues, k, sigma_sq):
        weights = ppca.stationary_weights(found, active, k, sigma_sq)
        kind, curvatures = stationary.classify(function, weights)
        assert kind == stationary.predicted_kind(found.eigenvalues, active, k, sigma_sq)
        assert curvatures.shape == (weights.numel(),)
        # Only the global maximum is one: there are no spurious local maxima.
        is_best = active == tuple(range(min(k, found.count_above(sigma_sq))))
        assert (kind == "maximum") is is_best
        value = ppca.stationary_log_likelihood(found.eigenvalues, active, sigma_sq)
        assert value < best or is_best


@pytest.mark.parametrize(
    ("sigma_sq", "kind"), [(8.0, "maximum"), (1.0, "saddle"), (0.3, "minimum")]
)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("objective", ["likelihood", "best ELBO"])
def test_total_collapse_is_a_maximum_a_saddle_or_a_minimum(
    make_generator, sigma_sq, kind, k, objective
):
    cov, found = problem(make_generator(6), "five")
    origin = torch.zeros(5, k, dtype=torch.float64)
    function = library_objectives(cov, sigma_sq)[objective]
    found_kind, curvatures = stationary.classify(function, origin)
    assert found_kind == kind
    assert stationary.predicted_kind(found.eigenvalues, (), k, sigma_sq) == kind
    # Each (lambda_j - sigma_sq) / sigma_sq^2 occurs once for each column.
    expected = ((found.eigenvalues - sigma_sq) / sigma_sq**2).repeat_interleave(k).flip(0)
    assert difference(curvatures, expected) <= 1e-8


@each_case
def test_all_extra_points_are_saddles(make_generator, name, sigma_sq):
    cov, found = problem(make_generator(7), name)
    for point in stationary.extra_points(found, sigma_sq):
        function = library_objectives(cov, sigma_sq)["best ELBO"]
        kind, curvatures = stationary.classify(function, point.weights)
        assert kind == "saddle"
        # The way up is a rotation towards orthogonal columns.
        assert curvatures[-1] > 1e-6


def test_the_curvatures_of_the_published_example(make_generator):
    """Two components mixed at 45 degrees: one positive eigenvalue, 0.0313, and nine negative."""
    cov, found = problem(make_generator(8), "five")
    point = stationary.extra_points(found, 1.0)[0]
    assert point.components == (0, 1)
    _, curvatures = stationary.classify(best_elbo(cov, 1.0), point.weights)
    assert (curvatures > 0).tolist() == [False] * 9 + [True]
    assert curvatures[-1].item() == pytest.approx(0.0313, abs=5e-5)
    assert slope(likelihood(cov, 1.0), point.weights) == pytest.approx(0.10, abs=5e-3)


@pytest.mark.parametrize(("name", "sigma_sq"), CASES[:4] + CASES[6:7] + CASES[9:])
def test_the_full_elbo_has_as_many_ways_up_as_the_best_one(make_generator, name, sigma_sq):
    """Hessians in (W, V, log D) against those in W: the ELBO is concave in V and log D."""
    cov, found = problem(make_generator(9), name)
    dim, k = len(cov), 2
    noise = torch.tensor(sigma_sq, dtype=torch.float64)

    def full_elbo(flat):
        weights, encoder_weights, log_variances = flat.split([dim * k, dim * k, k])
        encoder = linear_vae.Encoder(encoder_weights.reshape(k, dim), log_variances.exp())
        return linear_vae.unchecked_elbo_terms(weights.reshape(dim, k), encoder, noise, cov).elbo

    points = [
        ppca.stationary_weights(found, active, k, sigma_sq)
        for active in ppca.stationary_sets(found.eigenvalues, k, sigma_sq)
    ]
    points += [point.weights for point in stationary.extra_points(found, sigma_sq)]
    for weights in points:
        best = linear_vae.best_encoder(weights, sigma_sq)
        flat = torch.cat(
            [weights.flatten(), best.weights.flatten(), best.variances.log().flatten()]
        )
        assert autograd_gradient(full_elbo, flat)[0].norm().item() <= ZERO
        hessian = autograd_hessian(full_elbo, flat)
        full = torch.linalg.eigvalsh(hessian)
        profiled = torch.linalg.eigvalsh(autograd_hessian(best_elbo(cov, sigma_sq), weights))
        # Eigenvalues are good to about n eps times the largest; true ones are far from that.
        zero = [1e3 * EPS * values.abs().max() for values in (full, profiled)]
        assert all((v.abs() > z).all() for v, z in zip((full, profiled), zero, strict=True))
        assert (full > zero[0]).sum() == (profiled > zero[1]).sum()
        encoder_block = hessian[dim * k :, dim * k :]
        assert (torch.linalg.eigvalsh(encoder_block) < 0).all()


@pytest.mark.parametrize("objective", ["likelihood", "best ELBO"])
def test_the_hessian_equals_row_by_row_differentiation(make_generator, objective):
    generator = make_generator(10)
    cov, _ = problem(generator, "five")
    weights = normal(generator, 5, 2)
    expected = autograd_hessian(
        {"likelihood": likelihood, "best ELBO": best_elbo}[objective](cov, 0.8), weights
    )
    found = stationary.hessian(library_objectives(cov, 0.8)[objective], weights)
    assert difference(found, expected) <= 1e-12 * expected.abs().max().item() * 25


# That these are all


def diagonal_problem(values):
    cov = torch.diag(torch.tensor(values, dtype=torch.float64))
    return cov, spectrum_of_covariance(cov)


def test_a_search_from_random_starts_ends_only_at_known_points_of_the_elbo(make_generator):
    """Seven pPCA points, nine extra ones, and, up to signs and order of columns, nothing else."""
    cov, found = diagonal_problem(SPECTRA["five"])
    active_sets = ppca.stationary_sets(found.eigenvalues, 2, 1.0)
    catalogue = [ppca.stationary_weights(found, active, 2, 1.0) for active in active_sets]
    catalogue += [point.weights for point in stationary.extra_points(found, 1.0)]
    assert len(catalogue) == 7 + 9
    known = stationary.invariants(torch.stack(catalogue))
    # No two entries are the same point.
    apart = (known[:, None] - known).abs().amax(-1)
    assert apart[~torch.eye(16, dtype=torch.bool)].min().item() > 1e-2

    starts = 2 * normal(make_generator(0), 60, 5, 2)
    function = library_objectives(cov, 1.0)["best ELBO"]
    result = stationary.search(function, starts, steps=100)
    assert result.weights.shape == starts.shape
    slopes = torch.stack([autograd_gradient(function, end)[0].norm() for end in result.weights])
    # Norms of gradients of size 1, computed twice.
    assert difference(result.gradient_norms, slopes) <= 1e-13
    ended = result.gradient_norms <= 1e-10
    assert ended.sum() >= 50
    # Near a point with curvatures c the distance is gradient / min |c|, and here all |c| > 1e-3.
    distances = (stationary.invariants(result.weights[ended])[:, None] - known).abs().amax(-1)
    nearest = distances.min(1)
    assert nearest.values.max().item() <= 1e-6
    # Maxima, saddles and minima are all found, pPCA points and extra ones.
    reached = set(nearest.indices.tolist())
    assert len(reached) >= 8
    assert any(index < 7 for index in reached)
    assert any(index >= 7 for index in reached)


@pytest.mark.parametrize(("name", "sigma_sq", "k"), [("three", 1.0, 2), ("wide", 0.1, 2)])
def test_a_search_of_the_likelihood_ends_only_at_ppca_points(make_generator, name, sigma_sq, k):
    """Up to rotations of W, which W W^T does not see."""
    cov, found = diagonal_problem(SPECTRA[name])
    catalogue = torch.stack(
        [
            ppca.stationary_weights(found, active, k, sigma_sq)
            for active in ppca.stationary_sets(found.eigenvalues, k, sigma_sq)
        ]
    )
    starts = normal(make_generator(1), 30, len(cov), k)
    function = library_objectives(cov, sigma_sq)["likelihood"]
    result = stationary.search(function, starts, steps=60)
    ended = result.weights[result.gradient_norms <= 1e-11]
    assert len(ended) >= 20
    products = (ended @ ended.mT)[:, None] - catalogue @ catalogue.mT
    assert products.abs().amax((-2, -1)).min(1).values.max().item() <= 1e-6


def test_a_search_stays_where_it_starts_at_a_stationary_point(make_generator):
    cov, found = problem(make_generator(11), "five")
    points = stationary.extra_points(found, 1.0)
    starts = torch.stack([point.weights for point in points])
    result = stationary.search(library_objectives(cov, 1.0)["best ELBO"], starts, steps=5)
    assert difference(result.weights, starts) <= 1e-9
    assert (result.gradient_norms <= ZERO).all()


def test_a_search_reports_one_unit_of_progress_a_step(make_generator):
    cov, _ = diagonal_problem(SPECTRA["three"])
    calls = []
    starts = normal(make_generator(0), 2, 3, 2)
    function = library_objectives(cov, 1.0)["likelihood"]
    stationary.search(function, starts, steps=4, progress=calls.append)
    assert sum(calls) == 4


def test_invariants_do_not_see_signs_and_order_of_columns(make_generator):
    """At random points, and at extra points in the eigenbasis, whose two columns are equally long
    and so are told apart by nothing there. (In another basis equal lengths leave a choice.)"""
    _, found = diagonal_problem(SPECTRA["five"])
    points = [point.weights for point in stationary.extra_points(found, 1.0)]
    points += [normal(make_generator(12), 5, 2) for _ in range(5)]
    for weights in points:
        expected = stationary.invariants(weights)
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            for order in ([0, 1], [1, 0]):
                image = (weights * torch.tensor(signs))[:, order]
                assert difference(stationary.invariants(image), expected) <= 1e-12


def test_invariants_tell_the_points_apart(make_generator):
    weights = normal(make_generator(13), 20, 5, 2)
    values = stationary.invariants(weights)
    assert values.shape == (20, 2 + 10)
    assert all(difference(a, b) > 1e-3 for a, b in combinations(values, 2))
