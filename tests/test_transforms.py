"""Dequantisation and logit against autograd, integrals and the published table's J."""

import math

import pytest
import torch
from scipy.integrate import quad

from tests.oracles import EPS
from vae_lib import transforms
from vae_lib.data import load_mnist

ALPHAS = [0.0, 1e-6, 1e-4, 0.05, 0.49]
each_alpha = pytest.mark.parametrize("alpha", ALPHAS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
ALL_BYTES = torch.arange(256, dtype=torch.uint8)


def extreme_pixels(dtype) -> torch.Tensor:
    """Each byte with the smallest noise, the largest and three between, (5, 256)."""
    noise = torch.tensor([2.0**-25, 0.1, 0.5, 0.9, 1 - 2.0**-24], dtype=dtype)
    return transforms.dequantise(ALL_BYTES, noise[:, None])


@each_alpha
@each_dtype
def test_the_logit_and_its_inverse_are_inverses(alpha, dtype):
    pixels = extreme_pixels(dtype)
    there_and_back = transforms.inverse_logit(transforms.logit(pixels, alpha=alpha), alpha=alpha)
    assert there_and_back.dtype == dtype
    # s and 1 - s have three roundings each, so that y is off by 6 eps + eps |y|, of which the
    # sigmoid keeps s (1 - s), where s (1 - s) |y| < 0.23; the sigmoid itself adds some 4 eps and
    # the difference to alpha one. The scale 256 / (1 - 2 alpha) enlarges them all.
    tolerance = 10 * torch.finfo(dtype).eps * 256 / (1 - 2 * alpha)
    assert (there_and_back - pixels).abs().max().item() <= tolerance


@each_alpha
def test_the_inverse_of_what_no_byte_gives_lies_outside(alpha):
    ends = torch.tensor([-40.0, 40.0], dtype=torch.float64)
    low, high = transforms.inverse_logit(ends, alpha=alpha).tolist()
    beyond = 256 * alpha / (1 - 2 * alpha)
    tolerance = 256 / (1 - 2 * alpha) * (math.exp(-40) + 4 * EPS)
    assert low == pytest.approx(-beyond, abs=tolerance)
    assert high == pytest.approx(256 + beyond, abs=tolerance)


@each_alpha
@each_dtype
def test_the_logit_is_the_formula_to_every_digit_that_its_type_has(alpha, dtype):
    """Also near white, where 1 - s is tiny: the formula in float64, of the same pixel values."""
    pixels = extreme_pixels(dtype)
    wide = pixels.to(torch.float64)
    s = alpha + (1 - 2 * alpha) * wide / 256
    rest = alpha + (1 - 2 * alpha) * (256 - wide) / 256
    expected = s.log() - rest.log()
    found = transforms.logit(pixels, alpha=alpha)
    assert found.dtype == dtype
    tolerance = torch.finfo(dtype).eps * (8 + expected.abs())
    assert ((found.to(torch.float64) - expected).abs() <= tolerance).all()


@each_alpha
def test_the_log_determinant_is_autograd_s(make_generator, alpha):
    noise = torch.rand(4, 256, dtype=torch.float64, generator=make_generator(0))
    pixels = transforms.dequantise(ALL_BYTES, noise)
    found = transforms.log_abs_det(pixels, alpha=alpha)
    assert found.shape == (4,)
    for row, value in zip(pixels, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda values: transforms.logit(values, alpha=alpha), row
        )
        expected = torch.linalg.slogdet(jacobian)[1]
        # Each of the 256 terms, none above 30 nats, and each partial sum, none above 256 * 30.
        assert abs((value - expected).item()) <= 256 * EPS * 256 * 30


def test_the_log_determinant_has_the_gradient_of_finite_differences(make_generator):
    pixels = 256 * torch.rand(3, 5, dtype=torch.float64, generator=make_generator(0))
    torch.autograd.gradcheck(
        lambda values: transforms.log_abs_det(values, alpha=0.05), pixels.requires_grad_()
    )


@each_dtype
def test_dequantised_values_lie_inside(make_generator, dtype):
    noise = transforms.uniform_noise((1000, 256), generator=make_generator(0), dtype=dtype)
    for pixels in (transforms.dequantise(ALL_BYTES, noise), extreme_pixels(dtype)):
        assert pixels.dtype == dtype
        assert (pixels > 0).all()
        assert (pixels < 256).all()
        # x + u, up to its rounding, which stays within the byte's interval.
        assert (pixels >= ALL_BYTES).all()
        assert (pixels <= ALL_BYTES.to(dtype) + 1).all()
        for alpha in ALPHAS:
            assert torch.isfinite(transforms.logit(pixels, alpha=alpha)).all()
            assert torch.isfinite(transforms.log_abs_det(pixels, alpha=alpha)).all()


def test_white_with_noise_near_one_stays_below_256():
    noise = torch.tensor([1 - 2.0**-24], dtype=torch.float32)
    assert (ALL_BYTES[-1:] + noise).item() == 256.0  # the trap
    pixels = transforms.dequantise(ALL_BYTES[-1:], noise)
    assert 255.99 < pixels.item() < 256


def test_dequantisation_leaves_its_arguments_alone():
    images, noise = ALL_BYTES.clone(), torch.full((256,), 0.5)
    pixels = transforms.dequantise(images, noise)
    kept = pixels.clone()
    transforms.logit(pixels, alpha=0.05)
    transforms.log_abs_det(pixels, alpha=0.05)
    transforms.inverse_logit(pixels, alpha=0.05)
    assert torch.equal(images, ALL_BYTES)
    assert torch.equal(noise, torch.full((256,), 0.5))
    assert torch.equal(pixels, kept)


@each_dtype
def test_the_noise_is_uniform_and_repeats_with_the_seed(make_generator, dtype):
    first, again, other = (
        transforms.uniform_noise((100, 1000), generator=make_generator(seed), dtype=dtype)
        for seed in (1, 1, 2)
    )
    assert first.dtype == dtype
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Kolmogorov and Smirnov: the distance exceeds 2.5 / sqrt(N) once in 130,000 samples.
    ordered = first.to(torch.float64).flatten().sort().values
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    assert (ordered - ranks).abs().max().item() <= 2.5 / math.sqrt(len(ordered))


@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (3, 5), (2,), (7, 2), (50, 784), (2, 3, 4)])
def test_the_noise_is_that_of_torch_rand_half_a_step_higher(make_generator, shape):
    """And what is drawn next is the same too."""
    ours, theirs = make_generator(11), make_generator(11)
    for _ in range(2):
        found = transforms.uniform_noise(shape, generator=ours, dtype=torch.float64)
        expected = torch.rand(shape, generator=theirs).to(torch.float64) + 2.0**-25
        assert torch.equal(found, expected)
        assert torch.equal(torch.randn(3, generator=ours), torch.randn(3, generator=theirs))
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_noise_is_never_0_and_1_by_rounding_only(make_generator, dtype):
    """Among the draws of seed 3 are the least and the greatest that torch.rand gives."""
    raw = torch.rand(3_700_000, generator=make_generator(3))
    assert raw.min() == 0
    assert raw.max() == 1 - 2.0**-24
    noise = transforms.uniform_noise(tuple(raw.shape), generator=make_generator(3), dtype=dtype)
    assert noise.min() == 2.0**-25
    assert noise.max() == (1 if dtype == torch.float32 else 1 - 2.0**-25)
    white = torch.full((len(noise),), 255, dtype=torch.uint8)
    assert transforms.dequantise(white, noise).max() < 256


