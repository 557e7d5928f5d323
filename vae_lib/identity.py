"""Which images are at hand, told without loading them: for whoever keeps what they gave.

MNIST is the same everywhere, its checksums are part of the library. CelebA may be the sample,
of which that holds too, the official download, or a folder of the reader's.
"""

from __future__ import annotations

from vae_lib import _celeba_sources
from vae_lib._sources import cache_folder


def data_sets() -> dict[str, str]:
    """Data set -> a name for its images, which other images do not have.

    Raises:
        DataError: ``$VAE_LIB_CELEBA`` names a folder that is missing or something else.
    """
    return {"celeba": _celeba_sources.find(None, cache_folder() / "CelebA").key}
