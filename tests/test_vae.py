"""Ensembles of Gaussian VAEs against torch.distributions, torch.nn.functional and autograd."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from tests.oracles import EPS, log_uniform, normal
from vae_lib.vae import EnsembleLinear, GaussianVAE, mlp

each_size = pytest.mark.parametrize("num_members", [1, 3])


def random_model(generator, num_members, *, dim=6, k=2, hidden=(5,), learned=None) -> GaussianVAE:
    """An ensemble in float64 with noise variances in [0.1, 10]."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(num_members)]
    if learned is None:
        learned = torch.ones(num_members, dtype=torch.bool)
    model = GaussianVAE(
        mlp((dim, *hidden, 2 * k), generators),
        mlp((k, *hidden, dim), generators),
        latent_dim=k,
        sigma_sq=log_uniform(generator, 0.1, 10, num_members),
        learned=learned,
    )
    return model.double()


def layer_by_hand(layer: EnsembleLinear, member: int, inputs: torch.Tensor) -> torch.Tensor:
    return functional.linear(inputs, layer.weight[member].T, layer.bias[member, 0])


def network_by_hand(network, member: int, inputs: torch.Tensor) -> torch.Tensor:
    """A perceptron with one hidden layer."""
    first, relu, second = network
    assert isinstance(relu, torch.nn.ReLU)
    return layer_by_hand(second, member, layer_by_hand(first, member, inputs).clamp(min=0))


# Layers


@each_size
def test_a_layer_is_a_linear_map_of_each_member(make_generator, num_members):
    generators = [make_generator(seed) for seed in range(num_members)]
    layer = EnsembleLinear(7, 4, generators).double()
    inputs = normal(make_generator(9), num_members, 5, 7)
    found = layer(inputs)
    assert found.shape == (num_members, 5, 4)
    for member in range(num_members):
        expected = layer_by_hand(layer, member, inputs[member])
        # Eight terms of size 7^-1/2 times a standard normal number, below 5.
        assert (found[member] - expected).abs().max().item() <= 8 * EPS * 8 * 5 / math.sqrt(7)


@each_size
def test_the_gradients_of_a_layer_are_those_of_each_member_alone(make_generator, num_members):
    generators = [make_generator(seed) for seed in range(num_members)]
    layer = EnsembleLinear(7, 4, generators).double()
    inputs = normal(make_generator(9), num_members, 5, 7)
    factors = normal(make_generator(10), num_members, 5, 4)
    (layer(inputs).square() * factors).sum().backward()
    for member in range(num_members):
        weight = layer.weight[member].detach().T.clone().requires_grad_()
        bias = layer.bias[member, 0].detach().clone().requires_grad_()
        outputs = functional.linear(inputs[member], weight, bias)
        expected = torch.autograd.grad((outputs.square() * factors[member]).sum(), (weight, bias))
        found = layer.weight.grad[member].T, layer.bias.grad[member, 0]
        for one, other in zip(found, expected, strict=True):
            # Sums of 5 products of numbers whose sizes do not exceed 5, 10 and 5.
            assert (one - other).abs().max().item() <= 32 * EPS * 5 * 5 * 10 * 5


@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(4, 3000), (400, 50)])
def test_initial_weights_are_uniform_within_one_over_the_root_of_the_inputs(
    make_generator, num_inputs, num_outputs
):
    layer = EnsembleLinear(num_inputs, num_outputs, [make_generator(0), make_generator(1)])
    assert layer.weight.shape == (2, num_inputs, num_outputs)
    assert layer.bias.shape == (2, 1, num_outputs)
    bound = 1 / math.sqrt(num_inputs)
    for values in (layer.weight[0], layer.weight[1], layer.bias):
        assert values.dtype == torch.float32
        # In float32, a number below the bound can round to it.
        assert values.abs().max().item() <= bound * (1 + 2.0**-23)
        share = (values.detach().double().flatten() / bound).sort().values / 2 + 0.5
        ranks = torch.arange(1, len(share) + 1, dtype=torch.float64) / len(share)
        # Kolmogorov and Smirnov: more than 2.5 / sqrt(N) once in 130,000 samples.
        assert (share - ranks).abs().max().item() <= 2.5 / math.sqrt(len(share))


