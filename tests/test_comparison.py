"""Which runs are a row's, and which verdict their means earn."""

import pytest

from vae_lib import experiments, poster
from vae_lib.claims import VERDICTS
from vae_lib.comparison import (
    COLLAPSE_TOLERANCE,
    COLUMNS,
    Measured,
    is_table_run,
    judged,
    measured,
    over_seeds,
    recorded_folder,
    row_verdict,
    twins,
)
from vae_lib.results import CURVE_COLUMNS, LATENT_COLUMNS, add_row, read_ledger

PRINTED = poster.rows("mnist")[0]  # fixed 10
PLAIN = {
    "dataset": "mnist",
    "row": "fixed 10",
    "seed": 0,
    "learning_rate": 1e-3,
    "hidden": "8",
    "images": 100,
    "epochs": 5,
    "beta": 1.0,
    "anneal_epochs": 0.0,
    "centred": False,
    "status": "finished",
    **dict.fromkeys(COLUMNS, 1.0),
}
ANNEALED = PLAIN | {"anneal_epochs": 10.0}
CENTRED = PLAIN | {"centred": True}


def exact(row: poster.PosterRow) -> dict[str, float]:
    """The printed values themselves, on images whose J is another by 100 nats."""
    return {
        "elbo": row.elbo[0] + 100.0,
        "tuned_sigma_sq": row.tuned_sigma_sq,
        "kl": row.kl[0],
        "log_abs_det": poster.table_log_abs_det(row.dataset) + 100.0,
        "collapse_percent": row.collapse_percent,
    }


EXACT = exact(PRINTED)


def of(values: dict[str, float]) -> Measured:
    return Measured(runs=1, mean=values, low=values, high=values)


def test_asides_and_diverged_runs_are_none_of_the_table():
    assert is_table_run(PLAIN)
    for other in (ANNEALED, CENTRED, PLAIN | {"beta": 2.0}, PLAIN | {"status": "diverged"}):
        assert not is_table_run(other)
        assert measured([other]) == {}


def test_a_row_is_averaged_over_its_runs():
    rows = [PLAIN | {"elbo": value, "seed": int(value)} for value in (1.0, 2.0, 6.0)]
    other = PLAIN | {"row": "fixed 1", "elbo": 50.0}
    found = measured([*rows, other, ANNEALED | {"elbo": 1000.0}])
    assert found.keys() == {"fixed 10", "fixed 1"}
    row = found["fixed 10"]
    assert (row.runs, row.mean["elbo"], row.low["elbo"], row.high["elbo"]) == (3, 3.0, 1.0, 6.0)
    assert found["fixed 1"].mean["elbo"] == 50.0


def test_a_statistic_is_taken_of_the_means_and_varies_over_whole_seeds():
    elbos = {("fixed 10", 0): 1.0, ("fixed 10", 1): 2.0, ("fixed 10", 2): 100.0}
    elbos |= {("fixed 1", 0): 4.0, ("fixed 1", 1): 9.0}
    rows = [PLAIN | {"row": row, "seed": seed, "elbo": e} for (row, seed), e in elbos.items()]

    def rise(table):
        return table["fixed 1"].mean["elbo"] - table["fixed 10"].mean["elbo"]

    # The third seed has one row only: it counts in that row's mean, and nowhere else.
    assert over_seeds(rows, rise) == {"measured": 6.5 - 103 / 3, "uncertainty": (7.0 - 3.0) / 2}
    assert over_seeds([*rows[:1], *rows[3:4]], rise) == {"measured": 3.0, "uncertainty": None}


