"""The page of claims and the tally of verdicts, from executed chapters and recorded ledgers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbformat import NotebookNode

from book.pipeline.chapters import read_yaml
from book.pipeline.layout import BuildError, Layout, UsageError

if TYPE_CHECKING:
    from vae_lib.claims import Claim

# vae_lib is imported where it is used: a book without a page of claims has no need of it.

PAGE = "book/08_claims.md"
SOURCE = "book/claims.yml"
SUMMARY = "<!-- the claims, in short -->"
ROWS = "<!-- the rows of the table -->"
DETAILS = "<!-- the claims and their evidence -->"
TALLY = "<!-- the tally of verdicts -->"
ORIGIN = "<!-- how this page was made -->"
CRITERIA = "<!-- what a row is judged by -->"
LENGTHS = "<!-- how long the recorded runs are -->"
FIELDS = {"kind": str, "title": str, "says": str, "section": str, "chapter": str, "tests": list}
KINDS = ("theorem", "experiment")
DATASETS = {"mnist": "MNIST", "celeba": "CelebA"}
ROW_SECTIONS = {"mnist": "sec-mnist-rows", "celeba": "sec-celeba-rows"}
# The tests behind the verdicts of the table's rows.
ROW_TESTS = (
    "tests/test_comparison.py::test_a_verdict_counts_the_columns_that_agree",
    "tests/test_comparison.py::test_a_column_agrees_up_to_its_tolerance",
    "tests/test_evaluation.py::test_the_two_identities_hold",
)


@dataclass(frozen=True)
class PosterClaim:
    """A claim of the poster with its evidence.

    Attributes:
        kind: one of ``KINDS``.
        title, says: Markdown.
        section: label of the section that settles it.
        tests: names of the tests behind it, as pytest takes them.
        evidence: what the executed chapters measured for it; empty where they were not executed.
    """

    kind: str
    title: str
    says: str
    section: str
    tests: tuple[str, ...]
    evidence: tuple[Claim, ...]

    @property
    def verdict(self) -> str:
        """One of ``claims.VERDICTS``; a theorem holds altogether, or not."""
        from vae_lib.claims import verdict

        found = verdict(self.evidence)
        return "not reproduced" if self.kind == "theorem" and found == "partly" else found


@dataclass(frozen=True)
class TableRow:
    """A row of the poster's table with what was recorded for it.

    Attributes:
        dataset: key of ``DATASETS``.
        name: for instance "fixed 10".
        columns: column -> the claim that the mean over the recorded runs is close to the printed
            value; empty where there are no runs.
        runs: how many.
    """

    dataset: str
    name: str
    columns: Mapping[str, Claim]
    runs: int

    @property
    def verdict(self) -> str:
        from vae_lib.comparison import verdict_of

        return verdict_of(self.columns)


def poster_claims(layout: Layout, notebooks: Mapping[str, NotebookNode]) -> list[PosterClaim]:
    """The claims that ``SOURCE`` lists, with the evidence in executed chapters.

    Raises:
        UsageError: an entry of the list is not as it should be, or a chapter settles a claim
            that is not listed.
        BuildError: an executed chapter has no evidence for a claim that it should settle.
    """
    entries = listed(layout)
    evidence: dict[str, list[Claim]] = {name: [] for name in entries}
    executed = set()
    for chapter, notebook in notebooks.items():
        found = chapter_claims(notebook)
        if found:
            executed.add(chapter)
        for claim in found:
            for name in claim.settles:
                if name not in evidence:
                    raise UsageError(f"{chapter} settles {name!r}, which {SOURCE} does not list")
                evidence[name].append(claim)
    for name, entry in entries.items():
        if entry["chapter"] in executed and not evidence[name]:
            raise BuildError(f"{entry['chapter']} has no claim that settles {name!r} of {SOURCE}")
    return [
        PosterClaim(
            kind=entry["kind"],
            title=entry["title"],
            says=entry["says"],
            section=entry["section"],
            tests=tuple(entry["tests"]),
            # Without its own chapter a claim is not settled, whatever another one says of it.
            evidence=tuple(evidence[name]) if entry["chapter"] in executed else (),
        )
        for name, entry in entries.items()
    ]


def chapter_claims(notebook: NotebookNode) -> list[Claim]:
    """The claims that an executed chapter has put among its outputs."""
    from vae_lib.claims import MIME, from_json

    return [
        claim
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
        for claim in from_json(output["data"][MIME])
    ]


def without_data(notebook: NotebookNode) -> None:
    """Take the claims' data out of a notebook that is rendered: pages show their table alone."""
    from vae_lib.claims import MIME

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(MIME, None)


