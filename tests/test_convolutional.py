"""Convolutional ensembles against plain PyTorch layers, closed forms and members alone."""

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from tests.oracles import normal
from vae_lib import experiments, training, transforms
from vae_lib.celeba import CelebA
from vae_lib.convolutional import EnsembleConv, conv_decoder, conv_encoder, encoded_shape
from vae_lib.data import DataError
from vae_lib.evaluation import evaluate
from vae_lib.experiments import Setting, build_model, load_images, run_id
from vae_lib.training import HISTORY_COLUMNS, Member, Trainer, generator, train
from vae_lib.vae import EnsembleLinear, GaussianVAE, mlp

SHAPE, CHANNELS, HIDDEN, LATENTS = (2, 8, 16), (3, 4), (5,), 2
DIM = 2 * 8 * 16

each_size = pytest.mark.parametrize("num_members", [1, 3])
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
each_direction = pytest.mark.parametrize("transposed", [False, True], ids=["down", "up"])
each_shape = pytest.mark.parametrize(
    ("shape", "channels"),
    [(SHAPE, CHANNELS), ((3, 8, 8), (4, 3, 5)), ((1, 4, 2), (1,))],
    ids=str,
)

# Higgins et al. (2017), table 1, with the latents of the poster.
HIGGINS = Setting(
    dataset="celeba",
    num_images=500,
    image_size=64,
    channels=(32, 32, 64, 64),
    hidden=(256,),
    latent_dim=500,
    batch_size=50,
    epochs=1,
)


# By plain layers


def inner_shape(shape, channels) -> tuple[int, int, int]:
    return channels[-1], shape[1] // 2 ** len(channels), shape[2] // 2 ** len(channels)


def random_model(
    num_members, *, shape=SHAPE, channels=CHANNELS, hidden=HIDDEN, k=LATENTS, dtype=torch.float64
) -> GaussianVAE:
    generators = [torch.Generator().manual_seed(seed) for seed in range(num_members)]
    sizes = (math.prod(inner_shape(shape, channels)), *hidden)
    model = GaussianVAE(
        nn.Sequential(conv_encoder(shape, channels, generators), mlp((*sizes, 2 * k), generators)),
        nn.Sequential(
            mlp((k, *reversed(sizes)), generators), conv_decoder(shape, channels, generators)
        ),
        latent_dim=k,
        sigma_sq=torch.linspace(0.5, 2, num_members),
        learned=torch.ones(num_members, dtype=torch.bool),
    )
    return model.to(dtype)


