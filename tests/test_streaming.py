"""Leading eigenvalues from blocks: against a dense solver and against spectra known beforehand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles import blocks_with_spectrum
from vae_lib.prediction import predict
from vae_lib.spectrum import spectrum
from vae_lib.streaming import LeadingSpectrum, leading_spectrum


def correlated(make_generator, *, rows: int = 300, dim: int = 120) -> Tensor:
    """Data with a spectrum that falls, and a mean far from zero."""
    noise = torch.randn(rows, dim, generator=make_generator(1), dtype=torch.float64)
    scales = torch.arange(1, dim + 1, dtype=torch.float64) ** -0.7
    mixing = torch.randn(dim, dim, generator=make_generator(2), dtype=torch.float64)
    return (noise * scales) @ torch.linalg.qr(mixing)[0] + 50


def test_leading_eigenvalues_are_those_of_a_dense_solver(make_generator):
    data = correlated(make_generator)
    found = leading_spectrum(
        lambda: data.split(37), num_components=15, generator=make_generator(), tolerance=1e-9
    )
    dense = spectrum(data)
    # An eigenvalue's error is at most the squared residual over the gap, here far below rounding.
    torch.testing.assert_close(found.leading, dense.eigenvalues[:15], rtol=1e-10, atol=0)
    torch.testing.assert_close(found.mean, dense.mean, rtol=1e-13, atol=0)
    assert found.trace == pytest.approx(dense.eigenvalues.sum().item(), rel=1e-12)


def test_a_spectrum_known_beforehand_is_found(make_generator):
    values = 30 / np.arange(1, 200) ** 1.1 + 0.05
    found = leading_spectrum(
        lambda: blocks_with_spectrum(values, rows=400, dim=250),
        num_components=40,
        generator=make_generator(),
        tolerance=1e-3,
    )
    assert found.trace == pytest.approx(values.sum(), rel=1e-12)
    leading = torch.from_numpy(values[:40])
    assert ((leading - found.leading).abs() <= found.residuals + 1e-12).all()
    torch.testing.assert_close(found.leading, leading, rtol=1e-3, atol=0)


@pytest.mark.parametrize("max_passes", [6, 8, 12])
def test_what_is_returned_bounds_each_eigenvalue_from_below(make_generator, max_passes):
    data = correlated(make_generator)
    exact = spectrum(data).eigenvalues[:20]
    found = leading_spectrum(
        lambda: data.split(100),
        num_components=20,
        generator=make_generator(),
        tolerance=1e-12,
        max_passes=max_passes,
    )
    assert found.passes <= max_passes
    assert (found.leading <= exact * (1 + 1e-13)).all()
    assert (found.leading.diff() <= 0).all()
    for sigma_sq in (0.01, 0.05, 0.2):
        assert found.count_above(sigma_sq) <= int((exact > sigma_sq).sum())
    if max_passes == 6:  # too few for the bounds to be tight, so that the test can fail
        assert (found.leading < exact * (1 - 1e-4)).any()


def test_fewer_passes_leave_larger_residuals(make_generator):
    data = correlated(make_generator)
    few, many = (
        leading_spectrum(
            lambda: [data],
            num_components=20,
            generator=make_generator(),
            tolerance=1e-12,
            max_passes=passes,
        )
        for passes in (6, 16)
    )
    assert many.residuals.max() < 0.1 * few.residuals.max()


def test_closed_forms_need_the_others_only_through_their_sum(make_generator):
    data = correlated(make_generator)
    exact = spectrum(data).eigenvalues
    found = leading_spectrum(
        lambda: [data], num_components=15, generator=make_generator(), tolerance=1e-10
    )
    for sigma_sq in (None, 0.02, float(exact[4])):
        streamed, dense = (
            predict(values, k=15, sigma_sq=sigma_sq) for values in (found.eigenvalues(), exact)
        )
        assert streamed.elbo == pytest.approx(dense.elbo, rel=1e-9)
        assert streamed.kl == pytest.approx(dense.kl, rel=1e-8)
        assert streamed.tuned_sigma_sq == pytest.approx(dense.tuned_sigma_sq, rel=1e-9)
        assert streamed.collapse_percent == dense.collapse_percent


def test_eigenvalues_descend_and_add_up_to_the_trace():
    found = LeadingSpectrum(torch.zeros(6), 10.0, torch.tensor([4.0, 3.0]), torch.zeros(2), 3)
    values = found.eigenvalues()
    assert values.tolist() == [4.0, 3.0, 0.75, 0.75, 0.75, 0.75]
    # A leading value that was not reached may be below the mean of the rest: it joins them.
    short = LeadingSpectrum(torch.zeros(4), 10.0, torch.tensor([4.0, 1.0]), torch.zeros(2), 3)
    assert short.eigenvalues().tolist() == [4.0, 2.0, 2.0, 2.0]
    nothing = LeadingSpectrum(torch.zeros(4), 10.0, torch.tensor([1.0]), torch.zeros(1), 3)
    assert nothing.eigenvalues().tolist() == [2.5] * 4


@pytest.mark.parametrize("tolerance", [1.0, 1e-2])
def test_an_elbo_is_never_above_the_true_optimum(make_generator, tolerance):
    """Three large components and a long tail: with a coarse tolerance the tail is not reached."""
    spread = torch.cat([torch.full((3,), 1e4), torch.linspace(1, 0.01, 117)]).double().sqrt()
    for seed in range(8):
        data = torch.randn(300, 120, generator=make_generator(seed), dtype=torch.float64) * spread
        found = leading_spectrum(
            lambda data=data: [data],
            num_components=19,
            generator=make_generator(seed),
            tolerance=tolerance,
            max_passes=7,
        )
        assert found.eigenvalues().sum().item() == pytest.approx(found.trace, rel=1e-12)
        exact = spectrum(data).eigenvalues
        for sigma_sq in (0.05, 0.5):
            bound = predict(found.eigenvalues(), k=10, sigma_sq=sigma_sq).elbo
            assert bound <= predict(exact, k=10, sigma_sq=sigma_sq).elbo + 1e-9


def test_a_coarse_tolerance_stops_early(make_generator):
    data = correlated(make_generator)
    passes = [
        leading_spectrum(
            lambda: [data], num_components=10, generator=make_generator(), tolerance=tolerance
        ).passes
        for tolerance in (1e-1, 1e-6)
    ]
    assert passes[0] < passes[1] < 40


def test_progress_counts_the_passes_after_the_first_two(make_generator):
    data, seen = correlated(make_generator), []
    found = leading_spectrum(
        lambda: [data],
        num_components=5,
        generator=make_generator(),
        tolerance=1e-6,
        progress=seen.append,
    )
    assert sum(seen) == found.passes - 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_components": 0}, "num_components must be"),
        ({"num_components": 24}, "num_components must be"),
        ({"max_passes": 5}, "max_passes must be"),
        ({"tolerance": 0.0}, "tolerance must be"),
    ],
)
def test_arguments_outside_their_range_are_refused(make_generator, arguments, message):
    data = correlated(make_generator)
    with pytest.raises(ValueError, match=message):
        leading_spectrum(
            lambda: [data],
            **{"num_components": 5, "generator": make_generator(), "tolerance": 1e-6, **arguments},
        )


def test_blocks_that_change_or_do_not_fit_are_refused(make_generator):
    data = correlated(make_generator)
    arguments = {"num_components": 5, "generator": make_generator(), "tolerance": 1e-6}
    calls = iter([[data], [data], [data[:-1]]])
    with pytest.raises(ValueError, match="same data every time: 300 rows, then 299"):
        leading_spectrum(lambda: next(calls), **arguments)
    calls = iter([[data], [data[:-1]]])
    with pytest.raises(ValueError, match="same data every time: 300 rows, then 299"):
        leading_spectrum(lambda: next(calls), **arguments)
    for blocks in ([], [data[:1]]):
        with pytest.raises(ValueError, match="at least two rows"):
            leading_spectrum(lambda b=blocks: b, **arguments)
    with pytest.raises(ValueError, match="blocks"):
        leading_spectrum(lambda: [data, data[:, :3]], **arguments)
    with pytest.raises(ValueError, match="blocks"):
        leading_spectrum(lambda: [data.float()], **arguments)