def table_rows(layout: Layout) -> list[TableRow]:
    """The twenty rows of the poster's table against the ledgers of the long runs."""
    from vae_lib import comparison, poster, results

    found = []
    for dataset in DATASETS:
        recorded = comparison.measured(results.read_ledger(_ledger(layout, dataset)))
        for row in poster.rows(dataset):
            runs = recorded.get(row.name)
            judged = {} if runs is None else comparison.judged(row, runs)
            found.append(TableRow(dataset, row.name, judged, runs.runs if runs else 0))
    return found


def marks(layout: Layout, notebooks: Mapping[str, NotebookNode]) -> dict[str, str]:
    """What goes in the place of each mark, in Markdown."""
    claims, rows = poster_claims(layout, notebooks), table_rows(layout)
    return {
        SUMMARY: summary(claims),
        ROWS: row_tables(rows),
        DETAILS: "\n\n".join(map(details, claims)),
        TALLY: tally(claims, rows),
        ORIGIN: origin(layout, notebooks),
        CRITERIA: criteria(),
        LENGTHS: lengths(layout),
    }


def criteria() -> str:
    """When a column of a row is close, and what follows for the row, as the code has it."""
    from vae_lib.comparison import COLLAPSE_TOLERANCE, PARTLY, RELATIVE_TOLERANCE

    elbo, kl, tuned = (RELATIVE_TOLERANCE[name] for name in ("elbo", "kl", "tuned_sigma_sq"))
    return (
        f"the ELBO, without $J$, if the difference is at most {elbo:.0%} of the printed KL plus "
        "scaled error $ns/2\\sigma^2$, which is what a model has a say in, or the printed ±; "
        f"KL within {kl:.0%} or the printed ±; tuned $\\sigma^2$ within {tuned:.0%}; collapse "
        f"within {COLLAPSE_TOLERANCE:g} percentage points. If all four are close the row is "
        f"*reproduced*, with {PARTLY} or more *partly*, with fewer *not reproduced*."
    )


def lengths(layout: Layout) -> str:
    """How much the recorded runs saw of what the paper's did."""
    from vae_lib import results

    parts = []
    for dataset, name in DATASETS.items():
        found = results.read_ledger(_ledger(layout, dataset))
        if found:
            hours = sum(row["seconds"] / row["ensemble"] for row in found) / 3600
            epochs, images = (
                " or ".join(f"{value:,}" for value in sorted({row[column] for row in found}))
                for column in ("epochs", "images")
            )
            parts.append(
                f"those of {name} have {epochs} epochs of {images} images, "
                f"{hours:.1f} core hours in all"
            )
    return "; ".join(parts) or "there are none yet"


def origin(layout: Layout, notebooks: Mapping[str, NotebookNode]) -> str:
    """The chapters and the ledgers that the page is made from, as a box that is folded."""
    from vae_lib import results

    settling = {entry["chapter"] for entry in listed(layout).values()}
    chapters = [f"{{doc}}`{name}`" for name in sorted(settling & notebooks.keys())]
    lines = [f"- Chapters: {', '.join(chapters)}. Each ends with how it was made."]
    for dataset in DATASETS:
        path = _ledger(layout, dataset) / results.LEDGER
        if path.is_file():
            content = path.read_bytes()
            runs = len(results.parse_ledger(content, path))
            digest = hashlib.sha256(content).hexdigest()[:16]
            lines.append(f"- Ledger: `{layout.shown(path)}`, {runs} runs, SHA-256 `{digest}…`")
    return "\n".join([":::{dropdown} How this page was made", *lines, ":::"])


def tally(claims: Sequence[PosterClaim], rows: Sequence[TableRow]) -> str:
    """How many claims, and how many rows, have each verdict."""
    from vae_lib.claims import VERDICTS

    def counts(verdicts: Sequence[str]) -> list[object]:
        return [verdicts.count(verdict) for verdict in VERDICTS]

    return _table(
        ["", *VERDICTS],
        [
            [f"{len(claims)} claims of the poster", *counts([c.verdict for c in claims])],
            [f"{len(rows)} rows of its table", *counts([row.verdict for row in rows])],
        ],
    )