def plain_encoder(shape, channels, hidden, k) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Unflatten(1, shape)]
    for one, other in pairwise((shape[0], *channels)):
        layers += [nn.Conv2d(one, other, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    layers.append(nn.Flatten())
    for one, other in pairwise((math.prod(inner_shape(shape, channels)), *hidden)):
        layers += [nn.Linear(one, other), nn.ReLU()]
    last = hidden[-1] if hidden else math.prod(inner_shape(shape, channels))
    return nn.Sequential(*layers, nn.Linear(last, 2 * k)).double()


def plain_decoder(shape, channels, hidden, k) -> nn.Sequential:
    layers: list[nn.Module] = []
    inner = inner_shape(shape, channels)
    for one, other in pairwise((k, *reversed(hidden), math.prod(inner))):
        layers += [nn.Linear(one, other), nn.ReLU()]
    layers.append(nn.Unflatten(1, inner))
    for one, other in pairwise(reversed((shape[0], *channels))):
        layers += [nn.ConvTranspose2d(one, other, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten()).double()


def of_member(network, member, *, gradients=False) -> Iterator[torch.Tensor]:
    """Weights and biases, or their gradients, of each layer, in the layout of PyTorch's layers."""
    for layer in network.modules():
        if isinstance(layer, EnsembleConv | EnsembleLinear):
            tensors = layer.weight, layer.bias
            weight, bias = (each.grad if gradients else each.detach() for each in tensors)
            is_linear = isinstance(layer, EnsembleLinear)
            yield weight[member].T if is_linear else weight[member]
            yield bias[member, 0] if is_linear else bias[member]


def with_weights_of(plain, network, member) -> nn.Sequential:
    """``plain``, with the weights of a member."""
    for one, other in zip(plain.parameters(), of_member(network, member), strict=True):
        assert one.shape == other.shape
        one.data = other.double().clone()
    return plain


def magnitudes(plain) -> nn.Sequential:
    """``plain`` with the weights' sizes: it maps sizes to the sums of the sizes of all terms."""
    sizes = copy.deepcopy(plain)
    for parameter in sizes.parameters():
        parameter.data.abs_()
    return sizes


def roundings(plain, positions=0) -> int:
    """That a term can meet on its way through all layers, and back, and over ``positions``.

    Two results differ by at most so many times eps of the sum of the terms' sizes, of which one
    half is either's.
    """
    weights = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    return positions + sum(each[0].numel() + each[:, 0].numel() + 2 for each in weights)


def both(model, shape, channels, hidden, k):
    """The two networks, each with the function that makes its plain twin and its input's size."""
    encoder, decoder = plain_encoder, plain_decoder
    yield model.encoder, lambda: encoder(shape, channels, hidden, k), math.prod(shape)
    yield model.decoder, lambda: decoder(shape, channels, hidden, k), k


@each_dtype
@each_shape
@each_size
@pytest.mark.parametrize("batch", [1, 5])
def test_a_member_is_the_network_of_plain_layers(
    make_generator, num_members, shape, channels, batch, dtype
):
    model = random_model(num_members, shape=shape, channels=channels, dtype=dtype)
    for network, plain, size in both(model, shape, channels, HIDDEN, LATENTS):
        inputs = normal(make_generator(9), num_members, batch, size).to(dtype)
        given = inputs.clone()
        with torch.no_grad():
            found = network(inputs)
        assert torch.equal(inputs, given)
        for member in range(num_members):
            twin = with_weights_of(plain(), network, member)
            with torch.no_grad():
                expected = twin(inputs[member].double())
                sizes = magnitudes(twin)(inputs[member].double().abs())
            assert found[member].shape == expected.shape
            tolerance = roundings(twin) * torch.finfo(dtype).eps * sizes
            assert ((found[member] - expected).abs() <= tolerance).all()


@each_dtype
@each_shape
@each_size
def test_the_gradients_of_a_member_are_those_of_plain_layers(
    make_generator, num_members, shape, channels, dtype
):
    model = random_model(num_members, shape=shape, channels=channels, dtype=dtype)
    for network, plain, size in both(model, shape, channels, HIDDEN, LATENTS):
        inputs = normal(make_generator(9), num_members, 5, size).to(dtype).requires_grad_()
        outputs = network(inputs)
        factors = normal(make_generator(10), *outputs.shape).to(dtype)
        (outputs * factors).sum().backward()
        for member in range(num_members):
            twin = with_weights_of(plain(), network, member)

            def gradients(layers, values, weights):
                values = values.detach().double().requires_grad_()
                loss = (layers(values) * weights.double()).sum()
                return torch.autograd.grad(loss, (values, *layers.parameters()))

            expected = gradients(twin, inputs[member], factors[member])
            sizes = gradients(magnitudes(twin), inputs[member].abs(), factors[member].abs())
            found = inputs.grad[member], *of_member(network, member, gradients=True)
            number = roundings(twin, positions=5 * math.prod(shape))
            for one, other, most in zip(found, expected, sizes, strict=True):
                assert one.shape == other.shape
                assert ((one - other).abs() <= number * torch.finfo(dtype).eps * most).all()


def test_flat_images_are_in_the_order_channel_row_column(make_generator):
    """One pixel, or one feature, of 1 among zeros shows a kernel's weights one by one."""
    channels, height, width = SHAPE
    encoder = conv_encoder(SHAPE, (3,), [make_generator(0)])
    decoder = conv_decoder(SHAPE, (3,), [make_generator(1)])
    with torch.no_grad():
        down, up = (next(n.parameters())[0] for n in (encoder, decoder))
        for network in (encoder, decoder):
            list(network.parameters())[1].zero_()  # no bias, so that all else is zero
        for channel, row, column in ((0, 0, 0), (1, 5, 2), (0, 3, 14), (1, 7, 15)):
            image = torch.zeros(1, 1, DIM)
            image[0, 0, (channel * height + row) * width + column] = 1
            expected = torch.zeros(3, height // 2, width // 2)
            for i in range(height // 2):
                for j in range(width // 2):
                    y, x = row + 1 - 2 * i, column + 1 - 2 * j
                    if 0 <= y < 4 and 0 <= x < 4:
                        expected[:, i, j] = down[:, channel, y, x].clamp(min=0)
            assert torch.equal(encoder(image).flatten(), expected.flatten())
            assert (expected != 0).any()
        for feature, i, j in ((0, 0, 0), (2, 3, 1), (1, 1, 7)):
            features = torch.zeros(1, 1, 3 * DIM // channels // 4)
            features[0, 0, (feature * height // 2 + i) * width // 2 + j] = 1
            found = decoder(features).flatten()
            assert torch.equal(decoder(features - (features == 0).float()).flatten(), found)  # ReLU
            shown = {}
            for y in range(max(2 * i - 1, 0), min(2 * i + 3, height)):
                for x in range(max(2 * j - 1, 0), min(2 * j + 3, width)):
                    for channel in range(channels):
                        place = (channel * height + y) * width + x
                        shown[place] = up[feature, channel, y + 1 - 2 * i, x + 1 - 2 * j]
            assert found.nonzero().flatten().tolist() == sorted(shown)
            assert all(found[place] == weight for place, weight in shown.items())


# Company


def losses_and_gradients(model, data, noise, factors=None):
    """Losses (E,), and the gradients of their sum, or of that with ``factors``."""
    model.zero_grad()
    losses = model.negative_elbo(*model.terms(data, noise), dim=data.shape[-1]).mean(1)
    (losses if factors is None else losses * factors).sum().backward()
    return losses.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@each_dtype
@pytest.mark.parametrize("member", range(3))
def test_the_gradient_of_a_loss_is_zero_for_all_other_members(make_generator, dtype, member):
    model, random = random_model(3, dtype=dtype), make_generator(6)
    data, noise = normal(random, 3, 10, DIM).to(dtype), normal(random, 3, 10, LATENTS).to(dtype)
    factors = torch.eye(3, dtype=dtype)[member]
    _, alone = losses_and_gradients(model, data, noise, factors)
    _, together = losses_and_gradients(model, data, noise)
    others = [each for each in range(3) if each != member]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one[member], other[member])
        assert (one[member] != 0).any()
        assert (one[others] == 0).all()
        assert (other[others] != 0).any()


@each_dtype
@pytest.mark.parametrize("value", [None, math.inf, math.nan], ids=str)
@pytest.mark.parametrize("what", ["data", "noise", "weights"])
@pytest.mark.parametrize("member", range(3))
def test_what_befalls_one_member_does_not_reach_the_others(
    make_generator, dtype, what, value, member
):
    model, random = random_model(3, dtype=dtype), make_generator(6)
    data, noise = normal(random, 3, 10, DIM).to(dtype), normal(random, 3, 10, LATENTS).to(dtype)
    losses, gradients = losses_and_gradients(model, data, noise)
    with torch.no_grad():
        changed = {"data": [data], "noise": [noise], "weights": model.parameters()}[what]
        for tensor in changed:
            tensor[member] = 1.1 * tensor[member] if value is None else value
    new_losses, new_gradients = losses_and_gradients(model, data, noise)
    others = [each for each in range(3) if each != member]
    # The same operations on the same numbers.
    assert torch.equal(new_losses[others], losses[others])
    assert new_losses[member] != losses[member]
    for one, other in zip(new_gradients, gradients, strict=True):
        assert torch.equal(one[others], other[others])


def test_members_can_share_one_tensor_of_images(make_generator):
    """As the trainer has it: one batch, expanded to all members of a seed."""
    model, random = random_model(3), make_generator(6)
    data, noise = normal(random, 1, 10, DIM), normal(random, 1, 10, LATENTS)
    views = (values.expand(3, -1, -1) for values in (data, noise))
    copies = (values.repeat(3, 1, 1) for values in (data, noise))
    losses, gradients = losses_and_gradients(model, *views)
    expected_losses, expected = losses_and_gradients(model, *copies)
    assert torch.equal(losses, expected_losses)
    assert len(set(losses.tolist())) == 3
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))


@each_dtype
def test_a_selected_member_is_a_copy_of_its_own(make_generator, dtype):
    model, random = random_model(3, dtype=torch.float32), make_generator(7)
    data, latents = normal(random, 3, 10, DIM), normal(random, 3, 10, LATENTS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for index in range(3):
        alone = model.select(index, dtype)
        assert alone.num_members == 1
        for (name, value), whole in zip(alone.state_dict().items(), before.values(), strict=True):
            assert torch.equal(value, whole[index : index + 1].to(value.dtype)), name
            assert value.dtype == (torch.bool if name == "learned" else dtype)
        assert not any(parameter.requires_grad for parameter in alone.parameters())
        arguments = (SHAPE, CHANNELS, HIDDEN, LATENTS)
        for network, plain, values in (
            (alone.encoder, plain_encoder(*arguments), data[index]),
            (alone.decoder, plain_decoder(*arguments), latents[index]),
        ):
            values = values.to(dtype)
            with torch.no_grad():
                twin = with_weights_of(plain, network, 0)
                expected = twin(values.double())
                sizes = magnitudes(twin)(values.double().abs())
            found = network(values.unsqueeze(0))
            assert found.dtype == dtype
            assert found.shape == (1, *expected.shape)
            tolerance = roundings(twin) * torch.finfo(dtype).eps * sizes
            assert ((found[0] - expected).abs() <= tolerance).all()
        for parameter in alone.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


# Initial weights


@each_direction
@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(3, 32), (64, 20), (1, 1)])
def test_initial_weights_are_those_that_pytorch_draws_for_its_own_layer(
    num_inputs, num_outputs, transposed
):
    """Its layers draw from the default generator; seeded alike, the numbers are the same."""
    seeds = (5, 11)
    layer = EnsembleConv(
        num_inputs,
        num_outputs,
        [torch.Generator().manual_seed(seed) for seed in seeds],
        transposed=transposed,
    )
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    for member, seed in enumerate(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = kind(num_inputs, num_outputs, kernel_size=4, stride=2, padding=1)
        bound = 1 / math.sqrt(expected.weight[0].numel())
        for found, wanted in ((layer.weight, expected.weight), (layer.bias, expected.bias)):
            assert found.dtype == torch.float32
            assert found[member].shape == wanted.shape
            # The bound is reached by another way, and 2 u - 1 rounded to float32.
            assert (found[member] - wanted).abs().max().item() <= 2.0**-22 * bound


@each_direction
@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(8, 200), (200, 8)])
def test_initial_weights_are_uniform_within_one_over_the_root_of_the_fan_in(
    make_generator, num_inputs, num_outputs, transposed
):
    """PyTorch takes a weight's second axis for the inputs', in a transposed convolution too."""
    layer = EnsembleConv(
        num_inputs, num_outputs, [make_generator(0), make_generator(1)], transposed=transposed
    )
    channels = (num_inputs, num_outputs) if transposed else (num_outputs, num_inputs)
    assert layer.weight.shape == (2, *channels, 4, 4)
    assert layer.bias.shape == (2, num_outputs)
    bound = 1 / math.sqrt(16 * channels[1])
    for values in (layer.weight[0], layer.weight[1], layer.bias):
        # In float32, a number below the bound can round to it.
        assert values.abs().max().item() <= bound * (1 + 2.0**-23)
        values = values.detach().double().flatten() / bound
        # Of uniform numbers in [-1, 1]: E u^2 = 1/3, and u^2 has the variance 1/5 - 1/9.
        error = 5 * math.sqrt((1 / 5 - 1 / 9) / len(values))
        assert abs(values.square().mean().item() - 1 / 3) <= error
        share = values.sort().values / 2 + 0.5
        ranks = torch.arange(1, len(share) + 1, dtype=torch.float64) / len(share)
        # Kolmogorov and Smirnov: more than 2.5 / sqrt(N) once in 130,000 samples.
        assert (share - ranks).abs().max().item() <= 2.5 / math.sqrt(len(share))


@pytest.mark.parametrize("network", [conv_encoder, conv_decoder])
def test_initial_weights_follow_the_member_s_generator_alone(make_generator, network):
    together = network(SHAPE, CHANNELS, [make_generator(seed) for seed in (3, 8, 3)])
    for place, seed in enumerate((3, 8, 3)):
        alone = network(SHAPE, CHANNELS, [make_generator(seed)])
        for one, other in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.equal(one[place : place + 1], other)
    parameters = list(together.parameters())
    assert len(parameters) == 2 * len(CHANNELS)
    for parameter in parameters:
        assert torch.equal(parameter[0], parameter[2])
        assert not torch.equal(parameter[0], parameter[1])


# Shapes


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((3, 64, 64), (32, 32, 64, 64), (64, 4, 4)),
        ((2, 8, 16), (3,), (3, 4, 8)),
        ((2, 8, 16), (3, 4, 5), (5, 1, 2)),
        ((1, 28, 28), (7, 9), (9, 7, 7)),
        ((3, 7, 5), (), (3, 7, 5)),
    ],
    ids=str,
)
def test_each_layer_halves_the_sides(make_generator, shape, channels, expected):
    assert encoded_shape(shape, channels) == expected
    if channels:
        images = normal(make_generator(0), 2, 3, math.prod(shape)).float()
        generators = [make_generator(1), make_generator(2)]
        with torch.no_grad():
            features = conv_encoder(shape, channels, generators)(images)
            decoded = conv_decoder(shape, channels, generators)(features)
        assert features.shape == (2, 3, math.prod(expected))
        assert decoded.shape == images.shape


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((3, 9, 9), (4,), "a multiple of 2 for 1 channels, got 9 x 9"),
        ((1, 28, 28), (4, 4, 4), "a multiple of 8 for 3 channels, got 28 x 28"),
        ((2, 8, 12), (3, 4, 5), "a multiple of 8 for 3 channels, got 8 x 12"),
        ((2, 12, 8), (3, 4, 5), "a multiple of 8 for 3 channels, got 12 x 8"),
        ((3, 8, 8), (1, 1, 1, 1), "a multiple of 16 for 4 channels, got 8 x 8"),
    ],
    ids=str,
)
def test_a_side_that_cannot_be_halved_so_often_is_refused(make_generator, shape, channels, message):
    for refuse in (
        lambda: encoded_shape(shape, channels),
        lambda: conv_encoder(shape, channels, [make_generator(0)]),
        lambda: conv_decoder(shape, channels, [make_generator(0)]),
    ):
        with pytest.raises(ValueError, match=f"^image_size must be {message}$"):
            refuse()


