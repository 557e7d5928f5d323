"""The pace of learned noise, against torch's Adam."""

import math

import pytest
import torch

from vae_lib.adam import BETA1, BETA2, CLIMB_LIMIT, climbed, steady_climb


def by_torch(sigma_sq: float, level: float, rate: float, steps: int) -> list[float]:
    """log sigma_sq after each step of torch's Adam on what the ELBO has of it, for n = 2."""
    value = torch.tensor(math.log(sigma_sq), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([value], lr=rate)
    assert optimiser.defaults["betas"] == (BETA1, BETA2)
    found = []
    for _ in range(steps):
        optimiser.zero_grad()
        (value + level * (-value).exp()).backward()
        optimiser.step()
        found.append(value.item())
    return found


# torch adds 1e-8 to the root that it divides by; the root is 1e-2 and more in these cases, so that
# a step differs by 1e-6 of itself.
@pytest.mark.parametrize(
    ("sigma_sq", "level", "rate", "steps"),
    [(0.001, 1.5, 1e-3, 3000), (0.01, 1.5, 2e-3, 1000), (10.0, 1.5, 1e-3, 500), (0.5, 2.0, 0.1, 1)],
)
def test_a_climb_is_that_of_torch(sigma_sq, level, rate, steps):
    expected = by_torch(sigma_sq, level, rate, steps)[-1]
    found = climbed(sigma_sq, level=level, learning_rate=rate, steps=steps)
    assert abs(math.log(found) - expected) <= 1e-6 * abs(expected - math.log(sigma_sq))


def test_the_first_steps_have_the_length_of_the_learning_rate():
    found = climbed(1e-6, level=1.0, learning_rate=1e-4, steps=1)
    assert math.log(found / 1e-6) == pytest.approx(1e-4, rel=1e-9)


# Far below the level, and after 30 times the memory of 1 / (1 - BETA2) steps. The steady pace
# leaves out Adam's other memory, of 9 steps or so, over which the gradient falls by c a step: that
# adds up to 9 c / (1 - 9 c), with c below CLIMB_LIMIT 0.46 %.
@pytest.mark.parametrize("rate", [5e-4, 2e-3, 0.1])
def test_in_the_long_run_the_pace_is_the_steady_one(rate):
    early, late = (
        math.log(climbed(1e-30, level=1.0, learning_rate=rate, steps=steps))
        for steps in (30_000, 31_000)
    )
    assert (late - early) / 1000 == pytest.approx(steady_climb(rate), rel=0.0046)
    assert steady_climb(rate) < CLIMB_LIMIT


def test_at_its_level_the_noise_stays():
    assert climbed(2.0, level=2.0, learning_rate=0.1, steps=10) == pytest.approx(2.0, rel=1e-15)
    assert climbed(0.3, level=2.0, learning_rate=0.1, steps=0) == pytest.approx(0.3, rel=1e-15)


@pytest.mark.parametrize("name", ["sigma_sq", "level", "learning_rate"])
def test_what_is_not_positive_is_refused(name):
    values = {"sigma_sq": 1.0, "level": 1.0, "learning_rate": 0.1} | {name: 0.0}
    with pytest.raises(ValueError, match=name):
        climbed(values.pop("sigma_sq"), steps=1, **values)


def test_steps_below_zero_and_a_rate_of_zero_are_refused():
    with pytest.raises(ValueError, match="steps"):
        climbed(1.0, level=1.0, learning_rate=0.1, steps=-1)
    with pytest.raises(ValueError, match="learning_rate"):
        steady_climb(0.0)
