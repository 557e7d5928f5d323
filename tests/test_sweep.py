"""Sweeps of tiny networks: what is recorded, and what survives kills, damage and company."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor

from tests.oracles import EPS
from vae_lib import checkpoints, experiments, progress, results, runs, sweep, transforms
from vae_lib.checkpoints import CheckpointError
from vae_lib.data import load_mnist
from vae_lib.evaluation import EVALUATION_SEED, evaluate, importance_bound
from vae_lib.experiments import PROFILES, Profile, Setting, load_images, run_id
from vae_lib.results import COLUMNS, CURVE_COLUMNS, LedgerError
from vae_lib.rows import identity_errors
from vae_lib.training import Member, Trainer, data_mean, generator, train

REPOSITORY = Path(__file__).resolve().parents[1]
SETTING = Setting(
    num_images=500,
    hidden=(16,),
    latent_dim=4,
    batch_size=50,
    epochs=4,
    iwae_images=5,
    iwae_samples=20,
)
MEMBERS = (
    Member(sigma_sq_init=1, learned=False),
    Member(sigma_sq_init=0.1, learned=True, learning_rate=3e-3),
    Member(sigma_sq_init=10, learned=True, seed=1, centred=True),
    Member(sigma_sq_init=10, learned=False, seed=1, anneal_epochs=3, beta=0.5),
)
# A checkpoint after every epoch.
TINY = Profile(
    name="tiny", setting=SETTING, members=MEMBERS, ensemble_size=2, checkpoint_seconds=0.0
)
# Its first step leaves weights of which no product is finite.
WILD = Member(sigma_sq_init=1, learned=True, seed=3, learning_rate=1e30)
IDS = [run_id(SETTING, member) for member in MEMBERS]
# Of a repetition: the time it takes, the checksum over that, and the commit it is run at.
NOT_REPEATED = {"seconds", "sha256", "commit"}


def run(folder: Path, profile: Profile = TINY, **more) -> list[results.Row]:
    """A sweep whose ledger is in ``folder / "ledger"``."""
    return sweep.sweep(
        profile, folder=folder / "ledger", work=folder / "work", show_progress=False, **more
    )


def files(folder: Path) -> dict[str, bytes]:
    """All but hidden ones: a killed process leaves what it was about to rename."""
    paths = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def repeated(folder: Path) -> dict[str, object]:
    """All that two equal sweeps have in common, rows as text and by run."""
    content = files(folder / "ledger")
    del content["ledger.csv"]
    for row in results.read_ledger(folder / "ledger"):
        cells = {name: repr(row[name]) for name in row.keys() - NOT_REPEATED}
        content[row["run"]] = cells
    return content


@pytest.fixture(scope="module", autouse=True)
def _mnist_is_read_once():
    images = load_mnist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "load_mnist", lambda: images)
        yield


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """A sweep that nothing interrupted."""
    folder = tmp_path_factory.mktemp("reference")
    rows = run(folder)
    assert [row["run"] for row in rows] == IDS
    return folder


# Rows


def test_a_row_says_what_was_run(reference):
    rows = results.read_ledger(reference / "ledger")
    assert len(rows) == 4
    for row, member, name in zip(rows, MEMBERS, IDS, strict=True):
        assert row["run"] == name
        assert {key: row[key] for key in asdict(member)} == asdict(member)
        expected = {
            "dataset": "mnist",
            "hidden": "16",
            "latent_dim": 4,
            "batch_size": 50,
            "images": 500,
            "alpha": SETTING.alpha,
            "epochs": 4,
            "steps": 40,
            "status": "finished",
            "iwae_samples": 20,
            "iwae_images": 5,
            "ensemble": 2,
            "threads": 1,
            "precision": "float32",
        }
        assert {key: row[key] for key in expected} == expected
        assert torch.__version__ in row["versions"]
        assert row["seconds"] >= 0
        assert row["device"]
    assert [row["row"] for row in rows] == ["fixed 1", "learned 0.1", "learned 10", "fixed 10"]


def test_every_row_satisfies_the_identities_and_the_inequalities(reference):
    for row in results.read_ledger(reference / "ledger"):
        # Of the terms, none is above 20 times their sum, and some 1000 numbers are added.
        assert max(identity_errors(row, 784)) <= 20 * 1000 * EPS
        assert row["tuned_elbo"] > row["elbo"]
        assert row["iwae"] > row["iwae_elbo"]
        assert 0 <= row["collapse_percent"] <= 100
        assert 0 <= row["active_units"] <= 4
        fixed = row["sigma_sq"] == pytest.approx(row["sigma_sq_init"], rel=2.0**-21)
        assert fixed != row["learned"]


def test_curves_and_latents_belong_to_their_rows(reference):
    for row in results.read_ledger(reference / "ledger"):
        curve = results.read_curve(reference / "ledger", row["run"])
        assert tuple(curve) == CURVE_COLUMNS
        assert curve["epoch"] == [1, 2, 3, 4]
        assert curve["sigma_sq"][-1] == pytest.approx(row["sigma_sq"], rel=2.0**-21)
        weight = row["beta"] * (31 / 30 if row["anneal_epochs"] else 1)
        assert curve["kl_weight"][-1] == pytest.approx(min(weight, row["beta"]), rel=2.0**-21)
        latents = results.read_latents(reference / "ledger", row["run"])
        assert all(len(column) == 4 for column in latents.values())
        assert sum(latents["kl"]) == pytest.approx(row["kl"], rel=100 * EPS)
        active = sum(variance > 0.01 for variance in latents["mean_variance"])
        assert active == row["active_units"]
        collapsed = sum(epsilon < 0.01 for epsilon in latents["collapse_epsilon"])
        assert 25 * collapsed == row["collapse_percent"]


@pytest.mark.parametrize("place", [0, 2])
def test_a_row_has_the_measures_of_its_model(reference, place):
    """The same ensemble, trained without a sweep; the third member sees centred data."""
    row = results.read_ledger(reference / "ledger")[place]
    images = load_images(SETTING)
    trainer = runs.make_trainer(SETTING, TINY.ensembles()[place // 2], images)
    train(trainer, epochs=4)
    model = trainer.model.select(0)
    shift = data_mean(images, alpha=SETTING.alpha) if row["centred"] else None
    found = evaluate(model, images, alpha=SETTING.alpha, shift=shift)
    for name in ("elbo", "elbo_se", "tuned_elbo", "tuned_sigma_sq", "sigma_sq", "kl"):
        assert row[name] == getattr(found, name)
    assert row["log_abs_det"] == found.log_abs_det
    assert row["collapse_percent"] == 100 * found.collapse
    assert row["active_units"] == found.active_units
    other = evaluate(model, images, alpha=SETTING.alpha, shift=data_mean(images, alpha=0.05))
    assert other.elbo != found.elbo


@pytest.mark.parametrize("place", [0, 2])
def test_the_importance_weighted_bound_is_that_of_its_images(reference, place):
    """By other draws of z: thirty repetitions give mean and spread of one."""
    row = results.read_ledger(reference / "ledger")[place]
    images = load_images(SETTING)
    trainer = runs.make_trainer(SETTING, TINY.ensembles()[place // 2], images)
    train(trainer, epochs=4)
    uniform = transforms.uniform_noise(
        (5, 784), generator=generator(EVALUATION_SEED, "importance"), dtype=torch.float64
    )
    pixels = transforms.dequantise(images[:5], uniform)
    data = transforms.logit(pixels, alpha=SETTING.alpha)
    if row["centred"]:
        data = data - data_mean(images, alpha=SETTING.alpha)
    bounds, elbos = importance_bound(
        trainer.model.select(0),
        data.repeat(30, 1),
        num_samples=20,
        random=torch.Generator().manual_seed(0),
    )
    offset = transforms.log_abs_det(pixels, alpha=SETTING.alpha).mean()
    for found, draws in ((row["iwae"], bounds), (row["iwae_elbo"], elbos)):
        draws = draws.reshape(30, 5).mean(1) + offset
        # One more draw of 30; Student's t with 29 degrees of freedom exceeds 6 once in 10^6.
        # Float32 adds to it some hundred roundings of numbers up to 10^4.
        tolerance = 6 * draws.std().item() * (1 + 1 / 30) ** 0.5 + 100 * 2.0**-24 * 1e4
        assert abs(found - draws.mean().item()) <= tolerance


def test_the_curve_is_of_pixel_values(reference):
    """Its last ELBO is a mean over the last epoch, and near that of the row."""
    for row in results.read_ledger(reference / "ledger"):
        curve = results.read_curve(reference / "ledger", row["run"])
        # In its last epoch the ELBO rises by less than in the one before, and noise has the
        # standard error of the row.
        rise = abs(curve["elbo"][-1] - curve["elbo"][-2])
        assert abs(curve["elbo"][-1] - row["elbo"]) <= 2 * rise + 5 * row["elbo_se"]


# Again


def refuse(*_, **__):
    raise AssertionError("nothing was to be run")


def test_a_second_call_runs_nothing_and_leaves_the_ledger_as_it_is(reference, monkeypatch):
    before = files(reference / "ledger")
    monkeypatch.setattr(sweep, "run_ensemble", refuse)
    monkeypatch.setattr(Trainer, "run_epoch", refuse)
    rows = run(reference)
    assert [row["run"] for row in rows] == IDS
    assert files(reference / "ledger") == before


def test_when_it_is_through_neither_checkpoints_nor_counts_are_left(reference):
    """Or the bar of a sweep that begins anew would begin at its end."""
    assert list((reference / "work").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bar_hears_from_the_ensembles_and_goes_on_where_it_was(tmp_path, monkeypatch, workers):
    """Two ensembles of four epochs and two members."""
    counts: list[list[int]] = []

    @contextmanager
    def bar(total, count, *, enabled):
        assert (total, enabled) == (16, False)
        add_row, before = results.add_row, count()
        here = [before]
        counts.append(here)

        def counting(*arguments, **more):
            here.append(count())
            add_row(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(results, "add_row", counting)
            yield
        here.append(count())

    monkeypatch.setattr(progress, "bar", bar)
    interrupted(tmp_path, monkeypatch, epochs=5)
    assert counts == [[0, 8, 8]]
    try:
        run(tmp_path, workers=workers)
    finally:
        if workers > 1:
            get_reusable_executor().shutdown(wait=True)
    assert counts[1:] == [[8 + 2, 16, 16, 16]]
    shutil.rmtree(tmp_path / "ledger")
    run(tmp_path)
    assert counts[2:] == [[0, 8, 8, 16, 16, 16]]


def test_rows_of_other_profiles_stay_and_are_not_returned(reference, tmp_path):
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    other = replace(TINY, setting=replace(SETTING, epochs=1), members=MEMBERS[:1], ensemble_size=1)
    rows = run(tmp_path, other)
    assert [row["run"] for row in rows] == [run_id(other.setting, MEMBERS[0])]
    found = [row["run"] for row in results.read_ledger(tmp_path / "ledger")]
    assert found == [*IDS, rows[0]["run"]]


def test_only_what_is_missing_is_run(reference, tmp_path, monkeypatch):
    """Of an ensemble of which one row is there, only the other is added."""
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "ledger" / "ledger.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[4]]))
    epochs = count_epochs(monkeypatch)
    run(tmp_path)
    assert epochs == {2: 4}
    assert repeated(tmp_path) == repeated(reference)
    kept = path.read_bytes().splitlines(keepends=True)
    assert kept[:4] == [*lines[:3], lines[4]]


def count_epochs(monkeypatch) -> Counter:
    """How many epochs trainers of so many members run from now on."""
    epochs: Counter = Counter()
    run_epoch = Trainer.run_epoch

    def counted(trainer):
        epochs[len(trainer.members)] += 1
        run_epoch(trainer)

    monkeypatch.setattr(Trainer, "run_epoch", counted)
    return epochs


# Kills

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tests.test_sweep import run

replace = os.replace
weight = torch.zeros(1)
weight.grad = torch.zeros(1)
torch.optim.Adam([weight]).step()  # the first step imports more

def sweep_until(left):
    def counted(source, target):
        nonlocal left
        left -= not str(target).endswith(".progress")
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted
    run(Path(sys.argv[1]))

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sweep_until(int(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def killed(tmp_path):
    """Function of n: a process sweeps, and dies with its n-th file written but not yet renamed.

    The processes are forks of one that imports PyTorch once and trains nothing.
    """
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=REPOSITORY, **pipes) as process:

        def kill_at(write: int) -> None:
            process.stdin.write(f"{write}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{-signal.SIGKILL}\n"

        yield kill_at


def checkpoint_epochs(folder: Path) -> list[int]:
    paths = sorted((folder / "work").glob("*.npz"))
    return [int(np.load(path)["epoch"]) for path in paths]


def test_a_killed_sweep_goes_on_and_ends_with_the_same_numbers(
    reference, tmp_path, monkeypatch, killed
):
    """Killed three times. An ensemble writes a checkpoint for each of its four epochs, then
    curve, latents and ledger for each of its two rows."""
    killed(3)  # in the third epoch's checkpoint
    assert checkpoint_epochs(tmp_path) == [2]
    assert results.read_ledger(tmp_path / "ledger") == []
    killed(2 + 3 + 2)  # two checkpoints, a row, and in the second row's latents
    assert checkpoint_epochs(tmp_path) == [4]
    assert [row["run"] for row in results.read_ledger(tmp_path / "ledger")] == IDS[:1]
    killed(3 + 2)  # that row, and in the second ensemble's second checkpoint
    assert checkpoint_epochs(tmp_path) == [1]
    assert [row["run"] for row in results.read_ledger(tmp_path / "ledger")] == IDS[:2]
    first_rows = (tmp_path / "ledger" / "ledger.csv").read_bytes()
    epochs = count_epochs(monkeypatch)
    rows = run(tmp_path)
    assert epochs == {2: 3}
    assert [row["run"] for row in rows] == IDS
    assert (tmp_path / "ledger" / "ledger.csv").read_bytes().startswith(first_rows)
    assert repeated(tmp_path) == repeated(reference)
    assert checkpoint_epochs(tmp_path) == []


def interrupted(folder: Path, monkeypatch, *, epochs: int, profile: Profile = TINY) -> None:
    """A sweep that Ctrl-C ends in the epoch after so many."""
    done, run_epoch = 0, Trainer.run_epoch

    def counted(trainer):
        nonlocal done
        if done == epochs:
            raise KeyboardInterrupt
        done += 1
        run_epoch(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", counted)
        with pytest.raises(KeyboardInterrupt):
            run(folder, profile)


def test_between_checkpoints_work_is_lost_and_numbers_are_not(reference, tmp_path, monkeypatch):
    """The pause to the next checkpoint is an hour, so that the only one is that at the end."""
    rare = replace(TINY, checkpoint_seconds=3600.0)
    interrupted(tmp_path, monkeypatch, epochs=6, profile=rare)
    assert checkpoint_epochs(tmp_path) == []
    assert [row["run"] for row in results.read_ledger(tmp_path / "ledger")] == IDS[:2]
    run(tmp_path, rare)
    assert repeated(tmp_path) == repeated(reference)


# Damage


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    owner = str(np.load(path)["owner"])
    checkpoints.save(path, checkpoints.load(path, owner=owner), owner="someone else")


def incomplete(path: Path) -> None:
    owner = str(np.load(path)["owner"])
    arrays = checkpoints.load(path, owner=owner)
    del arrays["exp_avg/log_sigma_sq"]
    checkpoints.save(path, arrays, owner=owner)


@pytest.fixture(scope="module")
def half_done(tmp_path_factory) -> Path:
    """A sweep that was interrupted in the second epoch of its second ensemble."""
    folder = tmp_path_factory.mktemp("half_done")
    with pytest.MonkeyPatch.context() as patch:
        interrupted(folder, patch, epochs=5)
    return folder


@pytest.mark.parametrize("damage", [truncated, flipped, foreign, incomplete])
def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(reference, half_done, tmp_path, damage):
    shutil.copytree(half_done, tmp_path, dirs_exist_ok=True)
    (path,) = (tmp_path / "work").glob("*.npz")
    before = files(tmp_path / "ledger")
    assert len(results.read_ledger(tmp_path / "ledger")) == 2
    whole = path.read_bytes()
    damage(path)
    damaged = path.read_bytes()
    assert damaged != whole
    with pytest.raises(CheckpointError) as caught:
        run(tmp_path)
    assert str(path) in str(caught.value)
    assert files(tmp_path / "ledger") == before
    assert path.read_bytes() == damaged
    path.unlink()  # as the message advises
    run(tmp_path)
    assert repeated(tmp_path) == repeated(reference)


def test_a_damaged_ledger_is_named_before_anything_is_run(reference, tmp_path, monkeypatch):
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "ledger" / "ledger.csv"
    path.write_bytes(path.read_bytes()[:-10])
    before = files(tmp_path)
    monkeypatch.setattr(sweep, "run_ensemble", refuse)
    with pytest.raises(LedgerError, match=r"ledger\.csv is cut off"):
        run(tmp_path)
    assert files(tmp_path) == before


# Company


def test_two_workers_write_what_one_writes(reference, tmp_path):
    try:
        rows = run(tmp_path, workers=2)
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert [row["run"] for row in sorted(rows, key=lambda row: IDS.index(row["run"]))] == IDS
    assert repeated(tmp_path) == repeated(reference)


def test_a_member_that_diverges_gets_a_row_and_the_others_go_on(reference, tmp_path):
    members = (WILD, *MEMBERS[:2])
    profile = replace(TINY, members=members, ensemble_size=3)
    rows = run(tmp_path, profile)
    assert [row["status"] for row in rows] == ["diverged in epoch 1", "finished", "finished"]
    wild = rows[0]
    assert (wild["epochs"], wild["steps"]) == (1, 10)
    # A number of latents is an integer, which has no nan.
    measures = [name for name in runs.MEASURES if COLUMNS[name] is float]
    assert len(measures) == 10
    assert all(np.isnan(wild[name]) for name in measures)
    assert {key: wild[key] for key in asdict(WILD)} == asdict(WILD)
    latents = results.read_latents(tmp_path / "ledger", wild["run"])
    assert all(column == [] for column in latents.values())
    curve = results.read_curve(tmp_path / "ledger", wild["run"])
    assert curve.pop("epoch") == [1, 2, 3, 4]
    assert all(np.isnan(column).all() for column in curve.values())
    # The others are what they are without it, but for the rounding of other batches.
    for row, expected in zip(rows[1:], results.read_ledger(reference / "ledger"), strict=False):
        assert row["run"] == expected["run"]
        for name in measures:
            assert row[name] == pytest.approx(expected[name], rel=1e-4), name


def test_an_ensemble_that_has_diverged_as_a_whole_gets_its_rows(tmp_path):
    profile = replace(TINY, members=(WILD, MEMBERS[0]), ensemble_size=1)
    rows = run(tmp_path, profile)
    assert [row["status"] for row in rows] == ["diverged in epoch 1", "finished"]
    assert results.read_curve(tmp_path / "ledger", rows[0]["run"])["epoch"] == [1]
    before = files(tmp_path / "ledger")
    run(tmp_path, profile)
    assert files(tmp_path / "ledger") == before


@pytest.mark.parametrize("member", [MEMBERS[0], WILD], ids=["finished", "diverged"])
def test_what_is_trained_is_kept_until_its_row_is_written(tmp_path, monkeypatch, member):
    """However rare checkpoints are, there is one at the end."""
    profile = replace(TINY, members=(member,), ensemble_size=1, checkpoint_seconds=3600.0)
    epochs = count_epochs(monkeypatch)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "add_row", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, profile)
    trained = dict(epochs)
    assert checkpoint_epochs(tmp_path) == [trained[1]]
    rows = run(tmp_path, profile)
    assert epochs == trained
    assert [row["epochs"] for row in rows] == [trained[1]]


# Arguments, and the command line


@pytest.mark.parametrize("name", ["workers", "threads"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_a_bad_number_of_workers_or_threads_is_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1"):
        run(tmp_path, **{name: value})
    assert files(tmp_path) == {}


def test_the_command_refuses_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit) as caught:
        sweep.main(["nonsense"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    for name in ("nonsense", *PROFILES):
        assert name in message


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command line on a small profile that is called "quick"."""
    small = replace(
        TINY,
        name="quick",
        setting=replace(SETTING, epochs=2),
        members=(MEMBERS[0], WILD),
        ensemble_size=1,
    )
    monkeypatch.setitem(PROFILES, "quick", small)
    folders = ["--folder", str(tmp_path / "ledger"), "--work", str(tmp_path / "work")]
    return lambda *more: sweep.main(["quick", "--device", "cpu", "--workers", "1", *folders, *more])