# The network of Higgins et al.


def test_the_network_of_higgins_has_the_parameters_of_a_count_by_hand():
    model = build_model(HIGGINS, [Member(sigma_sq_init=1, learned=True)], dim=3 * 64 * 64)
    encoder = [
        32 * 3 * 16 + 32,
        32 * 32 * 16 + 32,
        64 * 32 * 16 + 64,
        64 * 64 * 16 + 64,
        1024 * 256 + 256,  # 64 maps of 4 x 4
        256 * 1000 + 1000,
    ]
    decoder = [
        500 * 256 + 256,
        256 * 1024 + 1024,
        64 * 64 * 16 + 64,
        64 * 32 * 16 + 32,
        32 * 32 * 16 + 32,
        32 * 3 * 16 + 3,
    ]
    for network, counts in ((model.encoder, encoder), (model.decoder, decoder)):
        numbers = [parameter.numel() for parameter in network.parameters()]
        assert [w + b for w, b in zip(numbers[::2], numbers[1::2], strict=True)] == counts
    assert sum(encoder) == 635_816
    assert sum(decoder) == 507_779
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_143_596


def test_the_network_of_higgins_is_that_of_plain_layers(make_generator):
    """On images (N, 3, 64, 64), flattened."""
    members = [Member(sigma_sq_init=1, learned=True, seed=seed) for seed in (4, 2)]
    model = build_model(HIGGINS, members, dim=3 * 64 * 64).double()
    assert model.latent_dim == 500
    random = make_generator(0)
    images, latents = normal(random, 2, 3, 3, 64, 64), normal(random, 2, 3, 500)
    with torch.no_grad():
        mean, log_var = model.encode(images.flatten(2))
        decoded = model.decode(latents)
    assert mean.shape == log_var.shape == (2, 3, 500)
    assert decoded.shape == (2, 3, 3 * 64 * 64)
    arguments = ((3, 64, 64), HIGGINS.channels, HIGGINS.hidden, 500)
    for member in range(2):
        for network, plain, values, found in (
            (model.encoder, plain_encoder, images.flatten(2), torch.cat([mean, log_var], -1)),
            (model.decoder, plain_decoder, latents, decoded),
        ):
            twin = with_weights_of(plain(*arguments), network, member)
            with torch.no_grad():
                expected = twin(values[member])
                sizes = magnitudes(twin)(values[member].abs())
            tolerance = roundings(twin) * torch.finfo(torch.float64).eps * sizes
            assert ((found[member] - expected).abs() <= tolerance).all()


