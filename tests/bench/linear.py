"""Linear models: training, the landscape's closed form, and pPCA's maximum."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from tests.bench.rows import Row, medians
from vae_lib import landscape, ppca
from vae_lib.linear_training import maximise
from vae_lib.linear_vae import LinearVAE
from vae_lib.spectrum import Spectrum, covariance, spectrum

LATENT_DIM = 50
SMALL, LARGE = 1_000, 60_000


def training_step(pixels: Tensor) -> Row:
    """One step on the exact ELBO, which sees the data through their covariance only."""
    steps = 10

    def trainer(cov: Tensor) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        model = LinearVAE(len(cov), LATENT_DIM, generator=generator)
        return lambda: maximise(
            lambda: model.elbo(cov), model.parameters(), steps=steps, learning_rate=1e-3
        )

    large, small = medians(
        trainer(covariance(pixels)), trainer(covariance(pixels[:SMALL])), repeats=21
    )
    label = f"analytic training step, N = {LARGE:,} against {SMALL:,}"
    return Row(label, large / steps, small / steps, 1.1)


def landscape_grid(found: Spectrum, cov: Tensor) -> Row:
    """A grid of likelihoods in closed form against dense ones, which are timed on three points."""
    size, points, sigma_sq = 101, 3, 1.0
    lengths = torch.linspace(-2, 2, size, dtype=torch.float64)
    first, second = found.eigenvalues[:2].tolist()
    eye = torch.eye(found.dim, dtype=torch.float64)

    def closed_form() -> Tensor:
        return landscape.pair_slice(first, second, sigma_sq, lengths, lengths)

    def dense() -> list[Tensor]:
        values = []
        for length in lengths[:points]:
            weights = found.eigenvectors[:, :2] * length
            model = weights @ weights.T + sigma_sq * eye
            distance = torch.linalg.solve(model, cov).trace()
            values.append(-0.5 * (torch.linalg.slogdet(model)[1] + distance))
        return values

    ours, other = medians(closed_form, dense, repeats=7)
    label = f"landscape of {size} x {size} points, n = {found.dim}, against dense matrices"
    return Row(label, ours, other / points * size**2, 0.01)


def maximum_likelihood(pixels: Tensor, solver: str, repeats: int) -> Row:
    """The MLE from the images against scikit-learn's PCA of the same images."""
    array = pixels.numpy()
    pca = PCA(LATENT_DIM, svd_solver=solver)
    ours, other = medians(
        lambda: ppca.mle(spectrum(pixels), LATENT_DIM), lambda: pca.fit(array), repeats=repeats
    )
    label = f"pPCA's maximum, N = {len(pixels):,}, against scikit-learn ({solver})"
    return Row(label, ours, other, 1.2)


def fastest_exact_solver(array: np.ndarray) -> str:
    """Which of scikit-learn's exact solvers is fastest on these data."""
    solvers = ["covariance_eigh", "full"]
    fits = [PCA(LATENT_DIM, svd_solver=solver).fit for solver in solvers]
    times = medians(*[lambda fit=fit: fit(array) for fit in fits], repeats=3)
    return solvers[times.index(min(times))]


def automatic_solver(array: np.ndarray) -> str:
    """What scikit-learn's svd_solver="auto" picks for these data."""
    return PCA(LATENT_DIM, svd_solver="auto").fit(array)._fit_svd_solver


def rows(pixels: Tensor) -> Iterator[Row | str]:
    """Of ``pixels``, 60,000 images."""
    small = pixels[:SMALL]
    yield training_step(pixels)
    yield landscape_grid(spectrum(small), covariance(small))
    yield maximum_likelihood(small, fastest_exact_solver(small.numpy()), repeats=9)
    # Of 60,000 images the full decomposition takes a minute and the covariance a second.
    yield maximum_likelihood(pixels, "covariance_eigh", repeats=3)
    for images in (small, pixels):
        yield (
            f"scikit-learn's svd_solver='auto' takes {automatic_solver(images.numpy())!r} "
            f"for N = {len(images):,}"
        )