def test_the_command_runs_says_what_diverged_and_counts_the_rows(command, tmp_path, capsys):
    for _ in range(2):  # the second time from the ledger
        assert command() == 0
        captured = capsys.readouterr()
        ledger = tmp_path / "ledger" / "ledger.csv"
        assert captured.out == f"2 of 2 runs are in {ledger}\n"
        assert "learned 1, seed 3: diverged in epoch 1" in captured.err
        assert "fixed 1, seed 0" not in captured.err
    assert len(results.read_ledger(tmp_path / "ledger")) == 2


def test_the_command_says_in_a_line_what_is_wrong(command, tmp_path, capsys):
    (tmp_path / "ledger").mkdir()
    path = tmp_path / "ledger" / "ledger.csv"
    path.write_text("half a li")
    assert command() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {path} is cut off")
    assert command("--threads", "0") == 1
    assert "error: threads must be an integer >= 1" in capsys.readouterr().err
    assert path.read_text() == "half a li"


def test_the_command_can_be_interrupted_and_repeated(command, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", interrupt)
        assert command() == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert command() == 0


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_is_allowed_for_a_while_and_for_all_products(allowed):
    def switches():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    def failing_training():
        assert switches() == ("high" if allowed else "highest", allowed)
        raise KeyError

    before = switches()
    with pytest.raises(KeyError), runs.tf32(allowed=allowed):
        failing_training()
    assert switches() == before