# 5 % of KL plus n s / (2 sigma_sq), 20 % of tuned sigma_sq and KL; 4.2 nats are printed after the
# ± of this row's ELBO, and the others are smaller.
@pytest.mark.parametrize(
    ("column", "allowed"),
    [
        ("elbo", 0.05 * (28.8 + 784 / 2 * 1.797 / 10.0)),
        ("tuned_sigma_sq", 0.2 * 1.797),
        ("kl", 0.2 * 28.8),
        ("collapse_percent", COLLAPSE_TOLERANCE),
    ],
)
def test_a_column_agrees_up_to_its_tolerance(column, allowed):
    for sign in (-1, 1):
        near = EXACT | {column: EXACT[column] + sign * allowed * 0.999}
        assert all(claim.holds for claim in judged(PRINTED, of(near)).values())
        far = EXACT | {column: EXACT[column] + sign * allowed * 1.001}
        assert [name for name, c in judged(PRINTED, of(far)).items() if not c.holds] == [column]


def test_what_is_printed_after_the_sign_counts_where_it_is_larger():
    row = poster.rows("mnist")[2]  # fixed 0.1, -3697.3 ± 493.3 and KL 368.7 ± 94.6
    values = exact(row)
    near = values | {"elbo": values["elbo"] - 493.0, "kl": 368.7 + 94.0}
    assert all(claim.holds for claim in judged(row, of(near)).values())
    far = values | {"elbo": values["elbo"] - 494.0}
    assert not judged(row, of(far))["elbo"].holds


def test_a_constant_of_the_images_counts_for_nothing():
    """An ELBO that differs by J alone agrees, and one that J brings near does not."""
    assert judged(PRINTED, of(EXACT))["elbo"].holds
    other = EXACT | {"log_abs_det": EXACT["log_abs_det"] - 100.0}
    assert not judged(PRINTED, of(other))["elbo"].holds


def test_a_verdict_counts_the_columns_that_agree():
    wrong = dict.fromkeys(EXACT, 0.0) | {"log_abs_det": EXACT["log_abs_det"]}
    verdicts = [row_verdict(PRINTED, of(wrong))]
    for column in ("kl", "elbo", "collapse_percent", "tuned_sigma_sq"):
        wrong |= {column: EXACT[column]}
        verdicts.append(row_verdict(PRINTED, of(wrong)))
    reproduced, partly, not_reproduced, not_yet_run = VERDICTS
    assert verdicts == [not_reproduced, not_reproduced, partly, partly, reproduced]
    assert row_verdict(PRINTED, None) == not_yet_run


def test_the_paper_s_training_is_the_record_once_all_its_rows_are_there(tmp_path):
    rows = read_ledger(experiments.ledger_folder(experiments.PROFILES["laptop"]))
    plain = {row["row"]: row for row in rows if is_table_run(row)}
    paper, laptop = tmp_path / "mnist-paper", tmp_path / "mnist-laptop"
    assert recorded_folder("mnist", tmp_path) == laptop
    for count, row in enumerate(plain.values(), start=1):
        found = {name: value for name, value in row.items() if name != "sha256"}
        curve, latents = [[0.0] * len(CURVE_COLUMNS)], [[0.0] * len(LATENT_COLUMNS)]
        add_row(paper, found, curve=curve, latents=latents)
        assert recorded_folder("mnist", tmp_path) == (paper if count == 10 else laptop)
    with pytest.raises(ValueError, match="dataset must be one of"):
        recorded_folder("cifar", tmp_path)


def test_a_data_set_s_record_is_that_of_a_profile():
    for dataset in ("mnist", "celeba"):
        profile = experiments.recorded_profile(dataset)
        assert profile.setting.dataset == dataset
        assert len(measured(read_ledger(experiments.ledger_folder(profile)))) == 10


def test_a_run_with_another_setting_is_paired_with_its_twin():
    other_seed = PLAIN | {"seed": 1}
    rows = [other_seed, CENTRED, PLAIN, ANNEALED]
    assert twins(rows, "centred") == (CENTRED, PLAIN)
    assert twins(rows, "anneal_epochs") == (ANNEALED, PLAIN)
    assert twins([other_seed, CENTRED], "centred") is None
    assert twins([PLAIN], "centred") is None
    assert twins([CENTRED | {"status": "diverged in epoch 1"}, PLAIN], "centred") is None
    assert twins([CENTRED, PLAIN | {"epochs": 6}], "centred") is None
