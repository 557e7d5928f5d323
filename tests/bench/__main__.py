"""Print the table. One thread does the work where a row does not say otherwise."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits

from tests.bench import celeba, deep, linear, memory, rows, sweeps
from vae_lib import data


def main() -> None:
    data.load_mnist()  # so that nobody measures a download
    data.load_celeba(first=999)
    print(rows.HEADER)
    print(memory.row(), flush=True)
    for row in celeba.memory_rows():
        print(row, flush=True)
    for row in sweeps.rows():
        print(row, flush=True)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for row in deep.rows(data.load_mnist().images.flatten(1)):
            print(row, flush=True)
        for row in celeba.rows():
            print(row, flush=True)
        for row in linear.rows(data.mnist_pixels(linear.LARGE)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
