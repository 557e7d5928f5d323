"""Verdicts follow from the measured value and the criterion, and from nothing else."""

import json
import math

import pytest
from IPython.core.formatters import DisplayFormatter

from vae_lib.claims import MIME, VERDICTS, Claim, from_json, table, verdict


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
        (Claim("x", 0.0, low=-1e-8, high=0.5), "−1e-08 to 0.5"),
    ],
)
def test_the_criterion_is_put_in_words(claim: Claim, words: str):
    assert claim.criterion == words


GOOD, BAD = Claim("good", 0.0, high=1.0), Claim("bad", 2.0, high=1.0)


@pytest.mark.parametrize(
    ("evidence", "place"), [([GOOD, GOOD], 0), ([GOOD, BAD], 1), ([BAD], 2), ([], 3)]
)
def test_a_verdict_counts_what_holds(evidence: list[Claim], place: int):
    assert verdict(evidence) == VERDICTS[place]


def test_a_notebook_gets_the_claims_as_markdown_and_as_data():
    """Through strict JSON, which has no infinities and no NaN."""
    claims = [
        Claim("A", 0.25, high=1.0, unit="nats", uncertainty=0.5, settles=("lemma-1", "lemma-2")),
        Claim("B", 3, low=3, high=3),
        Claim("C", math.nan, low=1.0),
    ]
    shown = table(claims)
    bundle, _ = DisplayFormatter().format(shown)
    assert bundle["text/markdown"] == str(shown)
    read = from_json(json.loads(json.dumps(bundle[MIME], allow_nan=False)))
    assert read[:2] == claims[:2]
    assert math.isnan(read[2].measured)
    assert not read[2].holds
    assert read[2].low == 1.0


def test_an_uncertainty_stands_behind_its_value():
    spread = Claim("A", 0.25, high=1.0, unit="nats", uncertainty=0.0512)
    assert spread.cells[1] == "0.25 ± 0.051 nats"


def test_the_table_has_a_row_and_a_verdict_for_each_claim():
    lines = str(table([Claim("A", 0.25, high=1.0, unit="nats"), Claim("B", 2.0, high=1.0)]))
    assert lines.splitlines()[2:] == [
        "| A | 0.25 nats | ≤ 1 | holds |",
        "| B | 2 | ≤ 1 | **does not hold** |",
    ]
