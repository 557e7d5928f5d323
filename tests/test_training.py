"""The trainer against hand-written training in float64, members alone and pPCA's likelihood."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from tests.oracles import normal
from vae_lib import collapse, ppca, training, transforms
from vae_lib.evaluation import evaluate
from vae_lib.spectrum import spectrum
from vae_lib.training import HISTORY_COLUMNS, Member, Trainer, generator, train
from vae_lib.vae import GaussianVAE, mlp

ALPHA = 1e-3
DIM, HIDDEN, LATENTS = 12, (16,), 3
EPS32 = 2.0**-23

# No two are alike in anything but, here and there, the seed and the learning rate.
MIXED = (
    Member(sigma_sq_init=10, learned=False),
    Member(sigma_sq_init=0.5, learned=True, learning_rate=3e-3),
    Member(sigma_sq_init=1, learned=True, seed=7, beta=0.5, centred=True),
    Member(sigma_sq_init=3, learned=False, seed=1, anneal_epochs=2.5),
    Member(sigma_sq_init=2, learned=True, seed=7, beta=4, anneal_epochs=100, learning_rate=3e-3),
    Member(sigma_sq_init=0.2, learned=False, learning_rate=5e-4, centred=True),
)
LATE = Member(sigma_sq_init=1.5, learned=True)  # `poisoned` after its first epoch
# Its first step leaves weights of which no product is finite.
EARLY = Member(sigma_sq_init=1, learned=True, seed=3, learning_rate=1e30)


def some_images(count=200, dim=DIM, rank=3) -> torch.Tensor:
    """Bytes with ``rank`` directions of large variance."""
    random = torch.Generator().manual_seed(99)
    values = normal(random, count, rank) @ normal(random, rank, dim)
    values = 120 + 35 * values + 5 * normal(random, count, dim)
    return values.round().clamp(0, 255).to(torch.uint8)


def build(members, *, dim=DIM, hidden=HIDDEN, k=LATENTS) -> GaussianVAE:
    generators = [generator(member.seed, "weights") for member in members]
    return GaussianVAE(
        mlp((dim, *hidden, 2 * k), generators),
        mlp((k, *hidden[::-1], dim), generators),
        latent_dim=k,
        sigma_sq=torch.tensor([m.sigma_sq_init for m in members], dtype=torch.float64),
        learned=torch.tensor([m.learned for m in members]),
    )


def make_trainer(members, *, batch_size=20, images=None, **more) -> Trainer:
    images = some_images() if images is None else images
    return Trainer(build, members, images, alpha=ALPHA, batch_size=batch_size, **more)


def parameters(trainer: Trainer, index: int) -> dict[str, torch.Tensor]:
    """Of the member at ``index`` of ``trainer.members``, copied to float64."""
    place = trainer.alive.index(index)
    named = trainer.model.named_parameters()
    return {name: value.detach()[place].to(torch.float64) for name, value in named}


def copied(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in state.items()}


def assert_same_state(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Equal to the bit, but for the time that training took."""
    assert one.keys() == other.keys()
    for name in one.keys() - {"seconds"}:
        assert one[name].dtype == other[name].dtype, name
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_near(one: Trainer, index: int, other: Trainer, other_index: int, rtol: float) -> None:
    """Two members' parameters, and all records of their training, agree."""
    found, expected = parameters(one, index), parameters(other, other_index)
    for name, value in expected.items():
        assert (found[name] - value).norm() <= rtol * value.norm(), name
    histories = np.stack(one.history)[:, index], np.stack(other.history)[:, other_index]
    np.testing.assert_allclose(*histories, rtol=rtol, atol=rtol)


def poisoned(trainer: Trainer) -> None:
    """After the first epoch make LATE's next losses infinite."""
    if trainer.epoch == 1:
        place = trainer.alive.index(trainer.members.index(LATE))
        with torch.no_grad():
            trainer.model.log_sigma_sq[place] = -1000.0


# By hand


