"""What a test does that needs the package index where it is away."""

import os
from typing import NoReturn

import pytest


def away(reason: str) -> NoReturn:
    """Skip the test; where changes are checked, which ``$CI`` tells, let it fail."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
