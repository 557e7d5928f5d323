"""Settings, members, rows and profiles: what is allowed, and how runs are named."""

import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch

from vae_lib import experiments
from vae_lib.data import DataError, load_mnist
from vae_lib.experiments import (
    PROFILES,
    Profile,
    Setting,
    asides,
    build_model,
    ledger_folder,
    load_images,
    run_id,
    table_members,
    work_folder,
)
from vae_lib.rows import SIGMA_SQ_INITS, parse_row, row_name
from vae_lib.training import Member

SETTING = Setting(
    num_images=500,
    hidden=(16, 8),
    latent_dim=4,
    batch_size=50,
    epochs=3,
    iwae_images=10,
    iwae_samples=20,
)
MEMBER = Member(sigma_sq_init=1, learned=True)
OTHER = {
    "sigma_sq_init": 1.5,
    "learned": False,
    "seed": 1,
    "learning_rate": 2e-3,
    "beta": 0.5,
    "anneal_epochs": 3,
    "centred": True,
    "num_images": 501,
    "alpha": 1e-5,
    "hidden": (16, 9),
    "latent_dim": 5,
    "batch_size": 51,
    "epochs": 4,
    "iwae_images": 11,
    "iwae_samples": 21,
}
ROWS = [
    "fixed 10",
    "fixed 1",
    "fixed 0.1",
    "fixed 0.01",
    "fixed 0.001",
    "learned 10",
    "learned 1",
    "learned 0.1",
    "learned 0.01",
    "learned 0.001",
]


# Rows


def test_the_rows_are_those_of_the_table_and_names_are_read_back():
    assert SIGMA_SQ_INITS == (10, 1, 0.1, 0.01, 0.001)
    members = table_members(seeds=[0])
    names = [row_name(sigma_sq_init=m.sigma_sq_init, learned=m.learned) for m in members]
    assert names == ROWS
    for name, member in zip(ROWS, members, strict=True):
        assert parse_row(name) == (member.sigma_sq_init, member.learned)
    assert row_name(sigma_sq_init=10, learned=True) == "learned 10"


@pytest.mark.parametrize("name", ["fixed 2", "learned", "learned  1", "Fixed 1", "fixed 1.0", ""])
def test_an_unknown_row_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"^row must be one of fixed 10, ") as caught:
        parse_row(name)
    for known in ROWS:
        assert f"{known}," in str(caught.value) or f"{known};" in str(caught.value)
    assert str(caught.value).endswith(f"got {name!r}")


# Members and settings


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sigma_sq_init", [0, 0.0, -1, math.nan, math.inf, "1", True, None]),
        ("learning_rate", [0, -1e-3, math.nan, math.inf, "1", True, None]),
        ("beta", [-0.1, math.nan, math.inf, "1", True, None]),
        ("anneal_epochs", [-1, math.nan, math.inf, "1", True, None]),
        ("seed", [-1, 1.0, True, None, "1"]),
    ],
)
def test_a_bad_member_is_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            replace(MEMBER, **{name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dataset", ["cifar", "MNIST", "", None]),
        ("num_images", [1, 0, -1, 500.0, True, None]),
        ("alpha", [-0.1, 0.5, 1, math.nan, None]),
        ("latent_dim", [0, -1, 4.0, True]),
        ("batch_size", [0, 501, -1, 50.0, True]),
        ("epochs", [0, -1, 3.0, True]),
        ("iwae_images", [0, 501, 10.0]),
        ("iwae_samples", [0, 5001, -1, 20.0, True]),
    ],
)
def test_a_bad_setting_is_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            replace(SETTING, **{name: value})


@pytest.mark.parametrize("hidden", [(0,), (16, -1), (16.0,), (16, True), ("16",)])
def test_bad_layers_are_refused(hidden):
    with pytest.raises(ValueError, match=r"^hidden must be an integer >= 1"):
        replace(SETTING, hidden=hidden)


def test_the_ends_of_the_ranges_are_allowed():
    replace(SETTING, num_images=2, batch_size=2, iwae_images=2, iwae_samples=5000, alpha=0)
    replace(SETTING, batch_size=500, iwae_images=500, iwae_samples=1, epochs=1, hidden=())
    replace(MEMBER, beta=0, anneal_epochs=0, seed=0, sigma_sq_init=1e-30, learning_rate=1e-30)


