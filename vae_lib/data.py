"""The data sets, by name; ``python -m vae_lib.data`` fetches them ahead of time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from vae_lib import celeba
from vae_lib._sources import DataError, say
from vae_lib.celeba import load_celeba
from vae_lib.mnist import load_mnist, mnist_pixels, raw_folder, sharded_order

__all__ = ["DataError", "load_celeba", "load_mnist", "main", "mnist_pixels", "sharded_order"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the cache, and say where it is; one data set that fails does not stop the other."""
    parser = argparse.ArgumentParser(prog="vae_lib.data", description="Fetch the data sets.")
    parser.add_argument(
        "--celeba",
        action="store_true",
        help=f"also download all of CelebA, 1.4 GB, {celeba.TERMS}; without it a sample is fetched",
    )
    given = parser.parse_args(arguments)
    status = 0
    for fetch in (_fetch_mnist, partial(_fetch_celeba, everything=given.celeba)):
        try:
            print(fetch())
        except DataError as error:
            say(str(error))
            status = 1
    return status


def _fetch_mnist() -> str:
    sizes = [len(load_mnist(split).labels) for split in ("train", "test")]
    return f"MNIST: {sizes[0]:,} + {sizes[1]:,} images, verified, in {raw_folder()}"


def _fetch_celeba(*, everything: bool) -> str:
    if everything:
        celeba.download()
    images, origin = load_celeba(first=None if everything else celeba.SAMPLE_SIZE)
    return f"CelebA: {len(images):,} images, verified, of {origin}; {celeba.TERMS}"


if __name__ == "__main__":
    sys.exit(main())
