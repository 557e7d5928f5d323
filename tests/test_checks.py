"""Bad input to public functions: a ValueError with the argument, the value and what is allowed."""

import re

import pytest
import torch

from vae_lib import landscape, linear_training, linear_vae, ppca, spectrum, stationary
from vae_lib.linear_vae import Encoder, LinearVAE

DIM, K = 5, 2
EIGENVALUES = torch.tensor([6, 3, 1.2, 0.7, 0.5], dtype=torch.float64)
COV = EIGENVALUES.diag()
SPECTRUM = spectrum.spectrum_of_covariance(COV)
MODEL = ppca.mle(SPECTRUM, K)
WEIGHTS = MODEL.weights
ENCODER = linear_vae.best_encoder(WEIGHTS, 1.0)
DATA = torch.cat([COV, -COV])
LENGTHS = torch.ones(3, dtype=torch.float64)
NAN, INF = float("nan"), float("inf")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def model(**options) -> LinearVAE:
    return LinearVAE(**{"dim": DIM, "latent_dim": K, "generator": generator()} | options)


def damaged(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """A copy with one bad entry."""
    copy = tensor.clone()
    copy.view(-1)[-1] = value
    return copy


def assert_refused(call, name: str, *parts: str) -> None:
    """``call`` raises a ValueError that opens with the argument's name and holds all ``parts``."""
    with pytest.raises(ValueError, match=rf"^{re.escape(name)} must ") as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def ids(functions: dict) -> dict:
    return {"argvalues": list(functions.values()), "ids": list(functions)}


# The latent dimension

TAKE_K = {
    "mle_sigma_sq": lambda k: ppca.mle_sigma_sq(EIGENVALUES, k),
    "mle": lambda k: ppca.mle(SPECTRUM, k),
    "mle_at": lambda k: ppca.mle_at(SPECTRUM, k, 1.0),
    "max_log_likelihood": lambda k: ppca.max_log_likelihood(EIGENVALUES, k),
    "max_log_likelihood at sigma_sq": lambda k: ppca.max_log_likelihood(EIGENVALUES, k, 1.0),
    "stationary_sets": lambda k: ppca.stationary_sets(EIGENVALUES, k, 1.0),
    "stationary_weights": lambda k: ppca.stationary_weights(SPECTRUM, (), k, 1.0),
    "predicted_kind": lambda k: stationary.predicted_kind(EIGENVALUES, (), k, 1.0),
    "LinearVAE": lambda k: model(latent_dim=k),
}


@pytest.mark.parametrize("k", [0, -1, DIM, DIM + 1, True, 2.0, "2", None], ids=repr)
@pytest.mark.parametrize("function", **ids(TAKE_K))
def test_k_is_a_whole_number_from_1_to_n_minus_1(function, k):
    assert_refused(lambda: function(k), "k", f"[1, {DIM - 1}]", f"got {k!r}", f"n = {DIM}")


@pytest.mark.parametrize("function", **ids(TAKE_K))
@pytest.mark.parametrize("k", [1, DIM - 1])
def test_k_may_be_1_and_n_minus_1(function, k):
    function(k)


@pytest.mark.parametrize("columns", [DIM, DIM + 1])
@pytest.mark.parametrize(
    "function",
    [
        lambda weights: ppca.log_likelihood(weights, 1.0, COV),
        lambda weights: ppca.log_likelihood_gradient(weights, 1.0, COV),
        lambda weights: linear_vae.profiled_elbo(weights, 1.0, COV),
        lambda weights: linear_vae.elbo(weights, ENCODER, 1.0, COV),
    ],
)
def test_weights_have_fewer_columns_than_rows(function, columns):
    weights = torch.ones(DIM, columns, dtype=torch.float64)
    assert_refused(lambda: function(weights), "k", f"[1, {DIM - 1}]", f"got {columns}")


# The noise variance, and other numbers that must be positive

TAKE_NOISE = {
    "log_likelihood": lambda value: ppca.log_likelihood(WEIGHTS, value, COV),
    "log_likelihood_gradient": lambda value: ppca.log_likelihood_gradient(WEIGHTS, value, COV),
    "mle_at": lambda value: ppca.mle_at(SPECTRUM, K, value),
    "stationary_sets": lambda value: ppca.stationary_sets(EIGENVALUES, K, value),
    "stationary_log_likelihood": lambda value: ppca.stationary_log_likelihood(
        EIGENVALUES, (), value
    ),
    "stationary_weights": lambda value: ppca.stationary_weights(SPECTRUM, (), K, value),
    "elbo": lambda value: linear_vae.elbo(WEIGHTS, ENCODER, value, COV),
    "elbo_terms": lambda value: linear_vae.elbo_terms(WEIGHTS, ENCODER, value, COV),
    "best_encoder": lambda value: linear_vae.best_encoder(WEIGHTS, value),
    "hadamard_gap": lambda value: linear_vae.hadamard_gap(WEIGHTS, value),
    "profiled_elbo": lambda value: linear_vae.profiled_elbo(WEIGHTS, value, COV),
    "monte_carlo_elbo": lambda value: linear_vae.monte_carlo_elbo(
        WEIGHTS, ENCODER, value, DATA, generator=generator()
    ),
    "LinearVAE": lambda value: model(sigma_sq=value),
    "curvature": lambda value: landscape.curvature(EIGENVALUES, value, 1.0),
    "collapsed_curvature": lambda value: landscape.collapsed_curvature(EIGENVALUES, value),
    "pair_slice": lambda value: landscape.pair_slice(3.0, 1.0, value, LENGTHS, LENGTHS),
    "column_rise": lambda value: landscape.column_rise(3.0, value, LENGTHS),
    "condition_number": lambda value: landscape.condition_number(EIGENVALUES, value),
    "escape_time": lambda value: landscape.escape_time(3.0, value, start=1e-3),
    "elbo_escape_rate": lambda value: landscape.elbo_escape_rate(3.0, value),
    "extra_points": lambda value: stationary.extra_points(SPECTRUM, value),
    "predicted_kind": lambda value: stationary.predicted_kind(EIGENVALUES, (), K, value),
}
TAKE_POSITIVE = {
    "curvature, column_scale": (
        "column_scale",
        lambda value: landscape.curvature(EIGENVALUES, 1.0, value),
    ),
    "escape_time, eigenvalue": (
        "eigenvalue",
        lambda value: landscape.escape_time(value, 1.0, start=1e-3),
    ),
    "escape_time, start": ("start", lambda value: landscape.escape_time(3.0, 1.0, start=value)),
    "elbo_escape_rate, eigenvalue": (
        "eigenvalue",
        lambda value: landscape.elbo_escape_rate(value, 1.0),
    ),
    "ascend_until, step_size": (
        "step_size",
        lambda value: landscape.ascend_until(
            torch.ones_like, LENGTHS, step_size=value, done=lambda point: True, max_steps=1
        ),
    ),
    "LinearVAE, scale": ("scale", lambda value: model(scale=value)),
    "train_analytic, learning_rate": (
        "learning_rate",
        lambda value: linear_training.train_analytic(model(), COV, steps=1, learning_rate=value),
    ),
    "train_stochastic, learning_rate": (
        "learning_rate",
        lambda value: linear_training.train_stochastic(
            model(), DATA, steps=1, batch_size=2, generator=generator(), learning_rate=value
        ),
    ),
} | {f"{function}, sigma_sq": ("sigma_sq", call) for function, call in TAKE_NOISE.items()}
each_positive = pytest.mark.parametrize(("name", "function"), **ids(TAKE_POSITIVE))


@pytest.mark.parametrize("value", [0.0, -1.5, NAN, INF], ids=repr)
@each_positive
def test_a_number_that_must_be_positive_is_finite_and_above_0(name, function, value):
    assert_refused(lambda: function(value), name, "finite", "> 0", f"got {value}")


@pytest.mark.parametrize("value", [True, "1.0", None, [1.0], 1j], ids=repr)
@each_positive
def test_a_number_that_must_be_positive_is_a_number(name, function, value):
    assert_refused(lambda: function(value), name, "number > 0", f"got {value!r}")


@pytest.mark.parametrize("value", [0.0, -1.5, NAN, INF, True, "1.0"], ids=repr)
def test_a_fixed_noise_is_checked_where_none_may_be_given_too(value):
    assert_refused(
        lambda: ppca.max_log_likelihood(EIGENVALUES, K, value), "sigma_sq", "> 0", str(value)
    )


@pytest.mark.parametrize("function", ["log_likelihood", "elbo", "best_encoder", "hadamard_gap"])
def test_one_bad_noise_in_a_batch_is_enough(function):
    batch = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    assert_refused(lambda: TAKE_NOISE[function](batch), "sigma_sq", "> 0", "-2.0")


@pytest.mark.parametrize("value", [0.0, -1.0, NAN])
def test_encoder_variances_are_positive(value):
    encoder = Encoder(ENCODER.weights, damaged(ENCODER.variances, value))
    assert_refused(lambda: linear_vae.elbo(WEIGHTS, encoder, 1.0, COV), "encoder.variances")


@pytest.mark.parametrize("value", [-0.1, NAN, 1.1, True, "0.5"], ids=repr)
def test_a_fraction_is_between_0_and_1(value):
    assert_refused(
        lambda: landscape.escape_time(3.0, 1.0, start=1e-3, fraction=value),
        "fraction",
        "[0, 1]",
        f"got {value!r}",
    )


@pytest.mark.parametrize("value", [-1e-9, NAN, INF], ids=repr)
def test_a_tolerance_for_curvatures_is_not_negative(value):
    assert_refused(lambda: landscape.kind(LENGTHS, zero=value), "zero", "[0, ", f"got {value!r}")


@pytest.mark.parametrize("value", [-0.5, torch.tensor([1.0, -0.5])], ids=["number", "batch"])
def test_a_column_rises_along_an_eigenvalue_that_is_not_negative(value):
    assert_refused(
        lambda: landscape.column_rise(value, 1.0, LENGTHS[:2]), "eigenvalue", ">= 0", "got -0.5"
    )


# Covariances

TAKE_COVARIANCE = {
    "log_likelihood": lambda cov: ppca.log_likelihood(WEIGHTS, 1.0, cov),
    "log_likelihood_gradient": lambda cov: ppca.log_likelihood_gradient(WEIGHTS, 1.0, cov),
    "elbo": lambda cov: linear_vae.elbo(WEIGHTS, ENCODER, 1.0, cov),
    "elbo_terms": lambda cov: linear_vae.elbo_terms(WEIGHTS, ENCODER, 1.0, cov),
    "profiled_elbo": lambda cov: linear_vae.profiled_elbo(WEIGHTS, 1.0, cov),
    "spectrum_of_covariance": spectrum.spectrum_of_covariance,
    "train_analytic": lambda cov: linear_training.train_analytic(model(), cov, steps=1),
}
SLANTED = COV + torch.tensor(0.1).double() * torch.eye(DIM, dtype=torch.float64).roll(1, 0)
BAD_COVARIANCES = {
    "NaN": (damaged(COV, NAN), ("finite", "NaN")),
    "infinite": (damaged(COV, INF), ("finite", "infinite")),
    "asymmetric": (SLANTED, ("symmetric", "0.1")),
    "indefinite": (COV - torch.eye(DIM).double(), ("positive semi-definite", "-0.5")),
    "not square": (COV[:, :4], ("square", "(n, n)", f"({DIM}, 4)")),
    "a vector": (EIGENVALUES, ("shape", f"({DIM},)")),
    "a batch": (COV.expand(3, DIM, DIM), ("square", f"(3, {DIM}, {DIM})")),
    "float32": (COV.float(), ("float64", "torch.float32")),
    "integers": (COV.long(), ("float64", "torch.int64")),
    "an array": (COV.numpy(), ("float64 tensor", "ndarray")),
    "a list": (COV.tolist(), ("float64 tensor", "list")),
    "nothing": (None, ("float64 tensor", "NoneType")),
    "empty": (torch.zeros(0, 0, dtype=torch.float64), ("(0, 0)",)),
}


@pytest.mark.parametrize(("cov", "parts"), **ids(BAD_COVARIANCES))
@pytest.mark.parametrize("function", **ids(TAKE_COVARIANCE))
def test_a_covariance_is_finite_symmetric_and_positive_semi_definite(function, cov, parts):
    assert_refused(lambda: function(cov), "cov", *parts)


@pytest.mark.parametrize("function", **ids(TAKE_COVARIANCE))
def test_rounding_in_a_covariance_is_forgiven(function):
    # A singular covariance whose smallest eigenvalue comes out below 0, and slightly asymmetric.
    cov = COV.clone()
    cov[-1, -1] = -1e-15
    cov[0, 1] = 1e-15
    function(cov)


@pytest.mark.parametrize("dim", [DIM - 1, DIM + 1])
def test_a_covariance_of_another_dimension_is_named(dim):
    cov = torch.eye(dim, dtype=torch.float64)
    assert_refused(
        lambda: linear_training.train_analytic(model(), cov, steps=1),
        "cov",
        f"{DIM}, {DIM}",
        f"({dim}, {dim})",
    )
    for call in (
        lambda: ppca.log_likelihood(WEIGHTS, 1.0, cov),
        lambda: linear_vae.elbo(WEIGHTS, ENCODER, 1.0, cov),
    ):
        assert_refused(call, "weights", f"{dim}, any", f"({DIM}, {K})")


# Other tensors

ROTATION = torch.eye(K, dtype=torch.float64)
TAKE_TENSOR = {
    "log_likelihood, weights": (
        "weights",
        WEIGHTS,
        lambda value: ppca.log_likelihood(value, 1.0, COV),
    ),
    "log_likelihood_gradient, weights": (
        "weights",
        WEIGHTS,
        lambda value: ppca.log_likelihood_gradient(value, 1.0, COV),
    ),
    "best_encoder, weights": (
        "weights",
        WEIGHTS,
        lambda value: linear_vae.best_encoder(value, 1.0),
    ),
    "hadamard_gap, weights": (
        "weights",
        WEIGHTS,
        lambda value: linear_vae.hadamard_gap(value, 1.0),
    ),
    "elbo, weights": ("weights", WEIGHTS, lambda value: linear_vae.elbo(value, ENCODER, 1.0, COV)),
    "elbo, encoder.weights": (
        "encoder.weights",
        ENCODER.weights,
        lambda value: linear_vae.elbo(WEIGHTS, Encoder(value, ENCODER.variances), 1.0, COV),
    ),
    "elbo, encoder.variances": (
        "encoder.variances",
        ENCODER.variances,
        lambda value: linear_vae.elbo(WEIGHTS, Encoder(ENCODER.weights, value), 1.0, COV),
    ),
    "mle, rotation": ("rotation", ROTATION, lambda value: ppca.mle(SPECTRUM, K, rotation=value)),
    "mle_at, rotation": (
        "rotation",
        ROTATION,
        lambda value: ppca.mle_at(SPECTRUM, K, 1.0, rotation=value),
    ),
    "log_prob, data": ("data", DATA, lambda value: ppca.log_prob(MODEL, value)),
    "posterior, data": ("data", DATA, lambda value: ppca.posterior(MODEL, value)),
    "spectrum, data": ("data", DATA, spectrum.spectrum),
    "covariance, data": ("data", DATA, spectrum.covariance),
    "spectrum_of_covariance, mean": (
        "mean",
        EIGENVALUES,
        lambda value: spectrum.spectrum_of_covariance(COV, value),
    ),
    "monte_carlo_elbo, data": (
        "data",
        DATA,
        lambda value: linear_vae.monte_carlo_elbo(
            WEIGHTS, ENCODER, 1.0, value, generator=generator()
        ),
    ),
    "train_stochastic, data": (
        "data",
        DATA,
        lambda value: linear_training.train_stochastic(
            model(), value, steps=1, batch_size=2, generator=generator()
        ),
    ),
    "search, starts": (
        "starts",
        WEIGHTS.expand(2, DIM, K),
        lambda value: stationary.search(
            lambda weights: linear_vae.unchecked_profiled_elbo(weights, MODEL.sigma_sq, COV),
            value,
            steps=1,
        ),
    ),
    "mle_sigma_sq, eigenvalues": (
        "eigenvalues",
        EIGENVALUES,
        lambda value: ppca.mle_sigma_sq(value, K),
    ),
}
each_tensor = pytest.mark.parametrize(("name", "good", "function"), **ids(TAKE_TENSOR))


@each_tensor
def test_the_good_tensors_of_these_tests_are_accepted(name, good, function):
    function(good)


@each_tensor
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_tensor_is_finite(name, good, function, value):
    assert_refused(lambda: function(damaged(good.contiguous(), value)), name, "finite", "NaN")


@each_tensor
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.complex128], ids=str)
def test_a_tensor_is_float64(name, good, function, dtype):
    assert_refused(lambda: function(good.to(dtype)), name, "float64 tensor", f"got {dtype}")


