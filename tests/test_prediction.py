"""The predicted table against linear VAEs that are built and evaluated, and its comparison."""

import math
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.oracles import (
    EPS,
    covariance_of,
    dense_log_likelihood,
    difference,
    log_uniform,
    normal,
    orthogonal,
    points_with_covariance,
    standard_error,
)
from vae_lib import agreement, linear_vae, poster, ppca
from vae_lib.collapse import kl_per_latent
from vae_lib.comparison import Measured
from vae_lib.prediction import Prediction, elbo_on, predict
from vae_lib.spectrum import span_coordinates, spectrum, spectrum_of_covariance

SMALL = torch.tensor([6.0, 3.0, 1.2, 0.7, 0.5], dtype=torch.float64)
# Below, between and above the eigenvalues, where k of them are kept and where fewer are.
SIGMA_SQS = [0.05, 0.6, 1.0, 2.0, 4.0, 9.0]
each_seed = pytest.mark.parametrize("seed", range(3))
each_k = pytest.mark.parametrize("k", [1, 2, 4, 7])


def problem(generator, dim=8):
    """A covariance (n, n) and its eigenvalues, descending, from 0.1 to 10."""
    eigenvalues = log_uniform(generator, 0.1, 10, dim).sort(descending=True).values
    return covariance_of(eigenvalues, orthogonal(generator, dim)), eigenvalues


def optimum(cov, k, sigma_sq):
    """W and encoder of the linear VAE at its global optimum."""
    model = ppca.mle_at(spectrum_of_covariance(cov), k, sigma_sq)
    return model.weights, linear_vae.best_encoder(model.weights, sigma_sq)


def dense_error(weights, encoder, cov):
    """E |x - W z|^2 / n over data and posterior, with n x n matrices."""
    dim = len(cov)
    missed = torch.eye(dim, dtype=torch.float64) - weights @ encoder.weights
    spread = weights @ encoder.variances.diag() @ weights.T
    return ((missed @ cov @ missed.T + spread).trace() / dim).item()


def dense_kl(encoder, cov):
    """KL of N(V x, D) to N(0, I), averaged over the data, by torch's distributions."""
    rows = points_with_covariance(cov) @ encoder.weights.T
    posterior = torch.distributions.Normal(rows, encoder.variances.sqrt())
    prior = torch.distributions.Normal(torch.zeros_like(rows), torch.ones_like(rows))
    return torch.distributions.kl_divergence(posterior, prior).sum(1).mean().item()


@each_seed
@each_k
@pytest.mark.parametrize("sigma_sq", SIGMA_SQS)
def test_the_columns_are_those_of_the_linear_vae_at_its_optimum(make_generator, seed, k, sigma_sq):
    cov, eigenvalues = problem(make_generator(seed))
    weights, encoder = optimum(cov, k, sigma_sq)
    found = predict(eigenvalues, k=k, sigma_sq=sigma_sq)
    error, kl = dense_error(weights, encoder, cov), dense_kl(encoder, cov)
    reconstruction = -4 * (math.log(2 * math.pi * sigma_sq) + error / sigma_sq)
    tuned = -4 * (math.log(2 * math.pi * error) + 1)
    # Sums of some hundred terms of up to 10 / 0.05, and an eigenvalue decomposition.
    tolerance = 1e4 * EPS * (1 + 10 / sigma_sq)
    assert found.tuned_sigma_sq == pytest.approx(error, rel=tolerance)
    assert found.kl == pytest.approx(kl, rel=tolerance, abs=tolerance)
    assert found.elbo == pytest.approx(reconstruction - kl, rel=tolerance, abs=tolerance)
    assert found.tuned_elbo == pytest.approx(tuned - kl, rel=tolerance, abs=tolerance)
    alive = int((encoder.variances < 1 - 1e-12).sum())
    assert found.active == alive
    assert found.collapse_percent == pytest.approx(100 * (k - alive) / k)


@each_seed
def test_the_elbo_is_the_dense_likelihood_and_elbo(make_generator, seed):
    cov, eigenvalues = problem(make_generator(seed))
    weights, encoder = optimum(cov, 3, 0.7)
    found = predict(eigenvalues, k=3, sigma_sq=0.7)
    assert found.elbo == pytest.approx(dense_log_likelihood(weights, 0.7, cov).item(), rel=1e-12)
    terms = linear_vae.elbo_terms(weights, encoder, 0.7, cov)
    assert found.elbo == pytest.approx(terms.elbo.item(), rel=1e-12)
    assert found.kl == pytest.approx(terms.kl.item(), rel=1e-12)