def test_a_member_s_initial_network_does_not_depend_on_its_company():
    members = [Member(sigma_sq_init=1, learned=True, seed=seed) for seed in (3, 8, 3)]
    together = build_model(SETTING, members, dim=192)
    assert together.num_members == 3
    for place, member in enumerate(members):
        alone = build_model(SETTING, [member], dim=192)
        for one, other in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.equal(one[place : place + 1], other)
    weights = [p for name, p in together.named_parameters() if name != "log_sigma_sq"]
    assert all(not torch.equal(weight[0], weight[1]) for weight in weights)


# Settings

SETTING = Setting(
    dataset="celeba",
    num_images=200,
    alpha=0.05,
    image_size=8,
    channels=(4, 6),
    hidden=(10,),
    latent_dim=3,
    batch_size=20,
    epochs=5,
    iwae_images=10,
    iwae_samples=20,
)
PERCEPTRON = replace(SETTING, dataset="mnist", image_size=0, channels=())
MEMBER = Member(sigma_sq_init=1, learned=True)


@pytest.mark.parametrize("channels", [4, "46", None, {4, 6}, np.array([4, 6])], ids=str)
def test_channels_that_are_no_tuple_are_refused(channels):
    with pytest.raises(ValueError, match=r"^channels must be a tuple of integers, got ") as caught:
        replace(SETTING, channels=channels)
    assert repr(channels) in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, 4.0, True, "4", None])