@pytest.mark.parametrize(
    ("num_images", "batch_size", "epochs", "steps"),
    [(500, 50, 3, 30), (500, 51, 3, 27), (500, 500, 1, 1), (60_000, 128, 1000, 468_000)],
)
def test_steps_leave_out_what_does_not_fill_a_batch(num_images, batch_size, epochs, steps):
    setting = replace(SETTING, num_images=num_images, batch_size=batch_size, epochs=epochs)
    assert setting.steps == steps


# Names of runs


def test_a_run_s_name_differs_with_every_field():
    assert OTHER.keys() | {"dataset", "image_size", "channels"} == {
        field.name for kind in (Setting, Member) for field in fields(kind)
    }
    names = {run_id(SETTING, MEMBER)}
    for name, value in OTHER.items():
        if hasattr(MEMBER, name):
            assert getattr(MEMBER, name) != value
            names.add(run_id(SETTING, replace(MEMBER, **{name: value})))
        else:
            assert getattr(SETTING, name) != value
            names.add(run_id(replace(SETTING, **{name: value}), MEMBER))
    assert len(names) == 1 + len(OTHER)
    assert all(name.isalnum() and len(name) == 16 for name in names)


def test_a_run_s_name_differs_with_the_data_set(monkeypatch):
    monkeypatch.setitem(experiments._DATASETS, "another", experiments._DATASETS["mnist"])
    other = replace(SETTING, dataset="another")
    assert run_id(other, MEMBER) != run_id(SETTING, MEMBER)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sigma_sq_init": 10}, {"sigma_sq_init": 10.0}),
        ({"sigma_sq_init": 10}, {"sigma_sq_init": torch.tensor(10)}),
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
        ({"beta": 1}, {"beta": 1.0}),
        ({"anneal_epochs": 3}, {"anneal_epochs": np.float64(3)}),
    ],
    ids=str,
)
def test_equal_members_have_one_name(one, other):
    one, other = replace(MEMBER, **one), replace(MEMBER, **other)
    assert one == other
    assert run_id(SETTING, one) == run_id(SETTING, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"alpha": 0}, {"alpha": 0.0}),
        ({"num_images": 500}, {"num_images": np.int64(500)}),
    ],
    ids=str,
)
def test_equal_settings_have_one_name(one, other):
    one, other = replace(SETTING, **one), replace(SETTING, **other)
    assert one == other
    assert run_id(one, MEMBER) == run_id(other, MEMBER)


@pytest.mark.parametrize(
    "more", [{"seed": np.int64(0)}, {"learned": 1}, {"learned": np.True_}], ids=str
)
def test_members_equal_but_for_a_type_have_one_name(more):
    other = replace(MEMBER, **more)
    assert other == MEMBER
    assert run_id(SETTING, other) == run_id(SETTING, MEMBER)


def test_layers_in_a_list_are_those_in_a_tuple():
    assert run_id(replace(SETTING, hidden=[16, 8]), MEMBER) == run_id(SETTING, MEMBER)


def test_a_run_s_name_is_always_the_same():
    """In other processes and versions too: a name that changes disowns all recorded ledgers."""
    other = replace(MEMBER, learning_rate=0.1 + 0.2)
    assert (run_id(SETTING, MEMBER), run_id(SETTING, other)) == (
        "dcb2126cf8a7c488",
        "ae0ff13802667fc8",
    )


# Profiles


@pytest.mark.parametrize(
    ("name", "seeds"), [("quick", [0]), ("laptop", [0, 1]), ("paper", [0, 1, 2, 3])]
)
def test_a_profile_has_the_ten_rows_for_each_of_its_seeds(name, seeds):
    profile = PROFILES[name]
    assert profile.name == name
    plain = [m for m in profile.members if m.anneal_epochs == 0 and not m.centred]
    found = [(m.seed, row_name(sigma_sq_init=m.sigma_sq_init, learned=m.learned)) for m in plain]
    assert sorted(found) == sorted((seed, row) for seed in seeds for row in ROWS)
    # Rows differ by nothing else, and what else there is are the asides.
    assert len({(m.learning_rate, m.beta) for m in profile.members}) == 1
    assert all(member.beta == 1 for member in profile.members)
    rest = [m for m in profile.members if m not in plain]
    assert all((m.sigma_sq_init, m.learned) == (10, False) for m in rest)