def test_initial_weights_follow_the_member_s_generator_alone(make_generator):
    sizes = (6, 5, 4)
    together = mlp(sizes, [make_generator(seed) for seed in (3, 8, 3)])
    for place, seed in enumerate((3, 8, 3)):
        alone = mlp(sizes, [make_generator(seed)])
        for one, other in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.equal(one[place : place + 1], other)
    for parameter in together.parameters():
        assert torch.equal(parameter[0], parameter[2])
        assert not torch.equal(parameter[0], parameter[1])


@pytest.mark.parametrize("sizes", [(6, 4), (6, 5, 4), (6, 5, 3, 4)], ids=str)
def test_a_perceptron_has_a_relu_between_its_layers_and_none_at_its_end(make_generator, sizes):
    network = mlp(sizes, [make_generator(0), make_generator(1)]).double()
    inputs = 3 * normal(make_generator(2), 2, 50, 6)
    given = inputs.clone()
    found = network(inputs)
    assert torch.equal(inputs, given)
    layers = [layer for layer in network if isinstance(layer, EnsembleLinear)]
    assert [tuple(layer.weight.shape[1:]) for layer in layers] == list(pairwise(sizes))
    for member in range(2):
        values = inputs[member]
        for layer in layers[:-1]:
            values = layer_by_hand(layer, member, values).clamp(min=0)
        expected = layer_by_hand(layers[-1], member, values)
        # Three layers, none of which enlarges a vector by more than sqrt(6), of length 3 * 6.
        assert (found[member] - expected).abs().max().item() <= 8 * EPS * 3 * 6**1.5 * 18
        assert (found[member] < 0).any()


# The model


@each_size
def test_the_elbo_is_that_of_torch_distributions_for_each_image(make_generator, num_members):
    generator = make_generator(num_members)
    model = random_model(generator, num_members)
    data, noise = normal(generator, num_members, 20, 6), normal(generator, num_members, 20, 2)
    with torch.no_grad():
        kl, squared_error = model.terms(data, noise)
        found = model.negative_elbo(kl, squared_error, dim=6)
    assert kl.shape == squared_error.shape == found.shape == (num_members, 20)
    for member in range(num_members):
        with torch.no_grad():
            mean, log_var = network_by_hand(model.encoder, member, data[member]).chunk(2, dim=-1)
            q = Normal(mean, (0.5 * log_var).exp())
            decoded = network_by_hand(model.decoder, member, q.mean + q.stddev * noise[member])
        prior = Normal(torch.zeros(2, dtype=torch.float64), 1.0)
        expected_kl = kl_divergence(q, prior).sum(-1)
        error = (decoded - data[member]).square().sum(-1)
        sigma = model.sigma_sq[member].detach().sqrt()
        log_lik = Normal(decoded, sigma).log_prob(data[member]).sum(-1)
        # Float32 has rounded log sigma_sq once, in the model; from there on all is float64.
        size = 100 * EPS * (1 + error + error / sigma.square() + expected_kl + 6 * 5)
        assert ((kl[member] - expected_kl).abs() <= size).all()
        assert ((squared_error[member] - error).abs() <= size).all()
        assert ((found[member] - (expected_kl - log_lik)).abs() <= size).all()


def test_encode_and_decode_are_the_two_networks(make_generator):
    generator = make_generator(0)
    model = random_model(generator, 2)
    data, latents = normal(generator, 2, 4, 6), normal(generator, 2, 4, 2)
    mean, log_var = model.encode(data)
    assert torch.equal(torch.cat([mean, log_var], dim=-1), model.encoder(data))
    assert mean.shape == log_var.shape == (2, 4, 2)
    assert torch.equal(model.decode(latents), model.decoder(latents))


def test_the_noise_variance_starts_where_it_is_told(make_generator):
    model = random_model(make_generator(0), 3)
    expected = log_uniform(make_generator(0), 0.1, 10, 3)
    assert model.num_members == 3
    # The logarithm, of size 2.4 at most, is rounded to float32.
    error = (model.sigma_sq.detach() / expected - 1).abs().max().item()
    assert error <= 2.4 * 2.0**-24 * 1.01