class ByHand:
    """One member trained by torch.optim.Adam and torch.distributions, in float64."""

    def __init__(self, member: Member, images: torch.Tensor, batch_size: int):
        self.member, self.images, self.batch_size = member, images, batch_size
        self.order = generator(member.seed, "order")
        self.noise = generator(member.seed, "noise")
        self.parameters = {
            name: value.detach()[0].to(torch.float64).requires_grad_()
            for name, value in build([member]).named_parameters()
        }
        trained = [
            value
            for name, value in self.parameters.items()
            if member.learned or name != "log_sigma_sq"
        ]
        self.optimiser = torch.optim.Adam(trained, lr=member.learning_rate)
        self.steps_done = 0
        self.shift = training.data_mean(images, alpha=ALPHA) if member.centred else 0.0

    def network(self, name: str, values: torch.Tensor) -> torch.Tensor:
        for layer in (0, 2):
            weight = self.parameters[f"{name}.{layer}.weight"]
            bias = self.parameters[f"{name}.{layer}.bias"]
            values = functional.linear(values if layer == 0 else values.relu(), weight.T, bias[0])
        return values

    def epoch(self) -> torch.Tensor:
        """Means over the steps of ELBO, KL and squared error per dimension."""
        steps_per_epoch = len(self.images) // self.batch_size
        order = torch.randperm(len(self.images), generator=self.order)
        records = []
        for step in range(steps_per_epoch):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            uniform = transforms.uniform_noise((len(rows), DIM), generator=self.noise)
            normals = torch.randn(len(rows), LATENTS, generator=self.noise)
            pixels = transforms.dequantise(self.images[rows], uniform)
            data = transforms.logit(pixels, alpha=ALPHA).to(torch.float64) - self.shift
            records.append(self.step(data, normals.to(torch.float64), steps_per_epoch))
        return torch.tensor(records, dtype=torch.float64).mean(0)

    def step(self, data, normals, steps_per_epoch) -> list[float]:
        mean, log_var = self.network("encoder", data).chunk(2, dim=-1)
        q = Normal(mean, (0.5 * log_var).exp())
        prior = Normal(torch.zeros((), dtype=torch.float64), 1.0)
        kl = kl_divergence(q, prior).sum(-1).mean()
        decoded = self.network("decoder", q.mean + q.stddev * normals)
        sigma = (0.5 * self.parameters["log_sigma_sq"]).exp()
        log_lik = Normal(decoded, sigma).log_prob(data).sum(-1).mean()
        weight = self.member.beta
        if self.member.anneal_epochs > 0:
            progress = (self.steps_done + 1) / (self.member.anneal_epochs * steps_per_epoch)
            weight *= min(1.0, progress)
        self.optimiser.zero_grad()
        (weight * kl - log_lik).backward()
        self.optimiser.step()
        self.steps_done += 1
        error = (decoded - data).square().mean()
        return [(log_lik - kl).item(), kl.item(), error.item()]


def entry(state: dict[str, np.ndarray], name: str) -> torch.Tensor:
    """Of the only member."""
    return torch.from_numpy(state[name])[0].to(torch.float64)


@pytest.mark.parametrize("index", range(len(MIXED)))
def test_one_step_is_one_of_adam(index):
    """A batch of all images, so that an epoch is one step; two of them, for the second draws."""
    member, images = MIXED[index], some_images()
    trainer = make_trainer([member], batch_size=200)
    by_hand = ByHand(member, images, 200)
    for _ in range(2):
        before = parameters(trainer, 0)
        before_by_hand = {name: p.detach().clone() for name, p in by_hand.parameters.items()}
        trainer.run_epoch()
        by_hand.epoch()
        state = trainer.state()
        for name, expected in by_hand.parameters.items():
            found = entry(state, f"parameter/{name}")
            average, square = (entry(state, f"{each}/{name}") for each in ("exp_avg", "exp_avg_sq"))
            if name == "log_sigma_sq" and not member.learned:
                assert torch.equal(found, before[name])
                assert average == square == 0
                continue
            moments = by_hand.optimiser.state[expected]
            root = moments["exp_avg_sq"].sqrt()
            # Gradients are sums over 200 images in float32: 200 roundings, were they all one way,
            # of terms that are up to ten times the largest sum.
            error = 10 * 200 * 2.0**-24 * moments["exp_avg"].abs().max().item()
            assert (average - moments["exp_avg"]).abs().max().item() <= error, name
            assert (square.sqrt() - root).abs().max().item() <= error, name
            # Adam divides one by the other. Where the average is known to 1 percent, the root,
            # which is 0.23 times as large at least, is known to 5, and their ratio to 6.
            clear = moments["exp_avg"].abs() > 100 * error
            assert clear.double().mean() > 0.3, name
            step, expected_step = found - before[name], expected.detach() - before_by_hand[name]
            allowed = 0.06 * member.learning_rate + EPS32 * before[name].abs()
            assert ((step - expected_step).abs() <= allowed)[clear].all(), name