@pytest.mark.parametrize("name", PROFILES)
def test_every_run_of_a_profile_is_in_one_of_its_ensembles(name):
    profile = PROFILES[name]
    ensembles = profile.ensembles()
    assert tuple(member for members in ensembles for member in members) == profile.members
    assert all(len(members) <= profile.ensemble_size for members in ensembles)
    assert all(len(members) == profile.ensemble_size for members in ensembles[:-1])
    names = [run_id(profile.setting, member) for member in profile.members]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", PROFILES)
def test_ledgers_of_long_runs_are_the_book_s_and_the_others_are_not(name):
    """The book has none of the quick ones: whoever runs one changes nothing that it depends on."""
    folder, work = ledger_folder(PROFILES[name]), work_folder(PROFILES[name])
    assert work.parent == experiments.REPOSITORY / "_build" / "sweeps"
    recorded = experiments.REPOSITORY / "book" / "recorded"
    assert folder == (work if name in ("quick", "celeba-quick") else recorded / work.name)


def test_the_folders_of_profiles_differ():
    assert {work_folder(PROFILES[name]).name for name in ("quick", "celeba-quick")} == {
        "mnist-quick",
        "celeba-quick",
    }
    assert len({ledger_folder(profile) for profile in PROFILES.values()}) == len(PROFILES)


def test_the_paper_s_profile_is_the_paper_s():
    setting = PROFILES["paper"].setting
    assert (setting.num_images, setting.epochs, setting.latent_dim) == (60_000, 1000, 200)
    assert setting.hidden == (1024, 512)
    assert setting.alpha == 1e-6
    assert {member.learning_rate for member in PROFILES["paper"].members} == {1e-3}


@pytest.mark.parametrize("size", [1, 3, 4, 10, 40])
def test_the_last_ensemble_takes_what_is_left(size):
    members = table_members(seeds=[3])
    profile = Profile(name="x", setting=SETTING, members=members, ensemble_size=size)
    sizes = [len(each) for each in profile.ensembles()]
    assert sizes == [size] * (10 // size) + [10 % size] * (10 % size > 0)


def test_the_asides_differ_from_a_row_by_one_thing_each():
    plain = Member(sigma_sq_init=10, learned=False, seed=2, learning_rate=5e-3)
    found = asides(anneal_epochs=7, seed=2, learning_rate=5e-3)
    assert found == (replace(plain, anneal_epochs=7), replace(plain, centred=True))


# Data and models


def test_the_images_are_the_first_ones_of_mnist():
    found = load_images(SETTING)
    assert found.dtype == torch.uint8
    assert torch.equal(found, load_mnist().images[:500].reshape(500, 784))
    with pytest.raises(DataError, match=r"^num_images must be at most 60,000, .* got 60,001$"):
        load_images(replace(SETTING, num_images=60_001))


def test_a_model_is_the_setting_s_with_the_members_weights():
    other = replace(MEMBER, seed=1, sigma_sq_init=4, learned=False)
    members = (other, MEMBER, MEMBER)
    model = build_model(SETTING, members, dim=20)
    assert model.num_members == 3
    assert model.latent_dim == 4
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes == {
        "log_sigma_sq": (3,),
        "encoder.0.weight": (3, 20, 16),
        "encoder.0.bias": (3, 1, 16),
        "encoder.2.weight": (3, 16, 8),
        "encoder.2.bias": (3, 1, 8),
        "encoder.4.weight": (3, 8, 8),
        "encoder.4.bias": (3, 1, 8),
        "decoder.0.weight": (3, 4, 8),
        "decoder.0.bias": (3, 1, 8),
        "decoder.2.weight": (3, 8, 16),
        "decoder.2.bias": (3, 1, 16),
        "decoder.4.weight": (3, 16, 20),
        "decoder.4.bias": (3, 1, 20),
    }
    assert model.learned.tolist() == [False, True, True]
    assert model.sigma_sq.tolist() == pytest.approx([4, 1, 1], rel=2.0**-22)
    for place, member in enumerate(members):
        alone = build_model(SETTING, [member], dim=20)
        for one, other in zip(alone.parameters(), model.parameters(), strict=True):
            assert torch.equal(one[0], other[place])
    weight = model.encoder[0].weight
    assert torch.equal(weight[1], weight[2])
    assert not torch.equal(weight[0], weight[1])


def test_a_setting_cannot_be_changed_behind_its_name():
    for value in (SETTING, MEMBER, PROFILES["quick"]):
        name = next(iter(asdict(value)))
        with pytest.raises(AttributeError):
            setattr(value, name, None)