def test_a_bad_number_of_channels_is_refused(value):
    for channels in ((value,), (4, value)):
        with pytest.raises(ValueError, match=f"^channels must be an integer >= 1, got {value!r}$"):
            replace(SETTING, channels=channels)


@pytest.mark.parametrize("value", [0, -8, 4, 7, 149, 152, 8.0, True, "8", None])
def test_a_bad_image_size_is_refused(value):
    message = rf"^image_size must be an integer in \[8, 148\], got {value!r}$"
    for channels in ((4,), ()):
        with pytest.raises(ValueError, match=message):
            replace(SETTING, image_size=value, channels=channels)


@pytest.mark.parametrize("value", [28, 1, -1, 64, 0.0, False, None])
def test_mnist_s_images_have_no_size_to_choose(value):
    message = rf"^image_size must be an integer in \[0, 0\], got {value!r}$"
    with pytest.raises(ValueError, match=message):
        replace(PERCEPTRON, image_size=value)


def test_an_image_size_that_the_layers_cannot_halve_is_refused():
    for size, count in ((9, 1), (10, 2), (20, 3), (24, 4), (148, 3)):
        message = f"a multiple of {2**count} for {count} channels, got {size} x {size}"
        with pytest.raises(ValueError, match=f"^image_size must be {message}$"):
            replace(SETTING, image_size=size, channels=(4,) * count)
    with pytest.raises(ValueError, match=r"^image_size must be a multiple of 8 .* got 28 x 28$"):
        replace(PERCEPTRON, channels=(4, 4, 4))