# J


@each_alpha
@pytest.mark.parametrize("byte", [0, 1, 128, 254, 255])
def test_j_of_a_single_byte_is_an_integral(make_generator, alpha, byte):
    """The mean over u by adaptive quadrature of a density that is written out here."""

    def integrand(u: float) -> float:
        s = alpha + (1 - 2 * alpha) * (byte + u) / 256
        rest = alpha + (1 - 2 * alpha) * (256 - byte - u) / 256
        return math.log((1 - 2 * alpha) / 256) - math.log(s) - math.log(rest)

    expected, error = quad(integrand, 0, 1, epsabs=1e-9, limit=200)
    assert error <= 1e-8
    images = torch.full((20_000, 3), byte, dtype=torch.uint8)
    found, standard_error = transforms.mean_log_abs_det(
        images, alpha=alpha, generator=make_generator(byte)
    )
    assert abs(found - 3 * expected) <= 5 * standard_error + 1e-8
    # The logarithm of a uniform number has variance 1, and no term varies more than that.
    assert 0 < standard_error <= 1.1 * math.sqrt(3 / 20_000)


def test_j_of_mnist_is_that_which_the_published_table_implies(make_generator):
    images = load_mnist().images.flatten(1)
    found, _ = transforms.mean_log_abs_det(images, alpha=1e-6, generator=make_generator(0))
    # The images are the published ones. The noise of 47 million pixels, the logarithms of which
    # have a standard deviation of 1 at most, moves the mean over images by sqrt(784 / 60,000) at
    # most, 0.11; 272.27 comes from figures that are rounded to one decimal.
    assert found == pytest.approx(272.27, abs=0.5)


