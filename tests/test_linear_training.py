"""Training: where it ends, that its gradients are right, and what it reports."""

import math

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
    points_with_covariance,
    standard_error,
)
from vae_lib import linear_vae, ppca
from vae_lib.linear_training import Snapshots, maximise, train_analytic, train_stochastic
from vae_lib.linear_vae import LinearVAE
from vae_lib.spectrum import spectrum_of_covariance

EIGENVALUES = [5, 3, 1, 0.8, 0.6, 0.5, 0.3, 0.2]


@pytest.fixture
def cov(make_generator) -> torch.Tensor:
    return covariance_of(EIGENVALUES, orthogonal(make_generator(3), len(EIGENVALUES)))


def small_model(generator, **options) -> LinearVAE:
    return LinearVAE(len(EIGENVALUES), 2, scale=0.3, generator=generator, **options)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Where it ends


@pytest.mark.parametrize("seed", range(2))
def test_analytic_training_ends_at_the_ppca_optimum(make_generator, cov, seed):
    """ELBO, noise and columns, which are principal components up to sign and order."""
    found = spectrum_of_covariance(cov)
    best = ppca.max_log_likelihood(found.eigenvalues, 2)
    optimum = ppca.mle(found, 2)
    model = small_model(make_generator(seed))
    history = train_analytic(model, cov, steps=1000, learning_rate=0.05, decay=True)
    assert history.values[-1] > history.values[0]
    assert (history.values <= best + 1e-12).all()
    shortfall = (best - history.values[-1]).item()
    assert shortfall <= 1e-6

    # The ELBO falls by c |change|^2 / 2 or more, c the smallest curvature in (W, log sigma_sq) at
    # the optimum, so that what is missing bounds how far away the end is. Twice that, for the
    # cubic terms; and what is missing is only known to the rounding of the ELBO.
    def negative(flat):
        weights, sigma_sq = flat[:-1].reshape(8, 2), flat[-1].exp()
        return dense_gap(weights, sigma_sq) - dense_log_likelihood(weights, sigma_sq, cov)

    flat = torch.cat([optimum.weights.flatten(), optimum.sigma_sq.log()[None]])
    smallest = torch.linalg.eigvalsh(autograd_hessian(negative, flat))[0].item()
    assert smallest > 1e-3
    distance = 2 * math.sqrt(2 * (max(shortfall, 0) + 1e-13) / smallest)
    weights = model.weights.detach()
    assert abs((model.sigma_sq / optimum.sigma_sq).log().item()) <= distance
    order = weights.norm(dim=0).argsort(descending=True)
    columns = weights[:, order]
    signs = (columns * optimum.weights).sum(0).sign()
    assert difference(columns * signs, optimum.weights) <= distance
    cosine = columns[:, 0] @ columns[:, 1] / columns.norm(dim=0).prod()
    assert abs(cosine.item()) <= 4 * distance / columns.norm(dim=0).min().item()


def test_with_noise_fixed_between_eigenvalues_one_column_collapses(make_generator, cov):
    """sigma_sq = 4 keeps one component of 5; the other column and its KL go to zero."""
    model = small_model(make_generator(1), sigma_sq=4.0, learn_sigma_sq=False)
    history = train_analytic(model, cov, steps=500, learning_rate=0.05, decay=True)
    best = ppca.max_log_likelihood(numbers(*EIGENVALUES), 2, 4.0)
    assert 0 <= (best - history.values[-1]).item() + 1e-12 <= 1e-6
    assert model.sigma_sq.item() == pytest.approx(4, rel=4 * EPS)
    lengths = model.weights.detach().norm(dim=0).sort().values
    # What is missing, 1e-6, bounds a collapsed column by its curvature (3 - 4) / 4^2.
    assert lengths[0].item() <= 2 * math.sqrt(2e-6 * 16)
    assert lengths[1].item() == pytest.approx(1, abs=0.02)


