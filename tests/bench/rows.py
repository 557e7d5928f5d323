"""Rows of the table. Each ratio is of medians over runs that alternate between the two sides, so
that whatever else the machine does falls on both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

WIDTH = 66
HEADER = (
    f"{'milliseconds; a ratio should not exceed its target':<{WIDTH}} "
    f"{'ours':>10} {'other':>10} {'ratio':>9} {'target':>7}"
)


class Row(NamedTuple):
    """A comparison: median seconds of the two sides, and the ratio's bound, if it has one."""

    label: str
    ours: float
    other: float
    target: float | None

    @property
    def over(self) -> bool:
        return self.target is not None and self.ours / self.other > self.target

    def __str__(self) -> str:
        ratio = self.ours / self.other
        return (
            f"{self.label:<{WIDTH}} {1e3 * self.ours:10.4f} {1e3 * self.other:10.4f} "
            f"{ratio:9.2g} {_against(ratio, self.target)}"
        )


class Memory(NamedTuple):
    """Peak memory in GiB, and its bound."""

    label: str
    gib: float
    target: float

    @property
    def over(self) -> bool:
        return self.gib > self.target

    def __str__(self) -> str:
        return (
            f"{self.label:<{WIDTH}} {self.gib:6.2f} GiB {'':>20} {_against(self.gib, self.target)}"
        )


def _against(value: float, target: float | None) -> str:
    if target is None:
        return f"{'-':>7}  for information"
    return f"{target:7.2g}  {'ok' if value <= target else 'over'}"


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def medians(*runs: Callable[[], object], repeats: int) -> list[float]:
    """Median seconds of each of ``runs``, taken in turn after one round that does not count."""
    rounds = [[seconds(run) for run in runs] for _ in range(repeats + 1)]
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch on ``count`` threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
