"""Print the table. One thread does the work where a row does not say otherwise.

The exit status is 1 where a row is over its target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

import torch
from threadpoolctl import threadpool_limits

from tests.bench import celeba, deep, linear, memory, pipeline, rows, sweeps
from vae_lib import data


def table() -> Iterator[rows.Row | rows.Memory | str]:
    """Every row, and remarks; each is measured when it is asked for."""
    data.load_mnist()  # so that nobody measures a download
    data.load_celeba(first=999)
    yield memory.row()
    yield from celeba.memory_rows()
    yield pipeline.row()
    yield from sweeps.rows()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield from deep.rows(data.load_mnist().images.flatten(1))
        yield from celeba.rows()
        yield from linear.rows(data.mnist_pixels(linear.LARGE))


def shown(found: Iterable[rows.Row | rows.Memory | str]) -> int:
    """Print the rows as they come; returns how many are over their targets."""
    print(rows.HEADER)
    over = 0
    for row in found:
        print(row, flush=True)
        over += not isinstance(row, str) and row.over
    return over


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__).parse_args(arguments)
    over = shown(table())
    if over:
        print(f"{over} of the rows are over their targets", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