def test_stochastic_training_closes_nearly_all_of_the_distance(make_generator, cov):
    generator = make_generator(0)
    best = ppca.max_log_likelihood(numbers(*EIGENVALUES), 2)
    model = small_model(generator)
    rows = points_with_covariance(cov)
    start = model.elbo(cov).item()
    history = train_stochastic(
        model, rows, steps=800, batch_size=16, learning_rate=0.03, decay=True, generator=generator
    )
    end = model.elbo(cov).item()
    # What is recorded is the exact ELBO, not the samples.
    for value, exact in zip(history.values[[0, -1]].tolist(), (start, end), strict=True):
        assert value == pytest.approx(exact, rel=100 * EPS)
    assert (history.values <= best).all()
    assert best.item() - end <= 0.02 * (best.item() - start)


# Its gradients


def test_the_stochastic_gradient_is_unbiased(make_generator, cov):
    """Its mean over 1,500 draws against the gradient of the closed form, entry by entry."""
    generator = make_generator(5)
    model = small_model(generator, sigma_sq=0.7)
    with torch.no_grad():
        model.log_variances += 0.5 * normal(generator, 2)
    # The closed form takes centred data, and these have mean 0 exactly.
    rows = points_with_covariance(cov)
    parameters = list(model.parameters())

    def gradient(value: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(value, parameters)
        return torch.cat([part.flatten() for part in parts])

    exact = gradient(model.elbo(cov))
    draws = torch.stack(
        [gradient(model.sampled_elbo(rows, generator=generator)) for _ in range(1500)]
    )
    assert exact.shape == (8 * 2 + 2 * 8 + 2 + 1,)
    error = standard_error(draws)
    # Entries that the noise does not reach have no spread, only rounding.
    assert ((draws.mean(0) - exact).abs() <= 5 * error + 1e-12).all()
    # The bound is no empty one: the gradient is much larger than its error.
    assert exact.norm() > 20 * error.norm()


def test_batches_are_drawn_with_equal_chances(make_generator, cov):
    """Rows with replacement: each of 16 is drawn in 1 of 16 cases, twice in a batch of 2 also."""
    rows = points_with_covariance(cov)
    model = small_model(make_generator(6))
    batches = []

    def recorded(batch, *, generator):
        batches.append(batch)
        return model.weights.sum()

    model.sampled_elbo = recorded
    train_stochastic(model, rows, steps=1000, batch_size=2, generator=make_generator(7))
    drawn = torch.stack(batches)
    assert drawn.shape == (1000, 2, 8)
    is_row = (drawn[:, :, None, :] == rows).all(-1)
    assert (is_row.sum(-1) == 1).all()
    # Five standard deviations of binomial counts, of 2000 rows and of 1000 pairs.
    counts, expected = is_row.sum((0, 1)), 2000 / 16
    assert ((counts - expected).abs() <= 5 * math.sqrt(expected)).all()
    twice, expected = (is_row[:, 0] & is_row[:, 1]).sum(), 1000 / 16
    assert abs(twice - expected) <= 5 * math.sqrt(expected)


# The optimiser


@pytest.mark.parametrize("decay", [False, True])
def test_steps_are_those_of_adam_as_published(make_generator, decay):
    """Against a few lines of Kingma and Ba's algorithm on a random quadratic."""
    steps, rate = 40, 0.1
    generator = make_generator(0)
    scales, target = normal(generator, 6).exp(), normal(generator, 6)
    point = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    history = maximise(
        lambda: -0.5 * (scales * (point - target).square()).sum(),
        [point],
        steps=steps,
        learning_rate=rate,
        decay=decay,
    )
    expected, first, second = (torch.zeros(6, dtype=torch.float64) for _ in range(3))
    values = []
    for step in range(steps):
        values.append(-0.5 * (scales * (expected - target).square()).sum())
        gradient = -scales * (expected - target)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        factor = 0.5 * (1 + math.cos(math.pi * step / steps)) if decay else 1
        expected = expected + rate * factor * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    values.append(-0.5 * (scales * (expected - target).square()).sum())
    # A step rounds its numbers, of size 1, a dozen times; errors shrink towards the maximum.
    tolerance = 12 * steps * EPS * scales.max().item() * (1 + target.abs().max().item()) ** 2
    assert difference(point.detach(), expected) <= tolerance
    assert difference(history.values, torch.stack(values)) <= 10 * tolerance


@pytest.fixture
def batch(make_generator, cov):
    """Four models of the best ELBO at four noises, as one batched objective."""
    starts = normal(make_generator(8), 4, 8, 2)
    noises = numbers(0.1, 0.5, 2, 4)

    def run(weights, sigma_sq, steps=60):
        weights = weights.clone().requires_grad_()
        history = maximise(
            lambda: linear_vae.unchecked_profiled_elbo(weights, sigma_sq, cov),
            [weights],
            steps=steps,
            learning_rate=0.05,
            record_every=20,
        )
        return weights.detach(), history

    return starts, noises, run


def test_members_of_a_batch_evolve_as_they_do_alone(batch):
    starts, noises, run = batch
    together, history = run(starts, noises)
    assert history.values.shape == (4, 4)
    for index in range(4):
        alone, own_history = run(starts[index], noises[index])
        # Products of batches may add in another order. Adam divides by the size of gradients, so
        # that each step passes on a relative eps, times the condition of M, about 300 here.
        size = 60 * EPS * 300 * 8**2
        assert difference(together[index], alone) <= size
        values = history.values[:, index]
        assert difference(values, own_history.values) <= size * values.abs().max().item()


def test_members_of_a_batch_do_not_touch_each_other(batch):
    """Bit for bit, whatever another member does."""
    starts, noises, run = batch
    others = starts.clone()
    others[2] = 50 * others[2] + 1
    first, first_history = run(starts, noises)
    second, second_history = run(others, noises)
    for index in (0, 1, 3):
        assert torch.equal(first[index], second[index])
        assert torch.equal(first_history.values[:, index], second_history.values[:, index])
    assert not torch.equal(first[2], second[2])


def test_parameters_that_need_no_gradient_are_left_alone(make_generator, cov):
    model = small_model(make_generator(0), sigma_sq=0.6, learn_sigma_sq=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_analytic(model, cov, steps=3)
    after = model.state_dict()
    assert torch.equal(after["log_sigma_sq"], before["log_sigma_sq"])
    assert not torch.equal(after["weights"], before["weights"])
    assert not torch.equal(after["encoder_weights"], before["encoder_weights"])
    assert not torch.equal(after["log_variances"], before["log_variances"])


# What it reports


@pytest.mark.parametrize(
    ("steps", "record_every", "recorded"),
    [
        (1, 1, [0, 1]),
        (5, 1, [0, 1, 2, 3, 4, 5]),
        (20, 7, [0, 7, 14, 20]),
        (21, 7, [0, 7, 14, 21]),
        (3, 100, [0, 3]),
    ],
)
def test_the_history_holds_the_objective_before_each_recorded_step_and_at_the_end(
    make_generator, cov, steps, record_every, recorded
):
    model = small_model(make_generator(2))
    start = model.elbo(cov).detach()
    history = train_analytic(model, cov, steps=steps, record_every=record_every)
    assert history.steps.tolist() == recorded
    assert history.values.shape == (len(recorded),)
    assert not history.values.requires_grad
    assert torch.equal(history.values[0], start)
    assert torch.equal(history.values[-1], model.elbo(cov).detach())
    # The same run, recorded at every step, passes through the same values.
    again = small_model(make_generator(2))
    every = train_analytic(again, cov, steps=steps)
    assert torch.equal(every.values[recorded], history.values)


def test_what_is_recorded_can_be_something_else_than_the_objective():
    """A parameter too: it is kept as it was, though the ascent changes it in place."""
    point = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    history = maximise(
        lambda: point.sum(),
        [point],
        steps=4,
        learning_rate=0.1,
        record_every=2,
        evaluate=lambda: point,
    )
    # On a slope of 1 every step of Adam is learning_rate / (1 + 1e-8).
    expected = 0.1 / (1 + 1e-8) * numbers(0, 2, 4)[:, None].expand(3, 2)
    assert difference(history.values, expected) <= 100 * EPS
    assert not history.values.requires_grad


@pytest.mark.parametrize(("steps", "record_every"), [(1, 1), (20, 7), (21, 7), (3, 100)])
def test_progress_adds_up_to_the_number_of_steps(make_generator, cov, steps, record_every):
    analytic, stochastic = [], []
    options = {"steps": steps, "record_every": record_every}
    train_analytic(small_model(make_generator(0)), cov, progress=analytic.append, **options)
    train_stochastic(
        small_model(make_generator(0)),
        points_with_covariance(cov),
        batch_size=4,
        generator=make_generator(1),
        progress=stochastic.append,
        **options,
    )
    assert sum(analytic) == sum(stochastic) == steps
    assert min(analytic + stochastic) >= 0


def test_runs_repeat_with_the_seed_and_differ_without(make_generator, cov):
    rows = points_with_covariance(cov)

    def run(model_seed: int, data_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        model = small_model(make_generator(model_seed))
        history = train_stochastic(
            model, rows, steps=20, batch_size=5, generator=make_generator(data_seed)
        )
        return model.weights.detach(), history.values

    first, again = run(0, 1), run(0, 1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], run(0, 2)[0])
    # Neither does the global generator matter, nor is it used.
    state = torch.get_rng_state()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(run(0, 1)[0], first[0])
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)


def test_float32_models_train_in_float32(make_generator, cov):
    double, single = small_model(make_generator(4)), small_model(make_generator(4)).float()
    expected = train_analytic(double, cov, steps=30, learning_rate=0.01)
    found = train_analytic(single, cov, steps=30, learning_rate=0.01)
    assert found.values.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in single.parameters())
    # Both move by up to 0.01 a step, whose direction float32 has to about n k of its eps.
    eps = torch.finfo(torch.float32).eps
    drift = 30 * 8 * 2 * eps
    assert difference(single.weights.detach().double(), double.weights.detach()) <= drift
    slope = max(
        part.norm().item()
        for part in autograd_gradient(
            lambda weights: (
                linear_vae.unchecked_elbo_terms(weights, double.encoder, double.sigma_sq, cov).elbo
            ),
            double.weights,
        )
    )
    size = expected.values.abs().max().item()
    assert difference(found.values.double(), expected.values) <= 64 * eps * size + slope * drift