def test_the_ends_of_the_ranges_are_allowed():
    for size, count in ((8, 0), (8, 3), (9, 0), (144, 4), (148, 2), (128, 7)):
        replace(SETTING, image_size=size, channels=(1,) * count)
    replace(PERCEPTRON, channels=(4, 6))
    replace(SETTING, hidden=())


def test_an_image_s_shape_is_that_of_its_data_set():
    assert PERCEPTRON.image_shape == (1, 28, 28)
    assert SETTING.image_shape == (3, 8, 8)
    assert HIGGINS.image_shape == (3, 64, 64)


def test_a_network_s_name_has_the_encoder_s_layers_in_words():
    assert HIGGINS.network == "64px conv 32-32-64-64 full 256"
    assert SETTING.network == "8px conv 4-6 full 10"
    assert replace(SETTING, channels=(4,), hidden=(20, 10)).network == "8px conv 4 full 20-10"
    assert replace(PERCEPTRON, hidden=(1024, 512)).network == "1024-512"
    assert replace(PERCEPTRON, channels=(4, 6)).network == "28px conv 4-6 full 10"
    assert replace(SETTING, channels=()).network == "8px full 10"
    assert replace(SETTING, hidden=()).network == "8px conv 4-6"


def test_a_run_s_name_differs_with_channels_and_with_image_size():
    settings = [
        SETTING,
        *(replace(SETTING, channels=each) for each in ((4, 7), (6, 4), (4,), (4, 6, 6), ())),
        *(replace(SETTING, image_size=each) for each in (12, 148)),
        replace(SETTING, image_size=12, channels=()),
        PERCEPTRON,
        replace(PERCEPTRON, channels=(4, 6)),
        replace(PERCEPTRON, channels=(6, 4)),
    ]
    for one, other in combinations(settings, 2):
        assert run_id(one, MEMBER) != run_id(other, MEMBER), (one, other)


def test_equal_convolutional_settings_have_one_name():
    name = run_id(SETTING, MEMBER)
    for more in (
        {"channels": [4, 6]},
        {"channels": (np.int64(4), 6)},
        {"image_size": np.int64(8)},
    ):
        assert replace(SETTING, **more) == SETTING
        assert run_id(replace(SETTING, **more), MEMBER) == name


def test_a_perceptron_s_name_is_made_without_the_new_fields():
    """Of these, in this spelling, the names in the recorded ledgers were made."""
    configuration = {
        "alpha": 0.05,
        "anneal_epochs": 0.0,
        "batch_size": 20,
        "beta": 0.0,
        "centred": False,
        "dataset": "mnist",
        "epochs": 5,
        "hidden": [10],
        "iwae_images": 10,
        "iwae_samples": 20,
        "latent_dim": 3,
        "learned": True,
        "learning_rate": 0.001,
        "num_images": 200,
        "seed": 0,
        "sigma_sq_init": 1.0,
    }
    expected = hashlib.sha256(json.dumps(configuration).encode()).hexdigest()[:16]
    assert run_id(PERCEPTRON, replace(MEMBER, beta=0)) == expected


