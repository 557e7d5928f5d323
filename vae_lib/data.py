"""The data sets, by name; ``python -m vae_lib.data`` fetches them ahead of time."""

from __future__ import annotations

import sys

from vae_lib._sources import DataError, say
from vae_lib.mnist import load_mnist, mnist_pixels, raw_folder, sharded_order

__all__ = ["DataError", "load_mnist", "main", "mnist_pixels", "sharded_order"]


def main() -> int:
    """Fill the cache, and say where it is."""
    try:
        sizes = [len(load_mnist(split).labels) for split in ("train", "test")]
    except DataError as error:
        say(str(error))
        return 1
    print(f"MNIST: {sizes[0]:,} + {sizes[1]:,} images, verified, in {raw_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