def summary(claims: Sequence[PosterClaim]) -> str:
    """A line for each claim."""
    return _table(
        ["The poster claims", "Verdict", "Settled in", "Evidence that holds"],
        [
            [
                claim.says,
                f"**{claim.verdict}**",
                f"{{ref}}`{claim.section}`",
                f"{sum(c.holds for c in claim.evidence)} of {len(claim.evidence)}",
            ]
            for claim in claims
        ],
    )


def details(claim: PosterClaim) -> str:
    """A section for a claim: what it says, each piece of evidence, and the tests."""
    tests = "\n".join(f"- `{test}`" for test in claim.tests)
    evidence = _table(
        ["Evidence", "Measured", "Criterion", ""], [list(c.cells) for c in claim.evidence]
    )
    parts = [
        f"### {claim.title}: {claim.verdict}",
        f"{claim.says} Settled in {{ref}}`{claim.section}`.",
        evidence if claim.evidence else "Its chapter has not been executed in this build.",
        f":::{{dropdown}} The tests behind it\n{tests}\n:::",
    ]
    return "\n\n".join(parts)


def row_tables(rows: Sequence[TableRow]) -> str:
    """A table for each data set: recorded against printed, column by column."""
    parts = []
    for dataset, name in DATASETS.items():
        chosen = [row for row in rows if row.dataset == dataset]
        headings = [claim.statement for claim in _columns(chosen)]
        lines = [
            [
                row.name.replace(" ", "\u00a0"),
                f"**{row.verdict}**",
                *(_cell(claim) for claim in row.columns.values()),
                *([""] * len(headings) if not row.columns else []),
                row.runs,
            ]
            for row in chosen
        ]
        table = _table(["Row", "Verdict", *headings, "Runs"], lines)
        section = f"Settled in {{ref}}`{ROW_SECTIONS[dataset]}`."
        parts += [f"### {name}", section, f":::{{div}} dense\n\n{table}\n\n:::"]
    tests = "\n".join(f"- `{test}`" for test in ROW_TESTS)
    return "\n\n".join([*parts, f":::{{dropdown}} The tests behind these verdicts\n{tests}\n:::"])


def filled(text: str, fillings: Mapping[str, str]) -> str:
    """The text with everything in the place of its mark."""
    for mark, content in fillings.items():
        text = text.replace(mark, content)
    return text


def _ledger(layout: Layout, dataset: str) -> Path:
    """The folder of a data set's recorded runs."""
    from vae_lib.comparison import recorded_folder

    return recorded_folder(dataset, layout.book / "recorded")


def listed(layout: Layout) -> dict[str, dict[str, Any]]:
    """The claims of ``SOURCE`` by name, with their fields.

    Raises:
        UsageError: it cannot be read, or an entry is not as it should be.
    """
    entries = read_yaml(layout, layout.root / SOURCE)
    if not isinstance(entries, dict) or not entries:
        raise UsageError(f"{SOURCE} must list claims by name")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.keys() != FIELDS.keys():
            raise UsageError(f"{SOURCE}: {name} must have exactly {', '.join(FIELDS)}")
        for field, kind in FIELDS.items():
            if not isinstance(entry[field], kind) or not entry[field]:
                raise UsageError(f"{SOURCE}: {field} of {name} must be a {kind.__name__}")
        if entry["kind"] not in KINDS:
            raise UsageError(
                f"{SOURCE}: kind of {name} must be one of {', '.join(KINDS)}, got {entry['kind']!r}"
            )
    return entries


def _columns(rows: Sequence[TableRow]) -> list[Claim]:
    return next((list(row.columns.values()) for row in rows if row.columns), [])


def _cell(claim: Claim) -> str:
    """A recorded value with its spread, and a sign whether it is close to the printed one."""
    digits = 3 if not claim.unit else 1 if abs(claim.measured) < 1000 else 0
    spread = "" if claim.uncertainty is None else f" ± {claim.uncertainty:,.{digits}f}"
    text = f"{claim.measured:,.{digits}f}{spread} {'✓' if claim.holds else '✗'}"
    return text.replace("-", "−").replace(" ", "\u00a0")


def _table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