def test_images_are_flattened_in_the_order_channel_row_column(make_generator, monkeypatch):
    """The order that the networks take them in."""
    images = torch.randint(256, (300, 3, 8, 8), dtype=torch.uint8, generator=make_generator(0))
    asked = []

    def load(*, size, first):
        asked.append((size, first))
        return CelebA(images, "made up")

    monkeypatch.setattr(experiments, "load_celeba", load)
    found = load_images(SETTING)
    assert asked == [(8, 200)]
    assert found.dtype == torch.uint8
    assert found.shape == (200, 192)
    for index, channel, row, column in ((0, 0, 0, 1), (7, 1, 0, 0), (199, 2, 5, 3), (3, 0, 6, 7)):
        assert found[index, channel * 64 + row * 8 + column] == images[index, channel, row, column]
    with pytest.raises(DataError, match=r"at most 300, .* got 301; .*--celeba"):
        load_images(replace(SETTING, num_images=301))


# Through the trainer

# No two are alike in anything but, here and there, the seed and the learning rate.
MIXED = (
    Member(sigma_sq_init=10, learned=False),
    Member(sigma_sq_init=0.5, learned=True, learning_rate=3e-3),
    Member(sigma_sq_init=1, learned=True, seed=7, beta=0.5, centred=True),
)
LATE = Member(sigma_sq_init=1.5, learned=True)  # `poisoned` after its first epoch
# Its first step leaves weights of which no product is finite.
EARLY = Member(sigma_sq_init=1, learned=True, seed=3, learning_rate=1e30)


def some_images() -> torch.Tensor:
    """Bytes (200, 192) with three directions of large variance."""
    random = torch.Generator().manual_seed(99)
    values = normal(random, 200, 3) @ normal(random, 3, 192)
    values = 120 + 35 * values + 5 * normal(random, 200, 192)
    return values.round().clamp(0, 255).to(torch.uint8)


def make_trainer(members) -> Trainer:
    return Trainer(
        lambda alive: build_model(SETTING, alive, dim=192),
        members,
        some_images(),
        alpha=SETTING.alpha,
        batch_size=SETTING.batch_size,
    )


def parameters(trainer, index) -> dict[str, torch.Tensor]:
    """Of the member at ``index`` of ``trainer.members``, copied to float64."""
    place = trainer.alive.index(index)
    named = trainer.model.named_parameters()
    return {name: value.detach()[place].double() for name, value in named}


def assert_near(one, index, other, other_index) -> None:
    """Two members' parameters, and all records of their training, agree to 1e-4.

    Adam makes a step of any gradient, also of one that is all rounding: such a weight may be off
    by a part of one step. Of all weights together that is little.
    """
    found, expected = parameters(one, index), parameters(other, other_index)
    assert found.keys() == expected.keys()
    differences = torch.cat([(found[name] - expected[name]).flatten() for name in expected])
    whole = torch.cat([value.flatten() for value in expected.values()])
    assert differences.norm() <= 1e-4 * whole.norm()
    assert differences.abs().max().item() <= 0.1 * one.members[index].learning_rate
    histories = np.stack(one.history)[:, index], np.stack(other.history)[:, other_index]
    np.testing.assert_allclose(*histories, rtol=1e-4, atol=1e-4)


def poisoned(trainer) -> None:
    """After the first epoch make LATE's next losses infinite."""
    if trainer.epoch == 1:
        place = trainer.alive.index(trainer.members.index(LATE))
        with torch.no_grad():
            trainer.model.log_sigma_sq[place] = -1000.0


def test_a_course_is_that_of_plain_layers_and_a_hand_written_loop():
    """In float64, with torch.optim.Adam and torch.distributions; 50 steps."""
    member, images, k = MIXED[1], some_images(), SETTING.latent_dim
    trainer = make_trainer([member])
    arguments = (SETTING.image_shape, SETTING.channels, SETTING.hidden, k)
    encoder = with_weights_of(plain_encoder(*arguments), trainer.model.encoder, 0)
    decoder = with_weights_of(plain_decoder(*arguments), trainer.model.decoder, 0)
    log_sigma_sq = torch.tensor(math.log(0.5), dtype=torch.float64, requires_grad=True)
    trained = [*encoder.parameters(), *decoder.parameters(), log_sigma_sq]
    optimiser = torch.optim.Adam(trained, lr=member.learning_rate)
    order, random = (generator(member.seed, stream) for stream in ("order", "noise"))
    prior = Normal(torch.zeros((), dtype=torch.float64), 1.0)
    for _ in range(5):
        records = []
        for rows in torch.randperm(200, generator=order).split(20):
            uniform = transforms.uniform_noise((20, 192), generator=random)
            normals = torch.randn(20, k, generator=random).double()
            pixels = transforms.dequantise(images[rows], uniform)
            data = transforms.logit(pixels, alpha=SETTING.alpha).double()
            mean, log_var = encoder(data).chunk(2, dim=-1)
            q = Normal(mean, (0.5 * log_var).exp())
            kl = kl_divergence(q, prior).sum(-1).mean()
            decoded = decoder(q.mean + q.stddev * normals)
            log_lik = Normal(decoded, (0.5 * log_sigma_sq).exp()).log_prob(data).sum(-1).mean()
            optimiser.zero_grad()
            (kl - log_lik).backward()
            optimiser.step()
            mse = (decoded - data).square().mean()
            records.append([(log_lik - kl).item(), kl.item(), mse.item()])
        trainer.run_epoch()
        trainer.record()
        # Means of some thousand float32 numbers, after up to 50 steps with rounded weights.
        assert trainer.history[-1][0, 1:4].tolist() == pytest.approx(
            np.mean(records, axis=0).tolist(), rel=1e-4
        )
    for network, plain in ((trainer.model.encoder, encoder), (trainer.model.decoder, decoder)):
        for found, expected in zip(of_member(network, 0), plain.parameters(), strict=True):
            # As in `assert_near`.
            assert (found - expected).abs().max().item() <= 0.1 * member.learning_rate
    assert trainer.model.log_sigma_sq.item() == pytest.approx(log_sigma_sq.item(), rel=1e-4)


