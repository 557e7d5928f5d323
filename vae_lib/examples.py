"""The small model that several chapters enumerate: few enough dimensions to list everything."""

from __future__ import annotations

import torch

from vae_lib.spectrum import Spectrum, spectrum_of_covariance

# Two eigenvalues far above a noise of 1, one just above it, two below.
SMALL_EIGENVALUES = (6.0, 3.0, 1.2, 0.7, 0.5)


def small_spectrum() -> Spectrum:
    """Spectrum with :data:`SMALL_EIGENVALUES` along the axes, n = 5."""
    return spectrum_of_covariance(torch.diag(torch.tensor(SMALL_EIGENVALUES, dtype=torch.float64)))