@each_tensor
def test_a_tensor_is_a_tensor(name, good, function):
    for value in (good.tolist(), good.numpy(), "W", 1.0):
        assert_refused(lambda value=value: function(value), name, type(value).__name__)


@each_tensor
def test_a_tensor_has_enough_axes(name, good, function):
    value = good.flatten()[0] if good.ndim == 1 else good.flatten()
    shape = str(tuple(value.shape))
    assert_refused(lambda: function(value), name, "shape", f"got {shape}")


SIZED = [
    "log_likelihood, weights",
    "elbo, weights",
    "elbo, encoder.weights",
    "elbo, encoder.variances",
    "mle, rotation",
    "mle_at, rotation",
    "log_prob, data",
    "posterior, data",
    "monte_carlo_elbo, data",
    "train_stochastic, data",
    "spectrum_of_covariance, mean",
]
WITHOUT_BATCHES = [
    "log_prob, data",
    "posterior, data",
    "spectrum, data",
    "covariance, data",
    "train_stochastic, data",
    "mle, rotation",
]


@pytest.mark.parametrize("case", SIZED)
def test_a_tensor_has_the_right_sizes(case):
    name, good, function = TAKE_TENSOR[case]
    axis = -2 if name == "weights" else -1
    value = torch.cat([good, good.narrow(axis, 0, 1)], dim=axis)
    assert_refused(lambda: function(value), name, "shape", str(tuple(value.shape)))


