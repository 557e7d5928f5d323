"""The measures of collapse against loops over images, torch.distributions and NumPy."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.oracles import EPS, log_uniform, normal
from vae_lib import collapse

LEVELS = [0.0, 0.01, 0.3, 1.0]
each_delta = pytest.mark.parametrize("delta", LEVELS)


def collapsed_by_counting(kl: torch.Tensor, epsilon: float, delta: float) -> float:
    """Definition 1, image by image, with 1 - delta = a / 100 so that counting is exact."""
    needed = 100 - round(100 * delta)
    num_collapsed = 0
    for latent in kl.T.tolist():
        count = sum(1 for divergence in latent if divergence < epsilon)
        num_collapsed += 100 * count >= needed * len(latent)
    return num_collapsed / kl.shape[1]


def random_kl(generator, *shape: int) -> torch.Tensor:
    """Divergences around all levels, each latent with a size of its own."""
    sizes = log_uniform(generator, 1e-3, 3, *shape[:-2], 1, shape[-1])
    return sizes * log_uniform(generator, 0.5, 2, *shape)


@each_delta
@pytest.mark.parametrize("num_images", [1, 2, 7, 100, 300])
def test_the_fraction_is_that_of_counting(make_generator, num_images, delta):
    kl = random_kl(make_generator(num_images), num_images, 40)
    found = [collapse.collapsed_fraction(kl, epsilon=each, delta=delta).item() for each in LEVELS]
    expected = [collapsed_by_counting(kl, each, delta) for each in LEVELS]
    assert found == expected
    if delta < 1:  # the example tells the levels apart
        assert expected[0] == 0 < expected[2] < expected[3]


@pytest.mark.parametrize("num_images", [10, 100, 700])
@pytest.mark.parametrize("percent", range(0, 101, 5))
def test_so_many_images_and_no_fewer_are_asked_for(num_images, percent):
    """Also where (1 - delta) N is an integer, on whichever side of it the floats fall."""
    delta, needed = percent / 100, math.ceil(num_images * (100 - percent) / 100)
    for below in {needed, needed - 1} - {-1}:
        kl = torch.full((num_images, 1), 0.5, dtype=torch.float64)
        kl[:below] = 0.25
        found = collapse.collapsed_fraction(kl, epsilon=0.5, delta=delta).item()
        assert found == (below >= needed)


def test_a_tie_with_epsilon_is_not_below_it():
    kl = torch.tensor([[0.25, 0.25, 0.5], [0.25, 0.5, 0.5]], dtype=torch.float64)
    above = math.nextafter(0.25, 1)
    for epsilon, delta, expected in [
        (0.25, 0.0, 0),
        (0.25, 0.5, 0),
        (above, 0.0, 1),
        (above, 0.5, 2),
        (0.5, 0.0, 1),
        (0.5, 0.5, 2),
        (0.0, 0.5, 0),
        (1.0, 0.0, 3),
    ]:
        found = collapse.collapsed_fraction(kl, epsilon=epsilon, delta=delta).item()
        assert found == pytest.approx(expected / 3, abs=EPS), (epsilon, delta)


def test_delta_1_asks_for_nothing_and_delta_0_for_every_image(make_generator):
    kl = 1 + random_kl(make_generator(0), 50, 6)
    assert collapse.collapsed_fraction(kl, epsilon=0.0, delta=1.0) == 1
    assert collapse.collapsed_fraction(kl, epsilon=1.0, delta=0.99) == 0
    kl = torch.zeros(50, 6, dtype=torch.float64)
    kl[17, :2] = 2
    assert collapse.collapsed_fraction(kl, epsilon=1.0, delta=0.0).item() == 4 / 6
    assert collapse.collapsed_fraction(kl, epsilon=1.0, delta=0.02) == 1


@each_delta
def test_one_threshold_a_latent_answers_for_every_epsilon(make_generator, delta):
    kl = random_kl(make_generator(1), 90, 12)
    thresholds = collapse.collapse_epsilon(kl, delta=delta)
    assert thresholds.shape == (12,)
    for latent, epsilon in product(range(12), [0, 1e-3, 0.01, 0.1, 0.5, 1]):
        expected = collapsed_by_counting(kl[:, [latent]], epsilon, delta)
        assert (thresholds[latent].item() < epsilon) == expected
        alone = collapse.fraction_below(thresholds[[latent]], epsilon)
        assert alone.item() == expected


def test_several_epsilons_and_batches_at_once(make_generator):
    kl = random_kl(make_generator(2), 3, 2, 60, 10)
    epsilons = torch.tensor([0.0, 0.01, 0.3, 1.0], dtype=torch.float64)
    for delta in LEVELS:
        found = collapse.collapsed_fraction(kl, epsilon=epsilons, delta=delta)
        assert found.shape == (3, 2, 4)
        single = collapse.collapsed_fraction(kl, epsilon=0.3, delta=delta)
        assert single.shape == (3, 2)
        assert torch.equal(single, found[..., 2])
        for row, column, place in product(range(3), range(2), range(4)):
            expected = collapsed_by_counting(kl[row, column], epsilons[place].item(), delta)
            assert found[row, column, place].item() == expected


def test_the_divergence_is_that_of_torch_distributions(make_generator):
    generator = make_generator(3)
    mean, log_var = 3 * normal(generator, 2, 50, 7), 4 * normal(generator, 2, 50, 7)
    prior = Normal(torch.zeros((), dtype=torch.float64), 1.0)
    expected = kl_divergence(Normal(mean, (0.5 * log_var).exp()), prior)
    found = collapse.kl_per_latent(mean, log_var)
    assert found.shape == expected.shape
    # The terms cancel where q is near the prior; exp multiplies the error of log_var by it.
    size = mean.square() + log_var.exp() * (1 + log_var.abs()) + log_var.abs() + 1
    assert ((found - expected).abs() <= 4 * EPS * size).all()
    zero = torch.zeros(5, dtype=torch.float64)
    assert torch.equal(collapse.kl_per_latent(zero, zero), zero)


def test_active_units_are_those_whose_means_vary(make_generator):
    deviations = torch.tensor([0, 0.05, 0.09, 0.11, 0.5, 2], dtype=torch.float64)
    means = normal(make_generator(4), 2, 5000, 6) * deviations + 7
    for threshold in (0.0, 0.001, 0.01, 1.0):
        variance = np.var(means.numpy(), axis=-2)
        # No variance is so near a threshold that its rounding would matter.
        assert (np.abs(variance[variance > 0] - threshold) > 1e-6).all()
        expected = (variance > threshold).sum(-1).tolist()
        assert collapse.active_units(means, threshold=threshold).tolist() == expected
    assert collapse.active_units(means).tolist() == [3, 3]


def test_the_variance_of_the_means_divides_by_the_number_of_images():
    """Two images 0.2 apart: 0.01 with N, which is not above the threshold, and 0.02 with N - 1."""
    means = torch.tensor([[0.0, 0.0], [0.19, 0.21]], dtype=torch.float64)
    assert collapse.active_units(means).item() == 1


BAD = [-0.01, 1.01, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", BAD)
def test_epsilon_outside_0_to_1_is_refused(value):
    kl = torch.ones(4, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^epsilon must be in \[0, 1\], got"):
        collapse.collapsed_fraction(kl, epsilon=value, delta=0.1)
    several = torch.tensor([0.1, value], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^epsilon must be in \[0, 1\], got"):
        collapse.fraction_below(kl[0], several)


@pytest.mark.parametrize("value", [*BAD, "0.1", None, True])
def test_delta_outside_0_to_1_is_refused(value):
    kl = torch.ones(4, 2, dtype=torch.float64)
    for function in (collapse.collapse_epsilon, collapse.collapsed_fraction):
        arguments = {"epsilon": 0.1} if function is collapse.collapsed_fraction else {}
        with pytest.raises(ValueError, match=r"^delta must be a finite number"):
            function(kl, delta=value, **arguments)