def test_the_standard_error_of_j_is_the_spread_of_its_repetitions(make_generator):
    generator = make_generator(4)
    images = torch.randint(256, (400, 50, 6), dtype=torch.uint8, generator=generator)
    found = [transforms.mean_log_abs_det(each, alpha=1e-3, generator=generator) for each in images]
    means, errors = torch.tensor(found, dtype=torch.float64).T
    # A standard deviation of 400 numbers is known to one part in sqrt(800).
    mean_error = errors.square().mean().sqrt().item()
    assert means.std().item() == pytest.approx(mean_error, rel=5 / math.sqrt(800))


def test_preprocessing_is_dequantisation_and_logit(make_generator):
    """Of more images than one block has, so that blocks are joined in their order."""
    images = torch.arange(5000, dtype=torch.int64).remainder(256).to(torch.uint8)[:, None]
    images = images.expand(-1, 3).contiguous()
    values = transforms.preprocess(images, alpha=0.05, generator=make_generator(1))
    assert values.shape == (5000, 3)
    assert values.dtype == torch.float64
    pixels = transforms.inverse_logit(values, alpha=0.05)
    assert torch.equal(pixels.floor().to(torch.uint8), images)
    again = transforms.preprocess(images, alpha=0.05, generator=make_generator(1))
    assert torch.equal(values, again)


# Refusals


@pytest.mark.parametrize("alpha", [-0.1, 0.5, 1, math.nan, math.inf, "0.1", None, True])
def test_a_bad_alpha_is_refused_by_name(make_generator, alpha):
    pixels = torch.full((2, 3), 7.5, dtype=torch.float64)
    images = torch.zeros(2, 3, dtype=torch.uint8)
    for call in (
        lambda: transforms.logit(pixels, alpha=alpha),
        lambda: transforms.inverse_logit(pixels, alpha=alpha),
        lambda: transforms.log_abs_det(pixels, alpha=alpha),
        lambda: transforms.mean_log_abs_det(images, alpha=alpha, generator=make_generator()),
        lambda: transforms.preprocess(images, alpha=alpha, generator=make_generator()),
    ):
        with pytest.raises(ValueError, match=r"^alpha must be"):
            call()


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 3, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(2, 3, dtype=torch.bool),
        ALL_BYTES.numpy(),
    ],
    ids=["float32", "int64", "bool", "an array"],
)
def test_images_that_are_not_bytes_are_refused(make_generator, images):
    with pytest.raises(ValueError, match=r"^images must be a tensor of dtype uint8"):
        transforms.dequantise(images, torch.full((2, 3), 0.5))
    for function in (transforms.preprocess, transforms.mean_log_abs_det):
        with pytest.raises(ValueError, match=r"^images must be a tensor of dtype uint8"):
            function(images, alpha=0.05, generator=make_generator())
