"""How fast Adam can move the logarithm of a noise variance that is far too small.

Below its level s the gradient of the ELBO in log sigma_sq is about n s / (2 sigma_sq), so it
shrinks while sigma_sq grows, and Adam divides it by a root mean square that remembers when it was
larger (Kingma and Ba 2015; chapter 5 derives the pace).
"""

from __future__ import annotations

import math

from scipy.optimize import brentq

from vae_lib import checks

BETA1, BETA2 = 0.9, 0.999  # as torch has them and the trainer leaves them
CLIMB_LIMIT = -0.5 * math.log(BETA2)  # of any learning rate


def steady_climb(learning_rate: float) -> float:
    """Climb of log sigma_sq a step, far below its level, once Adam's memory is full.

    The c that solves c = learning_rate sqrt((1 - beta2 e^(2c)) / (1 - beta2)); it is below
    ``CLIMB_LIMIT``. Momentum is left out: it adds less than 9 c of c, half a percent at most.

    Raises:
        ValueError: ``learning_rate`` is not positive.
    """
    rate = checks.positive("learning_rate", learning_rate).item()
    return brentq(
        lambda c: c - rate * math.sqrt((1 - BETA2 * math.exp(2 * c)) / (1 - BETA2)),
        0.0,
        CLIMB_LIMIT * (1 - 1e-12),
    )


def climbed(sigma_sq: float, *, level: float, learning_rate: float, steps: int) -> float:
    """Where sigma_sq is after some steps of Adam on its logarithm, from an empty memory.

    Encoder and decoder are held: the squared error per dimension is ``level`` throughout.

    Args:
        sigma_sq: initial noise variance, > 0.
        level: s, the noise variance that suits the error, > 0.
        learning_rate: Adam's, > 0.
        steps: >= 0.

    Raises:
        ValueError: an argument outside its range.
    """
    value = math.log(checks.positive("sigma_sq", sigma_sq).item())
    level = checks.positive("level", level).item()
    rate = checks.positive("learning_rate", learning_rate).item()
    mean = square = 0.0
    for step in range(1, checks.integer("steps", steps, low=0) + 1):
        ascent = level * math.exp(-value) - 1  # Adam does not see a constant factor such as n / 2
        mean = BETA1 * mean + (1 - BETA1) * ascent
        square = BETA2 * square + (1 - BETA2) * ascent**2
        root = math.sqrt(square / (1 - BETA2**step))
        value += rate * mean / (1 - BETA1**step) / root if root else 0.0
    return math.exp(value)
