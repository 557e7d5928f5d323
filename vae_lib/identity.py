"""Which images are at hand, told without loading them: for whoever keeps what they gave.

MNIST is the same everywhere, its checksums are part of the library. CelebA may be the sample,
of which that holds too, the official download, or a folder of the reader's. Of these two, the
files' names, sizes and times of change make the name, and not what is in them: who changes an
image and sets its time back is not noticed.
"""

from __future__ import annotations

from vae_lib import _celeba_sources
from vae_lib._sources import cache_folder


def data_sets() -> dict[str, str]:
    """Data set -> a name for its images, which becomes another when they change.

    Raises:
        DataError: ``$VAE_LIB_CELEBA`` names a folder that is missing or something else, or the
            official download was interrupted.
    """
    return {"celeba": _celeba_sources.find(None, cache_folder() / "CelebA").key}