@pytest.mark.parametrize("index", range(len(MIXED)))
def test_a_course_is_that_of_a_hand_written_loop(index):
    member = MIXED[index]
    trainer = make_trainer([member], offset=100.0)
    by_hand = ByHand(member, some_images(), 20)
    for _ in range(5):
        trainer.run_epoch()
        trainer.record()
        elbo, kl, mse = by_hand.epoch()
        # Means of some thousand float32 numbers, after up to 50 steps with rounded weights.
        found = trainer.history[-1][0]
        assert found[1] == pytest.approx(elbo.item() + 100, rel=1e-4)
        assert found[2] == pytest.approx(kl.item(), rel=1e-4)
        assert found[3] == pytest.approx(mse.item(), rel=1e-4)
    for name, value in parameters(trainer, 0).items():
        expected = by_hand.parameters[name].detach()
        assert (value - expected).norm() <= 1e-4 * expected.norm() + 1e-7, name


# Company


def test_members_take_the_same_course_alone_as_in_company():
    together = make_trainer(MIXED)
    train(together, epochs=5)  # 50 steps
    assert together.alive == list(range(len(MIXED)))
    for index, member in enumerate(MIXED):
        alone = make_trainer([member])
        train(alone, epochs=5)
        assert_near(together, index, alone, 0, rtol=1e-4)
        # The members differ by far more than that from each other.
        other = parameters(together, (index + 1) % len(MIXED))
        for name, value in parameters(alone, 0).items():
            assert (other[name] - value).norm() > 1e-2 * value.norm(), name