def test_float32_models_train_on_samples_too(make_generator, cov):
    model = small_model(make_generator(4)).float()
    rows = points_with_covariance(cov)
    history = train_stochastic(model, rows, steps=3, batch_size=4, generator=make_generator(0))
    assert history.values.dtype == torch.float32
    assert model.weights.dtype == torch.float32


@pytest.mark.parametrize("record_every", [1, 4])
def test_divergence_is_an_error_that_names_the_step(make_generator, cov, record_every):
    model = small_model(make_generator(0))
    with pytest.raises(FloatingPointError, match=r"step \d+; a smaller learning_rate"):
        train_analytic(model, cov, steps=50, learning_rate=1e4, record_every=record_every)


def test_a_nan_is_reported_at_the_step_that_has_it():
    point = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    # The objective is finite as long as point < 0.25, and each step adds 0.1.
    with pytest.raises(FloatingPointError, match="at step 3;"):
        maximise(
            lambda: (point + (0.25 - point).sqrt() * 0).sum(), [point], steps=9, learning_rate=0.1
        )


def test_snapshots_are_what_a_shorter_training_ends_with(make_generator, cov):
    chosen, (longer, shorter) = (0, 3, 7), (small_model(make_generator(1)) for _ in range(2))
    film = Snapshots(longer.weights, longer.log_sigma_sq, steps=chosen)
    train_analytic(longer, cov, steps=7, learning_rate=0.05, observe=film)
    weights, logs = film.taken
    assert weights.shape == (3, *longer.weights.shape)
    assert torch.equal(weights[0], shorter.weights)
    assert torch.equal(weights[2], longer.weights)
    train_analytic(shorter, cov, steps=3, learning_rate=0.05)
    assert torch.equal(weights[1], shorter.weights)
    assert torch.equal(logs[1], shorter.log_sigma_sq)