def test_the_elbo_is_what_sampling_estimates(make_generator):
    """Within five standard errors of some 0.01 nats.

    One draw for each of 200,000 rows whose covariance is exactly the given one.
    """
    generator = make_generator(1)
    cov, eigenvalues = problem(generator)
    weights, encoder = optimum(cov, 3, 0.7)
    rows = points_with_covariance(cov).repeat(12_500, 1)
    draws = linear_vae.monte_carlo_elbo(weights, encoder, 0.7, rows, generator=generator)
    found = predict(eigenvalues, k=3, sigma_sq=0.7)
    error = standard_error(draws).item()
    assert error < 0.02
    assert abs(draws.mean().item() - found.elbo) < 5 * error


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("sigma_sq", [0.6, 1.0, 2.0, None])
def test_no_linear_vae_that_an_optimiser_finds_does_better(make_generator, k, sigma_sq):
    """A general-purpose optimiser over W and log sigma_sq, which knows no eigenvectors.

    It maximises the likelihood, which by Lemma 1 has the ELBO's optimum; with L-BFGS-B's default
    tolerances it ends within about 1e-6 nats.
    """
    basis = orthogonal(make_generator(k), 5)
    cov = covariance_of(SMALL, basis)

    def loss(flat):
        point = torch.tensor(flat, requires_grad=True)
        level = point[-1].exp() if sigma_sq is None else sigma_sq
        value = -dense_log_likelihood(point[:-1].reshape(5, k), level, cov)
        value.backward()
        return value.item(), point.grad.numpy()

    found = predict(SMALL, k=k, sigma_sq=sigma_sq)
    best = math.inf
    for seed in range(4):
        start = 0.5 * normal(make_generator(seed), 5 * k + 1).numpy()
        ended = minimize(loss, start, jac=True, method="L-BFGS-B")
        assert -ended.fun <= found.elbo + 1e-9
        best = min(best, ended.fun)
        if sigma_sq is None and ended.fun < -found.elbo + 1e-5:
            assert math.exp(ended.x[-1]) == pytest.approx(found.sigma_sq, rel=1e-2)
    assert -best == pytest.approx(found.elbo, abs=1e-5)


@each_k
@each_seed
def test_where_the_noise_is_learned_it_is_ppcas_and_tuning_changes_nothing(make_generator, seed, k):
    _, eigenvalues = problem(make_generator(seed))
    found = predict(eigenvalues, k=k, sigma_sq=None)
    assert found.sigma_sq == pytest.approx(eigenvalues[k:].mean().item(), rel=1e-14)
    expected = ppca.max_log_likelihood(eigenvalues, k).item()
    assert found.elbo == pytest.approx(expected, rel=1e-13)
    assert found.tuned_elbo == pytest.approx(expected, rel=1e-13)
    assert found.tuned_sigma_sq == pytest.approx(found.sigma_sq, rel=1e-13)
    assert (found.active, found.collapse_percent) == (k, 0.0)
    fixed = predict(eigenvalues, k=k, sigma_sq=found.sigma_sq)
    assert fixed == found


def test_learned_noise_beats_every_fixed_one():
    learned = predict(SMALL, k=2, sigma_sq=None)
    for sigma_sq in torch.logspace(-3, 2, 60).tolist():
        assert predict(SMALL, k=2, sigma_sq=sigma_sq).elbo <= learned.elbo


@each_k
@each_seed
def test_more_noise_never_revives_a_latent(make_generator, seed, k):
    """With rising noise the KL and the number of live latents fall, and the error grows."""
    _, eigenvalues = problem(make_generator(seed))
    levels = torch.logspace(-2, 1.5, 80, dtype=torch.float64).tolist()
    table = [predict(eigenvalues, k=k, sigma_sq=level) for level in levels]
    for low, high in pairwise(table):
        assert high.kl <= low.kl
        assert high.active <= low.active
        assert high.tuned_sigma_sq >= low.tuned_sigma_sq - 1e-14
        assert high.collapse_percent >= low.collapse_percent
    assert table[-1].kl == 0.0
    assert table[-1].collapse_percent == 100.0
    assert table[-1].tuned_sigma_sq == pytest.approx(eigenvalues.mean().item(), rel=1e-13)


@pytest.mark.parametrize("sigma_sq", [0.05, 1.0, 4.0])
def test_more_latents_never_hurt_the_elbo(sigma_sq):
    elbos = [predict(SMALL, k=k, sigma_sq=sigma_sq).elbo for k in range(1, 5)]
    assert elbos == sorted(elbos)