def test_equal_members_stay_equal_and_one_seed_means_one_stream():
    member = MIXED[1]
    trainer = make_trainer([member, replace(member, beta=0.0), member, replace(member, seed=5)])
    train(trainer, epochs=2)
    first, changed, again, other = (parameters(trainer, index) for index in range(4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.0.weight"], changed["encoder.0.weight"])
    # With one stream, what beta changes is little; with another seed nothing is alike.
    weights = [each["decoder.2.weight"] for each in (first, changed, other)]
    assert (weights[0] - weights[1]).norm() < 0.3 * (weights[0] - weights[2]).norm()


def test_only_a_learned_noise_variance_moves():
    trainer = make_trainer(MIXED)
    before = trainer.model.log_sigma_sq.detach().clone()
    train(trainer, epochs=3)
    after = trainer.model.log_sigma_sq.detach()
    learned = torch.tensor([member.learned for member in MIXED])
    assert torch.equal(after[~learned], before[~learned])
    # Thirty steps of Adam, most of them by its rate of 1e-3 or more.
    assert ((after - before).abs()[learned] > 5e-3).all()


# Divergence


def test_members_that_diverge_are_stopped_and_the_others_go_on():
    members = (MIXED[0], LATE, MIXED[1], EARLY, MIXED[2])
    with_them, without = make_trainer(members), make_trainer([MIXED[0], MIXED[1], MIXED[2]])
    train(with_them, epochs=5, after_epoch=poisoned)
    train(without, epochs=5)
    assert with_them.alive == [0, 2, 4]
    assert with_them.diverged_at.tolist() == [-1, 2, -1, 1, -1]
    assert without.diverged_at.tolist() == [-1, -1, -1]
    for place, index in enumerate([0, 2, 4]):
        assert_near(with_them, index, without, place, rtol=1e-4)
    history = np.stack(with_them.history)
    assert history.shape == (5, 5, len(HISTORY_COLUMNS))
    assert np.isfinite(history[:, [0, 2, 4]]).all()
    assert np.isfinite(history[0, 1]).all()
    assert np.isnan(history[1:, 1, 1:]).all()
    assert np.isnan(history[:, 3, 1:]).all()
    assert (history[..., 0].T == [1, 2, 3, 4, 5]).all()


def test_weights_that_the_last_step_of_an_epoch_spoilt_are_found_in_that_epoch():
    """Its losses were finite, and the next ones will not be."""
    wild = replace(EARLY, learning_rate=1e39)  # infinite in float32
    trainer = make_trainer([MIXED[0], wild], batch_size=200)
    train(trainer, epochs=1)
    assert trainer.alive == [0]
    assert trainer.diverged_at.tolist() == [-1, 1]


def test_when_all_have_diverged_training_ends():
    trainer = make_trainer([LATE, EARLY])
    train(trainer, epochs=50, after_epoch=poisoned)
    assert trainer.alive == []
    assert trainer.diverged_at.tolist() == [2, 1]
    assert trainer.epoch == 2
    assert len(trainer.history) == 2
    assert np.isnan(trainer.history[1][:, 1:]).all()


def test_that_all_have_diverged_is_recorded_whatever_the_interval():
    trainer = make_trainer([LATE])
    train(trainer, epochs=50, record_every=7, after_epoch=poisoned)
    assert [record[0, 0] for record in trainer.history] == [2]


def test_a_member_whose_gradient_overflows_does_not_pass_for_trained():
    """Adam divides by the root of an infinite square: the weights never move again."""
    trainer = make_trainer([Member(sigma_sq_init=1e-30, learned=False)])
    before = parameters(trainer, 0)
    train(trainer, epochs=2)
    assert trainer.alive == [] or any(
        not torch.equal(value, before[name]) for name, value in parameters(trainer, 0).items()
    )


# The history


def test_the_weight_of_the_kl_term_rises_to_beta():
    """After e epochs of 10 steps the next step is number 10 e + 1 of the annealed ones."""
    members = [
        Member(sigma_sq_init=1, learned=False, beta=beta, anneal_epochs=epochs)
        for beta in (0.0, 0.3, 1.0, 4.0)
        for epochs in (0, 0.25, 1, 2.5, 4, 1000)
    ]
    trainer = make_trainer(members)
    train(trainer, epochs=5)
    column = HISTORY_COLUMNS.index("kl_weight")
    for epoch, record in enumerate(trainer.history, start=1):
        for member, found in zip(members, record[:, column], strict=True):
            length = 10 * member.anneal_epochs
            share = min(1.0, (10 * epoch + 1) / length) if length else 1.0
            assert found == pytest.approx(member.beta * share, rel=2 * EPS32)


def test_the_history_s_columns_are_what_they_say():
    """Means over the epoch are compared in the course by hand; here what is taken at its end.

    The encoder is changed by hand: latent 0 is the prior, and latent 1 almost, with a KL of 0.017.
    """
    images = some_images(count=1200)
    trainer = make_trainer(MIXED, images=images, batch_size=100)
    train(trainer, epochs=4)
    with torch.no_grad():
        for latent, log_var in ((0, 0.0), (1, 0.25)):
            for column, value in ((latent, 0.0), (LATENTS + latent, log_var)):
                trainer.model.encoder[2].weight[..., column] = 0
                trainer.model.encoder[2].bias[..., column] = value
    trainer.record()
    record = dict(zip(HISTORY_COLUMNS, trainer.history[-1].T, strict=True))
    assert (record["epoch"] == 4).all()
    np.testing.assert_allclose(
        record["sigma_sq"], trainer.model.log_sigma_sq.detach().exp(), rtol=4 * EPS32
    )
    probe = transforms.preprocess(
        images[: training.PROBE_IMAGES],
        alpha=ALPHA,
        generator=generator(training._PROBE_SEED, "probe"),
    )
    for index, member in enumerate(MIXED):
        shift = training.data_mean(images, alpha=ALPHA) if member.centred else 0.0
        mean, log_var = trainer.model.select(index).encode((probe - shift).unsqueeze(0))
        kl = collapse.kl_per_latent(mean, log_var)[0]
        # No latent is so near to a threshold that float32 could decide.
        thresholds = collapse.collapse_epsilon(kl, delta=0.01)
        assert ((thresholds / 0.01 - 1).abs() > 1e-3).all()
        assert record["collapse"][index] == (thresholds < 0.01).double().mean()
        assert record["active"][index] == collapse.active_units(mean)[0]
    assert (record["collapse"] == 1 / 3).all()
    assert (record["active"] == 1).all()


def test_centred_members_see_data_of_mean_zero():
    """By construction: y minus the mean of y over all images, each with a draw of its own."""
    images = some_images() // 4  # dark, so that the mean is far from 0
    values = transforms.preprocess(
        images.repeat(200, 1), alpha=ALPHA, generator=generator(5, "test")
    )
    expected = values.mean(0)
    found = training.data_mean(images, alpha=ALPHA)
    assert found.shape == (DIM,)
    assert found.dtype == torch.float64
    # What differs is the noise of each image, whose spread the 200 repetitions show.
    by_image = values.reshape(200, 200, DIM)
    tolerance = 5 * (by_image.var(0).mean(0) / 200).sqrt()
    assert ((found - expected).abs() <= tolerance).all()


def test_records_and_calls_come_when_they_are_asked_for():
    trainer = make_trainer([MIXED[0]])
    epochs, done = [], []
    train(
        trainer,
        epochs=7,
        record_every=3,
        after_epoch=lambda trainer: epochs.append((trainer.epoch, len(trainer.history))),
        progress=done.append,
    )
    assert [record[0, 0] for record in trainer.history] == [3, 6, 7]
    assert epochs == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2), (7, 3)]
    assert sum(done) == 7
    state = copied(trainer.state())
    train(trainer, epochs=7)  # through already
    assert_same_state(trainer.state(), state)