@pytest.mark.parametrize("case", WITHOUT_BATCHES)
def test_a_matrix_has_no_batch_axes(case):
    name, good, function = TAKE_TENSOR[case]
    value = good.expand(3, *good.shape)
    assert_refused(lambda: function(value), name, "shape", str(tuple(value.shape)))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (0, 5)], ids=str)
def test_a_spectrum_takes_two_observations_of_two_dimensions(shape):
    data = torch.ones(shape, dtype=torch.float64)
    assert_refused(lambda: spectrum.spectrum(data), "data", "N >= 2, n >= 2", str(shape))


@pytest.mark.parametrize("factor", [2.0, 1.01])
def test_a_rotation_is_orthogonal(factor):
    for call in (
        lambda: ppca.mle(SPECTRUM, K, rotation=factor * ROTATION),
        lambda: ppca.mle_at(SPECTRUM, K, 1.0, rotation=factor * ROTATION),
    ):
        assert_refused(call, "rotation", "orthogonal")


@pytest.mark.parametrize(
    ("eigenvalues", "parts"),
    [
        ([1.0, 2.0, 0.5], ("descending", "[1.0, 2.0, 0.5]")),
        ([2.0, 1.0, -0.5], (">= 0", "-0.5")),
        ([[2.0, 1.0], [2.0, 1.0]], ("(n,)", "(2, 2)")),
    ],
    ids=["ascending", "negative", "matrix"],
)
@pytest.mark.parametrize(
    "function",
    [
        lambda values: ppca.mle_sigma_sq(values, 1),
        lambda values: ppca.max_log_likelihood(values, 1),
        lambda values: ppca.max_log_likelihood(values, 1, 1.0),
        lambda values: ppca.stationary_sets(values, 1, 1.0),
        lambda values: ppca.stationary_log_likelihood(values, (), 1.0),
        lambda values: stationary.predicted_kind(values, (), 1, 1.0),
    ],
)
def test_eigenvalues_are_a_descending_vector(function, eigenvalues, parts):
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    assert_refused(lambda: function(values), "eigenvalues", *parts)


