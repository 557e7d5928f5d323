"""Spectra against numpy and against their definition."""

import numpy as np
import pytest
import torch

from tests.oracles import EPS, difference, normal, orthogonal
from vae_lib.spectrum import (
    Spectrum,
    covariance,
    span_coordinates,
    spectrum,
    spectrum_of_covariance,
)

# (N, n): more observations than dimensions, as many, one fewer, many fewer.
SHAPES = [(200, 6), (40, 12), (12, 12), (11, 12), (3, 30), (2, 2)]


def anisotropic(generator: torch.Generator, num_samples: int, dim: int) -> torch.Tensor:
    """Data with a mean and with well separated variances, from 4 down to about 0.1."""
    scales = torch.linspace(2, 0.3, dim, dtype=torch.float64)
    return normal(generator, num_samples, dim) * scales @ orthogonal(generator, dim) + 5


@pytest.fixture(params=SHAPES, ids=lambda shape: f"N={shape[0]}, n={shape[1]}")
def data(request, make_generator):
    return anisotropic(make_generator(7), *request.param)


def rounding(data: torch.Tensor) -> float:
    """Error allowed in an eigenvalue: a dot product over N or n entries of size |x|^2.

    By Weyl's inequality no eigenvalue moves by more than the covariance's perturbation. The mean
    is subtracted first, and its rounding is of the size of the raw data.
    """
    return EPS * sum(data.shape) * data.square().sum(1).mean().item()


def test_the_covariance_divides_by_n_and_not_by_n_minus_1(data):
    expected = torch.from_numpy(np.cov(data.numpy().T, ddof=0))
    assert difference(covariance(data), expected) <= rounding(data)
    unbiased = torch.from_numpy(np.cov(data.numpy().T))
    assert difference(covariance(data), unbiased) > 1e3 * rounding(data)


def test_the_eigenvalues_are_those_of_the_covariance(data):
    found = spectrum(data)
    expected = np.linalg.eigvalsh(np.cov(data.numpy().T, ddof=0))[::-1].clip(0)
    assert difference(found.eigenvalues, torch.from_numpy(expected.copy())) <= rounding(data)
    assert (found.eigenvalues.diff() <= 0).all()
    assert torch.equal(found.mean, data.mean(0))


def test_the_spectrum_reconstructs_the_covariance(data):
    found = spectrum(data)
    assert found.dim == data.shape[1]
    assert found.eigenvectors.shape == (data.shape[1], min(data.shape))
    # Each of the r outer products adds the rounding of its entries.
    assert difference(found.covariance(), covariance(data)) <= len(data.T) * rounding(data)


def test_the_eigenvectors_are_orthonormal_and_their_largest_entry_is_positive(data):
    vectors = spectrum(data).eigenvectors
    rank = vectors.shape[1]
    identity = torch.eye(rank, dtype=torch.float64)
    assert difference(vectors.T @ vectors, identity) <= 10 * EPS * sum(data.shape)
    largest = vectors.abs().argmax(0)
    assert (vectors[largest, range(rank)] > 0).all()


def test_padded_eigenvalues_are_exactly_zero(data):
    num_samples, dim = data.shape
    found = spectrum(data)
    assert found.eigenvalues.shape == (dim,)
    assert (found.eigenvalues[num_samples:] == 0).all()
    assert (found.eigenvalues >= 0).all()


@pytest.mark.parametrize(("num_samples", "dim"), [(11, 12), (3, 30), (20, 64)])
def test_the_thin_route_equals_the_covariance_route(make_generator, num_samples, dim):
    data = anisotropic(make_generator(3), num_samples, dim)
    thin, full = spectrum(data), spectrum_of_covariance(covariance(data), data.mean(0))
    assert difference(thin.eigenvalues, full.eigenvalues) <= rounding(data)
    # N centred rows span N - 1 directions. Davis and Kahan: a vector turns by at most the
    # perturbation over its gap to the nearest other eigenvalue.
    rank = num_samples - 1
    gap = -thin.eigenvalues[: rank + 1].diff().max().item()
    vectors = thin.eigenvectors[:, :rank], full.eigenvectors[:, :rank]
    assert difference(*vectors) <= 4 * dim * rounding(data) / gap
    assert torch.equal(thin.mean, full.mean)


def test_the_spectrum_of_a_covariance_without_a_mean_has_mean_zero(make_generator):
    cov = covariance(anisotropic(make_generator(), 50, 5))
    assert torch.equal(spectrum_of_covariance(cov).mean, torch.zeros(5, dtype=torch.float64))
    mean = torch.arange(5, dtype=torch.float64)
    assert torch.equal(spectrum_of_covariance(cov, mean).mean, mean)


def test_a_singular_covariance_has_no_negative_eigenvalue(make_generator):
    factor = normal(make_generator(), 20, 3)
    eigenvalues = spectrum_of_covariance(factor @ factor.T).eigenvalues
    assert (eigenvalues >= 0).all()
    assert (eigenvalues[3:] <= 20 * EPS * eigenvalues[0]).all()


@pytest.mark.parametrize(
    ("sigma_sq", "count"), [(0.1, 4), (1.0, 2), (0.999, 3), (3.0, 1), (7.0, 0)]
)
def test_count_above_counts_strictly(sigma_sq, count):
    eigenvalues = torch.tensor([6, 3, 1, 0.5], dtype=torch.float64)
    assert Spectrum(torch.zeros(4), eigenvalues, torch.eye(4)).count_above(sigma_sq) == count


def test_coordinates_in_the_span_keep_distances_and_the_spectra_of_subsets(data):
    rows = span_coordinates(data)
    assert rows.shape == (len(data), min(data.shape))
    allowed = 4 * rounding(data) * len(data)
    assert difference(rows @ rows.T, data @ data.T) <= allowed
    subset = slice(0, max(2, len(data) // 2))
    short, full = spectrum(rows[subset]).eigenvalues, spectrum(data[subset]).eigenvalues
    assert difference(short, full[: len(short)]) <= 4 * rounding(data)
    assert full[len(short) :].abs().sum() <= 4 * rounding(data)


def test_coordinates_of_something_else_than_a_matrix_are_refused():
    for wrong in (torch.zeros(3), torch.zeros(3, 2)):  # one axis; float32
        with pytest.raises(ValueError, match="data must"):
            span_coordinates(wrong)