# State


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_loaded_state_goes_on_to_the_same_bits(at):
    """In company of two members that diverge in the first and in the second epoch."""
    members = (MIXED[0], LATE, *MIXED[1:4], EARLY)
    whole = make_trainer(members)
    train(whole, epochs=4, after_epoch=poisoned)
    first = make_trainer(members)
    if at:
        train(first, epochs=at, after_epoch=poisoned)
    state = copied(first.state())
    second = make_trainer(members)
    train(second, epochs=1)  # what it has done before is forgotten
    second.load_state(state)
    assert_same_state(second.state(), state)
    train(second, epochs=4, after_epoch=poisoned)
    assert_same_state(second.state(), whole.state())
    assert second.alive == whole.alive == [0, 2, 3, 4]


def test_a_state_stays_when_training_goes_on():
    trainer = make_trainer(MIXED[:2])
    state = trainer.state()
    before = copied(state)
    trainer.run_epoch()
    assert_same_state(state, before)


def test_a_state_in_which_all_have_diverged_can_be_loaded():
    whole = make_trainer([LATE, EARLY])
    train(whole, epochs=3, after_epoch=poisoned)
    state = copied(whole.state())
    trainer = make_trainer([LATE, EARLY])
    trainer.load_state(state)
    assert trainer.alive == []
    assert_same_state(trainer.state(), state)
    train(trainer, epochs=9)  # there is nothing to train
    assert_same_state(trainer.state(), state)


def test_a_trainer_of_which_all_have_diverged_can_load_an_earlier_state():
    trainer = make_trainer([LATE, EARLY])
    state = copied(trainer.state())
    train(trainer, epochs=3, after_epoch=poisoned)
    assert trainer.alive == []
    trainer.load_state(state)
    assert_same_state(trainer.state(), state)


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


FOREIGN = {
    "other seeds": lambda state: make_trainer([replace(MIXED[0], seed=9), MIXED[3]]).state(),
    "more members": lambda state: make_trainer(MIXED[:3]).state(),
    "other layers": lambda state: Trainer(
        lambda members: build(members, hidden=(5,)),
        (MIXED[0], MIXED[3]),
        some_images(),
        alpha=ALPHA,
        batch_size=20,
    ).state(),
    "more layers": lambda state: Trainer(
        lambda members: build(members, hidden=(16, 16)),
        (MIXED[0], MIXED[3]),
        some_images(),
        alpha=ALPHA,
        batch_size=20,
    ).state(),
    "nothing": lambda state: {},
    "no epoch": lambda state: without(state, "epoch"),
    "no moment": lambda state: without(state, "exp_avg_sq/decoder.2.bias"),
    "no generator": lambda state: without(state, "generator/1/noise"),
    "an array too many": lambda state: state | {"more": np.zeros(3)},
    "two epochs": lambda state: state | {"epoch": np.array([1, 2])},
    "a short history": lambda state: state | {"history": state["history"][..., :-1]},
    "a transposed weight": lambda state: (
        state | {"parameter/encoder.0.weight": state["parameter/encoder.0.weight"].mT}
    ),
    "a member too few": lambda state: state | {"alive": np.array([1])},
    "a generator cut off": lambda state: (
        state | {"generator/1/order": state["generator/1/order"][:-1]}
    ),
}
NONSENSE = {
    "members that there are not": lambda state: state | {"alive": np.array([0, 5])},
    "a member twice": lambda state: state | {"alive": np.array([0, 0])},
    "members that are not integers": lambda state: state | {"alive": np.array([0.0, 1.0])},
    "a number of members": lambda state: state | {"alive": np.array(2)},
    "a generator of zeros": lambda state: (
        state | {"generator/1/order": np.zeros_like(state["generator/1/order"])}
    ),
    "weights that are text": lambda state: state | {"parameter/log_sigma_sq": np.array(["1", "2"])},
}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(damage, id=name) for name, damage in (FOREIGN | NONSENSE).items()],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(damage):
    trainer = make_trainer([MIXED[0], MIXED[3]])
    train(trainer, epochs=1)
    before = copied(trainer.state())
    saved = copied(before)
    train(trainer, epochs=2)
    reference = copied(trainer.state())
    with pytest.raises(ValueError, match="state"):
        trainer.load_state(damage(saved))
    assert_same_state(trainer.state(), reference)
    trainer.load_state(before)  # the refusal has not spoilt it
    assert_same_state(trainer.state(), before)