def test_only_a_learned_variance_has_a_gradient_and_that_is_the_closed_form(make_generator):
    generator = make_generator(5)
    learned = torch.tensor([True, False, True, False])
    model = random_model(generator, 4, learned=learned)
    data, noise = normal(generator, 4, 30, 6), normal(generator, 4, 30, 2)
    kl, squared_error = model.terms(data, noise)
    model.negative_elbo(0.3 * kl, squared_error, dim=6).mean(1).sum().backward()
    gradient = model.log_sigma_sq.grad
    ratio = squared_error.detach().mean(1) / model.sigma_sq.detach()
    expected = 0.5 * (6 - ratio)
    tolerance = 30 * EPS * (6 + ratio)
    assert ((gradient - expected).abs() <= tolerance)[learned].all()
    assert (gradient[learned].abs() > 1e-3).all()
    assert torch.equal(gradient[~learned], torch.zeros(2, dtype=torch.float64))


def test_a_fixed_variance_has_no_gradient_even_where_its_loss_is_infinite(make_generator):
    model = random_model(make_generator(5), 2, learned=torch.tensor([False, True]))
    errors = torch.tensor([[math.inf], [3.0]], dtype=torch.float64)
    model.negative_elbo(torch.zeros(2, 1, dtype=torch.float64), errors, dim=6).sum().backward()
    assert model.log_sigma_sq.grad[0] == 0
    assert torch.isfinite(model.log_sigma_sq.grad[1])


def test_no_member_s_gradient_depends_on_another(make_generator):
    generator = make_generator(6)
    model = random_model(generator, 3)
    data, noise = normal(generator, 3, 10, 6), normal(generator, 3, 10, 2)

    def gradients(factors):
        model.zero_grad()
        losses = model.negative_elbo(*model.terms(data, noise), dim=6).mean(1)
        (losses * torch.tensor(factors, dtype=torch.float64)).sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    for found, expected in zip(gradients([0, 1, 0]), gradients([1, 1, 1]), strict=True):
        assert torch.equal(found[1], expected[1])
        assert (found[[0, 2]] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_selected_member_is_a_copy_of_its_own(make_generator, dtype):
    generator = make_generator(7)
    learned = torch.tensor([True, False, True])
    model = random_model(generator, 3, learned=learned).float()
    data, noise = normal(generator, 3, 10, 6).float(), normal(generator, 3, 10, 2).float()
    losses = model.negative_elbo(*model.terms(data, noise), dim=6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for index in range(3):
        alone = model.select(index, dtype)
        assert alone.num_members == 1
        assert alone.latent_dim == 2
        assert alone.learned.tolist() == [learned[index].item()]
        for (name, value), whole in zip(alone.state_dict().items(), before.values(), strict=True):
            assert torch.equal(value, whole[index : index + 1].to(value.dtype)), name
            assert value.dtype == (torch.bool if name == "learned" else dtype)
        assert not any(parameter.requires_grad for parameter in alone.parameters())
        one = (part[index : index + 1].to(dtype) for part in (data, noise))
        found = alone.negative_elbo(*alone.terms(*one), dim=6)
        # The ensemble's float32: some 30 roundings of terms of the loss's size.
        tolerance = 30 * 2.0**-23 * (losses[index].abs().max().item() + 6 * 5)
        assert (found[0] - losses[index]).abs().max().item() <= tolerance
        for parameter in alone.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("index", [-1, 3, 1.0, True, None])
def test_a_member_that_does_not_exist_cannot_be_selected(make_generator, index):
    model = random_model(make_generator(0), 3)
    with pytest.raises(ValueError, match=r"^index must be an integer in \[0, 2\]"):
        model.select(index)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_noise_variance_that_is_not_positive_is_refused(make_generator, value):
    networks = [mlp((3, 2), [make_generator(0)]), mlp((1, 3), [make_generator(0)])]
    with pytest.raises(ValueError, match=r"^sigma_sq must be finite and > 0"):
        GaussianVAE(
            *networks,
            latent_dim=1,
            sigma_sq=torch.tensor([value]),
            learned=torch.tensor([True]),
        )