def test_tuning_never_lowers_the_elbo_and_leaves_the_kl():
    for sigma_sq in SIGMA_SQS:
        found = predict(SMALL, k=2, sigma_sq=sigma_sq)
        assert found.tuned_elbo >= found.elbo - 1e-12


def test_an_eigenvalue_equal_to_the_noise_is_dead():
    assert predict(SMALL, k=3, sigma_sq=3.0).active == 1
    assert predict(SMALL, k=3, sigma_sq=math.nextafter(3.0, 0)).active == 2


def test_the_log_determinant_is_added_to_both_elbos():
    plain = predict(SMALL, k=2, sigma_sq=1.0)
    moved = predict(SMALL, k=2, sigma_sq=1.0, log_abs_det=272.25)
    assert moved.elbo - plain.elbo == pytest.approx(272.25, rel=1e-14)
    assert moved.tuned_elbo - plain.tuned_elbo == pytest.approx(272.25, rel=1e-14)
    assert (moved.kl, moved.tuned_sigma_sq) == (plain.kl, plain.tuned_sigma_sq)


def test_scaled_data_shift_the_elbo_by_the_jacobian():
    """y = c x has eigenvalues c^2 lambda, noise c^2 sigma_sq and a density lower by n log c."""
    plain = predict(SMALL, k=2, sigma_sq=1.0)
    scaled = predict(9 * SMALL, k=2, sigma_sq=9.0, log_abs_det=5 * math.log(3))
    assert scaled.elbo == pytest.approx(plain.elbo, rel=1e-13)
    assert scaled.tuned_elbo == pytest.approx(plain.tuned_elbo, rel=1e-13)
    assert scaled.kl == pytest.approx(plain.kl, rel=1e-13)
    assert scaled.tuned_sigma_sq == pytest.approx(9 * plain.tuned_sigma_sq, rel=1e-13)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be"),
        ({"k": 5}, "k must be"),
        ({"k": 2.0}, "k must be"),
        ({"sigma_sq": 0.0}, "sigma_sq must be"),
        ({"sigma_sq": -1.0}, "sigma_sq must be"),
        ({"sigma_sq": math.nan}, "sigma_sq must be"),
        ({"eigenvalues": SMALL.flip(0)}, "eigenvalues must be"),
        ({"eigenvalues": -SMALL.flip(0)}, "eigenvalues must be"),
        ({"eigenvalues": SMALL.float()}, "eigenvalues must be"),
        ({"eigenvalues": SMALL[None]}, "eigenvalues must"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {"eigenvalues": SMALL, "k": 2, "sigma_sq": 1.0} | changes
    with pytest.raises(ValueError, match=message):
        predict(arguments["eigenvalues"], k=arguments["k"], sigma_sq=arguments["sigma_sq"])


def test_learned_noise_needs_a_rank_above_k():
    flat = torch.tensor([2.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="rank 2"):
        predict(flat, k=2, sigma_sq=None)
    assert predict(flat, k=2, sigma_sq=0.5).active == 2


def ranks(values):
    """Ranks with ties at their mean, from their definition."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


@each_seed
def test_agreement_is_medians_and_the_correlation_of_ranks(make_generator, seed):
    values = normal(make_generator(seed), 2, 9).mul(4).round().tolist()  # with ties and zeros
    predicted, observed = values
    found = agreement.agreement(predicted, observed)
    differences = [abs(a - b) for a, b in zip(predicted, observed, strict=True)]
    assert found.count == 9
    assert found.median_absolute == median(differences)
    expected = np.corrcoef(ranks(predicted), ranks(observed))[0, 1]
    assert found.rank_correlation == pytest.approx(expected, abs=1e-12)
    if 0.0 in observed:
        assert math.isnan(found.median_relative)


def test_relative_errors_are_relative_to_what_is_observed():
    found = agreement.agreement([1.0, 3.0, -6.0], [2.0, 2.0, -4.0])
    assert found.median_relative == 0.5
    assert agreement.agreement([110.0], [100.0]).median_relative == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("predicted", "observed"),
    [
        ([], []),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
    ],
)
def test_a_rank_correlation_that_is_not_defined_is_nan(predicted, observed):
    assert math.isnan(agreement.agreement(predicted, observed).rank_correlation)


def test_agreement_refuses_values_that_do_not_pair():
    with pytest.raises(ValueError, match="predicted must have as many values"):
        agreement.agreement([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="observed must be finite"):
        agreement.agreement([1.0], [math.nan])


def cells(value):
    return agreement.of_prediction(Prediction(value, -value, -value, value, value, value, active=1))


def test_agreement_of_tables_uses_the_rows_that_both_have():
    theory = {"fixed 1": cells(1.0), "fixed 0.1": cells(2.0), "learned 1": cells(9.0)}
    other = {"fixed 1": cells(2.0), "learned 1": cells(10.0), "fixed 7": cells(1.0)}
    found = agreement.agreement_of(theory, other, "kl")
    assert (found.count, found.median_absolute) == (2, 1.0)
    part = agreement.agreement_of(theory, other, "kl", only=["fixed 1", "fixed 0.1"])
    assert (part.count, part.median_relative) == (1, 0.5)


def test_the_tables_name_source_and_missing_runs():
    row = poster.rows("mnist")[0]
    low = dict.fromkeys(agreement.COLUMNS, 1.0)
    runs = Measured(2, dict.fromkeys(agreement.COLUMNS, 1.5), low, dict.fromkeys(low, 2.0))
    theory = {name: cells(3.0) for name in ("fixed 10", "fixed 1", "fixed 0.1")}
    sources = {
        "linear theory": theory,
        "poster": {"fixed 10": agreement.of_poster(row)},
        "recorded": {"fixed 10": agreement.of_runs(runs)},
    }
    lines = agreement.side_by_side(sources).rows
    assert len(lines) == 9
    # The cells' spaces do not break.
    assert [line[1].replace("\u00a0", " ") for line in lines[:3]] == list(sources)
    assert lines[0][2:] == ("−3.0", "−3.0", "3.000", "3.00", "3.0")
    assert lines[1][2:4] == ("−1,450.3 ±\u00a04.2", "−1,098.2 ±\u00a028.3")
    assert lines[2][2:] == (
        "1.0\u00a0to 2.0",
        "1.0\u00a0to 2.0",
        "1.000\u00a0to 2.000",
        "1.00\u00a0to 2.00",
        "1.0\u00a0to 2.0",
    )
    assert lines[4][2] == lines[5][2] == "not yet run"

    errors = agreement.error_table(theory, {"poster": sources["poster"], "recorded": {}}).rows
    assert [line[1] for line in errors] == ["poster"] * len(agreement.COLUMNS)
    assert errors[4][2:5] == (1, "25.8", "89.6 %")  # |3 - 28.8|, and that over 28.8
    assert errors[4][5:] == ("undefined",) * 3


def test_provenance_says_what_was_run():
    row = {
        "epochs": 25,
        "seed": 10,
        "device": "a CPU",
        "commit": "0123456789",
        "versions": "python 3",
    }
    found = agreement.provenance([row, {**row, "seed": 2}])
    assert found == "2 runs of 25 epochs, seeds 2 / 10, a CPU, commit 0123456, python 3"
    assert agreement.provenance([]) == "no runs yet"


def faces(generator, count=60, dim=12):
    """Data whose components fall, with a mean."""
    scales = torch.arange(1, dim + 1, dtype=torch.float64) ** -0.6 * 3
    return normal(generator, count, dim) * scales @ orthogonal(generator, dim) + 2


@pytest.mark.parametrize("sigma_sq", [0.05, 0.6, 2.0, 20.0])
def test_the_elbo_on_new_data_is_their_density_by_torch(make_generator, sigma_sq):
    generator, k = make_generator(5), 4
    fitted, new = spectrum(faces(generator)), faces(generator, 9)
    model = ppca.mle_at(fitted, k, sigma_sq)
    cov = model.weights @ model.weights.T + sigma_sq * torch.eye(12, dtype=torch.float64)
    values = torch.distributions.MultivariateNormal(fitted.mean, cov).log_prob(new)
    mean, error = elbo_on(fitted, new, k=k, sigma_sq=sigma_sq, dim=12)
    # Solving with C loses digits in proportion to its condition number, here below 1e4.
    assert mean == pytest.approx(values.mean().item(), rel=1e-10)
    assert error == pytest.approx(standard_error(values).item(), rel=1e-8)


@pytest.mark.parametrize("sigma_sq", [0.05, 0.6, 2.0, 20.0])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_the_elbo_on_the_fitted_data_is_the_predicted_one(make_generator, sigma_sq, k):
    data = faces(make_generator(6))
    mean, _ = elbo_on(spectrum(data), data, k=k, sigma_sq=sigma_sq, dim=12)
    expected = predict(spectrum(data).eigenvalues, k=k, sigma_sq=sigma_sq).elbo
    assert mean == pytest.approx(expected, rel=1e-12)


def test_coordinates_of_a_subspace_give_the_same_elbo(make_generator):
    data = faces(make_generator(7), count=10, dim=40)
    rows = span_coordinates(data)
    full, short = (
        elbo_on(spectrum(every[:7]), every[7:], k=3, sigma_sq=0.3, dim=40) for every in (data, rows)
    )
    assert short == pytest.approx(full, rel=1e-10)


def test_fitted_and_new_data_enclose_what_the_population_gives(make_generator):
    """Proposition 7.1 by Monte Carlo: averages over many samples, within five standard errors."""
    generator, k, sigma_sq, trials = make_generator(8), 2, 0.5, 400
    cov, eigenvalues = problem(generator, 6)
    root = torch.linalg.cholesky(cov)
    best = predict(eigenvalues, k=k, sigma_sq=sigma_sq).elbo
    fitted, new = {8: [], 16: []}, {8: [], 16: []}
    for count in fitted:
        for _ in range(trials):
            data = normal(generator, 2 * count, 6) @ root.T
            found = spectrum(data[:count])
            for place, rows in ((fitted, data[:count]), (new, data[count:])):
                place[count].append(elbo_on(found, rows, k=k, sigma_sq=sigma_sq, dim=6)[0])
    means = {name: {} for name in ("fitted", "new")}
    for name, values in (("fitted", fitted), ("new", new)):
        for count, each in values.items():
            tensor = torch.tensor(each)
            means[name][count] = tensor.mean().item(), standard_error(tensor).item()
    for count in (8, 16):
        above, error = means["fitted"][count]
        assert above - best > 5 * error
        below, error = means["new"][count]
        assert best - below > 5 * error
    assert means["fitted"][8][0] > means["fitted"][16][0]
    assert means["new"][8][0] < means["new"][16][0]


def test_elbos_on_data_that_do_not_fit_are_refused(make_generator):
    data = faces(make_generator(9))
    found = spectrum(data)
    good = {"k": 3, "sigma_sq": 1.0, "dim": 12}
    for wrong, message in (
        ({"k": 0}, "k must be"),
        ({"k": 13}, "k must be"),
        ({"sigma_sq": 0.0}, "sigma_sq must be"),
        ({"dim": 11}, "dim must be"),
    ):
        with pytest.raises(ValueError, match=message):
            elbo_on(found, data, **(good | wrong))
    for unfit in (data[:, :5], data[:1]):
        with pytest.raises(ValueError, match="data must"):
            elbo_on(found, unfit, **good)


def test_a_narrow_decoder_gains_by_leaving_latents_idle_whatever_the_noise(make_generator):
    """Proposition 7.2 by its proof's construction; the decoder behind A may be any.

    The expected error depends on the decoder's law of A z alone, so it is enough that this law
    stays; the divergence must fall by that of the idle coordinates.
    """
    generator, k, r = make_generator(10), 5, 2
    first = normal(generator, r, k)
    means, variances = normal(generator, 7, k), log_uniform(generator, 0.05, 0.9, k)
    rotation = torch.linalg.qr(first.T, mode="complete").Q.T
    assert (first @ rotation.T)[:, r:].abs().max() < 1e-14
    turned = rotation @ torch.diag(variances) @ rotation.T
    inner, basis = torch.linalg.eigh(turned[:r, :r])
    kept_means = means @ rotation[:r].T @ basis
    new_first = first @ rotation[:r].T @ basis
    # The decoder sees the same Gaussian for every image.
    assert difference(kept_means @ new_first.T, means @ first.T) < 1e-13
    before = first @ torch.diag(variances) @ first.T
    assert difference(new_first @ torch.diag(inner) @ new_first.T, before) < 1e-13

    def divergence(mean, variance):
        return kl_per_latent(mean, variance.log().expand_as(mean)).sum(-1)

    gain = divergence(means, variances) - divergence(kept_means, inner)
    assert (gain > 0).all()
    # The gain is the divergence of the rest given the first, averaged, from the prior.
    rest = turned[r:, r:] - turned[r:, :r] @ torch.linalg.solve(turned[:r, :r], turned[:r, r:])
    slope = turned[r:, :r] @ torch.linalg.inv(turned[:r, :r])
    shift = (means @ rotation[r:].T).square().sum(-1)
    spread = (slope @ turned[:r, :r] @ slope.T).trace()
    expected = 0.5 * (rest.trace() + spread + shift - (k - r) - torch.logdet(rest))
    assert difference(gain, expected) < 1e-12
