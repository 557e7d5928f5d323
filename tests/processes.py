"""Waiting for what other processes do, and not for ever."""

import time
from collections.abc import Callable

SECONDS = 120  # that anything may take on a busy machine


def wait_for(happened: Callable[[], object]) -> object:
    """What ``happened`` returns, once it is true."""
    deadline = time.monotonic() + SECONDS
    while not (found := happened()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return found