def test_one_eigenvalue_is_no_spectrum():
    one = torch.ones(1, dtype=torch.float64)
    assert_refused(lambda: ppca.mle_sigma_sq(one, 1), "eigenvalues", "n >= 2", "(1,)")


# Active sets and counts


@pytest.mark.parametrize(
    ("active", "parts"),
    [
        ((5,), ("[0, 4]", "got 5")),
        ((-1,), ("[0, 4]", "got -1")),
        ((0.0,), ("integer", "got 0.0")),
        ((True,), ("integer", "got True")),
        ((0, 0), ("distinct", "got (0, 0)")),
        ((0, 3), ("above sigma_sq = 1.0", "0.7")),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "function",
    [
        lambda active: ppca.stationary_log_likelihood(EIGENVALUES, active, 1.0),
        lambda active: ppca.stationary_weights(SPECTRUM, active, K, 1.0),
        lambda active: stationary.predicted_kind(EIGENVALUES, active, K, 1.0),
    ],
    ids=["stationary_log_likelihood", "stationary_weights", "predicted_kind"],
)
def test_active_components_are_distinct_large_eigenvalues(function, active, parts):
    assert_refused(lambda: function(active), "active", *parts)


@pytest.mark.parametrize(
    "function",
    [
        lambda active: ppca.stationary_weights(SPECTRUM, active, K, 1.0),
        lambda active: stationary.predicted_kind(EIGENVALUES, active, K, 1.0),
    ],
    ids=["stationary_weights", "predicted_kind"],
)
def test_at_most_k_components_are_active(function):
    assert_refused(lambda: function((0, 1, 2)), "active", f"k = {K}", "got 3")


COUNTS = {
    "sample": ("num_samples", lambda value: ppca.sample(MODEL, value, generator=generator())),
    "train_analytic, steps": (
        "steps",
        lambda value: linear_training.train_analytic(model(), COV, steps=value),
    ),
    "train_analytic, record_every": (
        "record_every",
        lambda value: linear_training.train_analytic(model(), COV, steps=1, record_every=value),
    ),
    "train_stochastic, batch_size": (
        "batch_size",
        lambda value: linear_training.train_stochastic(
            model(), DATA, steps=1, batch_size=value, generator=generator()
        ),
    ),
    "ascend_until, max_steps": (
        "max_steps",
        lambda value: landscape.ascend_until(
            torch.ones_like, LENGTHS, step_size=1.0, done=lambda point: True, max_steps=value
        ),
    ),
    "search, steps": (
        "steps",
        lambda value: stationary.search(torch.sum, WEIGHTS.expand(2, DIM, K), steps=value),
    ),
}


@pytest.mark.parametrize("value", [0, -3, 2.0, True, "2", None], ids=repr)
@pytest.mark.parametrize(("name", "function"), **ids(COUNTS))
def test_a_count_is_a_whole_number_of_at_least_1(name, function, value):
    assert_refused(lambda: function(value), name, "integer", f"got {value!r}")


def test_a_batch_is_no_larger_than_the_data():
    def train(batch_size):
        linear_training.train_stochastic(
            model(), DATA, steps=1, batch_size=batch_size, generator=generator()
        )

    train(len(DATA))
    assert_refused(lambda: train(11), "batch_size", "[1, 10]", "got 11")


@pytest.mark.parametrize("dim", [1, 0, -5, 5.0, "5", True, None], ids=repr)
def test_a_model_has_a_whole_number_of_dimensions(dim):
    with pytest.raises(ValueError, match=r"dim|k must be .*n = "):
        model(dim=dim, latent_dim=1)
