"""The page of claims: verdicts from the outputs of executed chapters, and from nothing else."""

import csv
import hashlib
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from book.pipeline import claims
from book.pipeline.chapters import pages
from book.pipeline.layout import BuildError, Layout, UsageError
from tests.pipeline.conftest import REPOSITORY, Book
from vae_lib.claims import Claim, table

GOOD = Claim("It is so.", 0.5, high=1.0, unit="nats", settles=("first",))
BAD = Claim("It is not so.", 2.0, high=1.0, settles=("first",))


def executed(*found: Claim) -> nbformat.NotebookNode:
    """A notebook whose only cell shows a table of claims."""
    data = table(found)._repr_mimebundle_()
    output = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("…", outputs=[output])])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A book whose list has the claims "first", of 01_a, and "second", of 02_b."""
    (tmp_path / "book").mkdir()
    entry = {
        "kind": "experiment",
        "says": "Says.",
        "section": "sec-a",
        "tests": ["tests/test_a.py::test_a"],
    }
    listed = {
        "first": entry | {"title": "First", "chapter": "01_a"},
        "second": entry | {"title": "Second", "chapter": "02_b"},
    }
    (tmp_path / claims.SOURCE).write_text(yaml.safe_dump(listed))
    return Layout(tmp_path)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [((GOOD,), "reproduced"), ((GOOD, BAD), "partly"), ((BAD,), "not reproduced")],
)
def test_a_verdict_follows_from_the_evidence(layout, evidence, verdict):
    first, second = claims.poster_claims(layout, {"01_a": executed(*evidence)})
    assert first.verdict == verdict
    assert second.verdict == "not yet run"
    shown = claims.details(first)
    assert f"### First: {verdict}" in shown
    for claim in evidence:
        assert " | ".join(claim.cells) in shown
    held = len([claim for claim in evidence if claim.holds])
    assert f"| **{verdict}** | {{ref}}`sec-a` | {held} of {len(evidence)} |" in (
        claims.summary([first])
    )


def test_one_failure_refutes_a_theorem(layout):
    path = layout.root / claims.SOURCE
    path.write_text(path.read_text().replace("experiment", "theorem"))
    for evidence, verdict in (((GOOD, BAD), "not reproduced"), ((GOOD,), "reproduced")):
        first, _ = claims.poster_claims(layout, {"01_a": executed(*evidence)})
        assert first.verdict == verdict


def test_without_its_own_chapter_a_claim_is_not_yet_run(layout):
    other = Claim("Elsewhere.", 0.0, settles=("second",))
    _, second = claims.poster_claims(layout, {"01_a": executed(GOOD, other)})
    assert second.verdict == "not yet run"
    _, second = claims.poster_claims(
        layout, {"01_a": executed(GOOD, other), "02_b": executed(other)}
    )
    assert second.evidence == (other, other)


def test_a_chapter_without_evidence_and_evidence_without_a_claim_are_refused(layout):
    with pytest.raises(BuildError, match="02_b has no claim that settles 'second'"):
        claims.poster_claims(layout, {"02_b": executed(GOOD)})
    with pytest.raises(UsageError, match=r"01_a settles 'third', which book/claims\.yml does not"):
        claims.poster_claims(layout, {"01_a": executed(Claim("x", 0.0, settles=("third",)))})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must list claims by name"),
        ("first: {title: x}", "first must have exactly kind, title, says, section, chapter, tests"),
        (
            "first: {kind: theorem, title: x, says: x, section: x, chapter: x, tests: x}",
            "tests of first must be a list",
        ),
        (
            "first: {kind: theorem, title: '', says: x, section: x, chapter: x, tests: [x]}",
            "title of first must be a str",
        ),
        (
            "first: {kind: idea, title: x, says: x, section: x, chapter: x, tests: [x]}",
            "kind of first must be one of theorem, experiment, got 'idea'",
        ),
    ],
)
def test_a_list_that_is_not_as_it_should_be_is_refused(layout, text, message):
    (layout.root / claims.SOURCE).write_text(text)
    with pytest.raises(UsageError, match=message):
        claims.poster_claims(layout, {})


def test_a_page_shows_the_table_alone():
    notebook = executed(GOOD)
    claims.without_data(notebook)
    (output,) = notebook.cells[0].outputs
    assert list(output.data) == ["text/markdown"]
    assert claims.chapter_claims(notebook) == []


def test_the_tally_counts_claims_and_rows(layout):
    found = claims.poster_claims(layout, {"01_a": executed(GOOD, BAD)})
    rows = [
        claims.TableRow("mnist", "fixed 10", {"elbo": GOOD}, 2),
        claims.TableRow("mnist", "fixed 1", {}, 0),
    ]
    assert claims.tally(found, rows).splitlines()[2:] == [
        "| 2 claims of the poster | 0 | 1 | 0 | 1 |",
        "| 2 rows of its table | 1 | 0 | 0 | 1 |",
    ]


def test_the_rows_are_the_twenty_of_the_table_with_what_was_recorded():
    rows = claims.table_rows(Layout(REPOSITORY))
    assert len(rows) == 20
    assert {row.dataset for row in rows} == {"mnist", "celeba"}
    shown = claims.row_tables(rows)
    for row in rows:
        assert list(row.columns) in ([], ["elbo", "tuned_sigma_sq", "kl", "collapse_percent"])
        assert f"| {row.name.replace(' ', chr(160))} | " in shown
    for dataset, section in claims.ROW_SECTIONS.items():
        heading = f"### {claims.DATASETS[dataset]}\n\nSettled in {{ref}}`{section}`."
        assert heading in shown
    assert shown.count("✓") == sum(claim.holds for row in rows for claim in row.columns.values())


def test_criteria_and_lengths_are_those_of_code_and_ledgers(monkeypatch):
    from vae_lib import comparison

    said = claims.criteria()
    assert "at most 5% of the printed KL" in said
    assert f"within {comparison.COLLAPSE_TOLERANCE:g} percentage points" in said
    monkeypatch.setitem(comparison.RELATIVE_TOLERANCE, "elbo", 0.07)
    assert "at most 7% of the printed KL" in claims.criteria()
    lengths = claims.lengths(Layout(REPOSITORY))
    for dataset, name in claims.DATASETS.items():
        ledger = REPOSITORY / "book" / "recorded" / f"{dataset}-laptop" / "ledger.csv"
        with ledger.open(newline="") as file:
            rows = list(csv.DictReader(file))
        hours = sum(float(row["seconds"]) for row in rows) / 3600
        assert {row["ensemble"] for row in rows} == {"1"}
        assert f"those of {name} have {rows[0]['epochs']} epochs of" in lengths
        assert f"{int(rows[0]['images']):,} images, {hours:.1f} core hours" in lengths


def test_the_page_says_what_it_was_made_from():
    shown = claims.origin(Layout(REPOSITORY), {"01_ppca": executed(GOOD), "intro": executed()})
    assert "- Chapters: {doc}`01_ppca`. Each" in shown
    for name in ("mnist", "celeba"):
        ledger = REPOSITORY / "book" / "recorded" / f"{name}-laptop" / "ledger.csv"
        content = ledger.read_bytes()
        runs = content.count(b"\n") - 1
        digest = hashlib.sha256(content).hexdigest()[:16]
        assert (
            f"`book/recorded/{name}-laptop/ledger.csv`, {runs} runs, SHA-256 `{digest}…`" in shown
        )


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("first: {says: a: b}\n", "book/claims.yml cannot be read"),
        ("first: {kind: theorem}\n", "book/claims.yml: first must have exactly"),
    ],
)
def test_a_damaged_list_is_refused_before_any_chapter_is_executed(tiny: Book, listed, said):
    toc = (tiny.root / "_toc.yml").read_text()
    tiny.write(claims.SOURCE, listed)
    assert tiny.run("stale").stdout == "01_a\n"  # nothing is made of it without its page
    tiny.write("_toc.yml", f"{toc}- file: {claims.PAGE.removesuffix('.md')}\n")
    tiny.write(claims.PAGE, "# Claims\n")
    done = tiny.run("stale")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {said}" in done.stderr


def test_the_book_s_list_names_sections_chapters_and_tests_that_exist():
    """And for each claim its chapter has evidence in its source."""
    listed = yaml.safe_load((REPOSITORY / claims.SOURCE).read_text())
    sources = {path.stem: path.read_text() for path in pages(Layout(REPOSITORY))}
    for name, entry in listed.items():
        assert any(f"({entry['section']})=\n" in text for text in sources.values()), name
        assert re.search(rf"settles=\([^)]*\"{name}\"", sources[entry["chapter"]]), name
    for section in claims.ROW_SECTIONS.values():
        assert any(f"({section})=\n" in text for text in sources.values()), section
    for test in (
        test for entry in listed.values() for test in entry["tests"] + [*claims.ROW_TESTS]
    ):
        path, _, function = test.partition("::")
        assert f"def {function}(" in (REPOSITORY / path).read_text(), test
