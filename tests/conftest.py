"""What all tests share: one thread, and random numbers from seeded generators only."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_generator() -> Callable[[int], torch.Generator]:
    """A function that gives a new generator for a seed."""
    return lambda seed=0: torch.Generator().manual_seed(seed)