def test_members_take_the_same_course_alone_as_in_company():
    together = make_trainer(MIXED)
    train(together, epochs=5)  # 50 steps
    assert together.alive == list(range(len(MIXED)))
    for index, member in enumerate(MIXED):
        alone = make_trainer([member])
        train(alone, epochs=5)
        assert_near(together, index, alone, 0)
        # The members differ by far more than that from each other.
        other = parameters(together, (index + 1) % len(MIXED))
        for name, value in parameters(alone, 0).items():
            assert (other[name] - value).norm() > 1e-2 * value.norm(), name


def test_a_loaded_state_goes_on_to_the_same_bits():
    """In company of two members that diverge in the first and in the second epoch."""
    members = (MIXED[0], LATE, MIXED[2], EARLY)
    whole, first = make_trainer(members), make_trainer(members)
    train(whole, epochs=3, after_epoch=poisoned)
    expected = whole.state()
    assert any(name.startswith("exp_avg_sq/decoder.1.") for name in expected)
    for at in (1, 2):
        train(first, epochs=at, after_epoch=poisoned)
        state = {name: array.copy() for name, array in first.state().items()}
        second = make_trainer(members)
        second.load_state(state)
        train(second, epochs=3, after_epoch=poisoned)
        found = second.state()
        assert found.keys() == expected.keys()
        for name in found.keys() - {"seconds"}:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        assert second.alive == whole.alive == [0, 2]


def test_members_that_diverge_are_stopped_and_the_others_go_on():
    with_them = make_trainer((MIXED[0], LATE, MIXED[1], EARLY, MIXED[2]))
    without = make_trainer(MIXED)
    train(with_them, epochs=3, after_epoch=poisoned)
    train(without, epochs=3)
    assert with_them.alive == [0, 2, 4]
    assert with_them.diverged_at.tolist() == [-1, 2, -1, 1, -1]
    assert without.diverged_at.tolist() == [-1, -1, -1]
    for place, index in enumerate([0, 2, 4]):
        assert_near(with_them, index, without, place)
    history = np.stack(with_them.history)
    assert np.isfinite(history[:, [0, 2, 4]]).all()
    assert np.isfinite(history[0, 1]).all()
    assert np.isnan(history[1:, 1, 1:]).all()
    assert np.isnan(history[:, 3, 1:]).all()


def test_the_two_identities_hold_for_trained_members():
    """1e-6 is what is promised of every result."""
    trainer, images = make_trainer(MIXED), some_images()
    train(trainer, epochs=2)
    for index, member in enumerate(MIXED):
        shift = training.data_mean(images, alpha=SETTING.alpha) if member.centred else None
        found = evaluate(trainer.model.select(index), images, alpha=SETTING.alpha, shift=shift)
        s, sigma_sq, two_pi = found.tuned_sigma_sq, found.sigma_sq, 2 * math.pi
        rest = found.log_abs_det - found.kl
        elbo = rest - 96 * (math.log(two_pi * sigma_sq) + s / sigma_sq)
        tuned = rest - 96 * (math.log(two_pi * s) + 1)
        assert found.elbo == pytest.approx(elbo, rel=1e-6)
        assert found.tuned_elbo == pytest.approx(tuned, rel=1e-6)
        assert found.tuned_elbo > found.elbo
        assert sigma_sq == pytest.approx(parameters(trainer, index)["log_sigma_sq"].exp().item())
        # What it measures is this member's error: the last epoch's mean is near it.
        column = HISTORY_COLUMNS.index("mse")
        assert s == pytest.approx(trainer.history[-1][index, column], rel=0.2)