# Arguments


@pytest.mark.parametrize("batch_size", [0, 201, 2.0, True])
def test_a_bad_batch_size_is_refused(batch_size):
    with pytest.raises(ValueError, match=r"^batch_size must be an integer in \[1, 200\]"):
        make_trainer([MIXED[0]], batch_size=batch_size)


def test_no_members_and_images_that_are_not_bytes_are_refused():
    with pytest.raises(ValueError, match=r"^members must not be empty"):
        make_trainer([])
    with pytest.raises(ValueError, match=r"^images must be a tensor of dtype uint8"):
        make_trainer([MIXED[0]], images=some_images() / 255)
    with pytest.raises(ValueError, match=r"^alpha must be"):
        Trainer(build, [MIXED[0]], some_images(), alpha=0.5, batch_size=20)


@pytest.mark.parametrize("name", ["epochs", "record_every"])
@pytest.mark.parametrize("value", [0, -1, 1.0, None])
def test_a_bad_number_of_epochs_is_refused(name, value):
    trainer = make_trainer([MIXED[0]])
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1"):
        train(trainer, **{"epochs": 1, name: value})
    assert trainer.epoch == 0


def test_streams_differ_by_seed_and_by_name():
    draws = {
        (seed, stream): torch.rand(4, generator=generator(seed, stream)).tolist()
        for seed in (0, 1, 2**31)
        for stream in ("weights", "order", "noise")
    }
    assert len({tuple(values) for values in draws.values()}) == len(draws)
    assert torch.rand(4, generator=generator(1, "order")).tolist() == draws[1, "order"]


# Against theory


def test_a_linear_network_learns_almost_the_likelihood_of_ppca_and_never_more():
    """Encoder and decoder of one layer, sigma_sq learned. The ELBO is a bound on a Gaussian's
    likelihood, which pPCA maximises in closed form for the covariance of the same data."""
    dim, k, images = 6, 2, some_images(count=1000, dim=6, rank=2)
    trainer = Trainer(
        lambda members: build(members, dim=dim, hidden=(), k=k),
        [Member(sigma_sq_init=10, learned=True, learning_rate=2e-2)],
        images,
        alpha=ALPHA,
        batch_size=100,
    )

    def measured() -> tuple[float, float]:
        """Mean and standard error of the ELBO, of ten draws for each image."""
        model = trainer.model.select(0)
        found = [evaluate(model, images, alpha=ALPHA, seed=seed) for seed in range(10)]
        # That of the images is counted too, which do not vary: the error is overstated.
        error = math.sqrt(sum(each.elbo_se**2 for each in found)) / 10
        return sum(each.elbo for each in found) / 10, error

    first, _ = measured()
    train(trainer, epochs=40)
    last, error = measured()
    # The same data but for the dequantisation noise, of which a hundred draws for each image
    # leave a third of the error that ten have.
    random = generator(6, "test")
    many = images.repeat(100, 1)
    data = transforms.preprocess(many, alpha=ALPHA, generator=random)
    offset, _ = transforms.mean_log_abs_det(many, alpha=ALPHA, generator=random)
    best = ppca.max_log_likelihood(spectrum(data).eigenvalues, k).item() + offset
    assert last <= best + 5 * error
    # Within half a nat of the best, where it began more than eight below.
    assert last > best - 0.5
    assert first < best - 8
