"""Which runs are a row's, and which verdict their means earn."""

import pytest

from vae_lib import poster
from vae_lib.claims import VERDICTS
from vae_lib.comparison import (
    COLLAPSE_TOLERANCE,
    COLUMNS,
    Measured,
    is_table_run,
    judged,
    measured,
    over_seeds,
    row_verdict,
    twins,
)

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
# The printed values themselves.
EXACT = {
    "elbo": PRINTED.elbo[0],
    "tuned_sigma_sq": PRINTED.tuned_sigma_sq,
    "kl": PRINTED.kl[0],
    "collapse_percent": PRINTED.collapse_percent,
}


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


# 5 % of the ELBO, 20 % of tuned sigma_sq and KL; the printed ± are smaller in this row.
@pytest.mark.parametrize(
    ("column", "allowed"),
    [
        ("elbo", 0.05 * 1450.3),
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
    exact = {
        "elbo": -3697.3 - 493.0,
        "tuned_sigma_sq": row.tuned_sigma_sq,
        "kl": 368.7 + 94.0,
        "collapse_percent": row.collapse_percent,
    }
    assert all(claim.holds for claim in judged(row, of(exact)).values())


def test_a_verdict_counts_the_columns_that_agree():
    wrong = {"elbo": 0.0, "tuned_sigma_sq": 0.0, "kl": 0.0, "collapse_percent": 0.0}
    found = [
        row_verdict(PRINTED, of(EXACT)),
        row_verdict(PRINTED, of(wrong | {"kl": EXACT["kl"]})),
        row_verdict(PRINTED, of(wrong)),
        row_verdict(PRINTED, None),
    ]
    assert tuple(found) == VERDICTS


def test_a_run_with_another_setting_is_paired_with_its_twin():
    other_seed = PLAIN | {"seed": 1}
    rows = [other_seed, CENTRED, PLAIN, ANNEALED]
    assert twins(rows, "centred") == (CENTRED, PLAIN)
    assert twins(rows, "anneal_epochs") == (ANNEALED, PLAIN)
    assert twins([other_seed, CENTRED], "centred") is None
    assert twins([PLAIN], "centred") is None
    assert twins([CENTRED | {"status": "diverged in epoch 1"}, PLAIN], "centred") is None
    assert twins([CENTRED, PLAIN | {"epochs": 6}], "centred") is None
