"""Verdicts follow from the measured value and the criterion, and from nothing else."""

import math

import pytest

from vae_lib.claims import Claim, table


@pytest.mark.parametrize(
    ("measured", "holds"),
    [
        (1.0, True),
        (2.0, True),
        (0.999, False),
        (2.001, False),
        (math.nan, False),
        (math.inf, False),
    ],
)
def test_a_claim_holds_within_its_criterion_ends_included(measured: float, holds: bool):
    assert Claim("x", measured, low=1.0, high=2.0).holds is holds


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (Claim("x", 0.0, high=1e-9), "≤ 1e-09"),
        (Claim("x", 0.0, low=0.5), "≥ 0.5"),
        (Claim("x", 0.0, low=0.0, high=0.5), "0 to 0.5"),
        (Claim("x", 3, low=3, high=3), "= 3"),
    ],
)
def test_the_criterion_is_put_in_words(claim: Claim, words: str):
    assert claim.criterion == words


def test_the_table_has_a_row_and_a_verdict_for_each_claim():
    lines = str(table([Claim("A", 0.25, high=1.0, unit="nats"), Claim("B", 2.0, high=1.0)]))
    assert lines.splitlines()[2:] == [
        "| A | 0.25 nats | ≤ 1 | holds |",
        "| B | 2 | ≤ 1 | **does not hold** |",
    ]
