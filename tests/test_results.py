"""The ledger: what goes in comes out, damage is noticed, and no process loses another's rows."""

import csv
import io
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vae_lib import results
from vae_lib.results import COLUMNS, CURVE_COLUMNS, LATENT_COLUMNS, LedgerError
from vae_lib.rows import identity, identity_errors

REPOSITORY = Path(__file__).resolve().parents[1]
# Floats without short decimals, of all sizes, and those that are no numbers.
FLOATS = [0.1, 1 / 3, math.pi * 1e-300, 5e-324, -1.7976931348623157e308, -0.0, math.inf, math.nan]


def make_row(run: str, number: float = 0.1) -> results.Row:
    """Text has a comma, a quote, a line end and an umlaut."""
    values = {str: 'a "b", ü\nc', int: -7, float: number, bool: True}
    row = {name: values[kind] for name, kind in COLUMNS.items() if name != "sha256"}
    return row | {"run": run}


def add(folder: Path, run: str, number: float = 0.1) -> None:
    curve = [[float(epoch), *FLOATS[:7]] for epoch in range(3)]
    latents = [[number, 1 / 3, -math.inf]] * 2
    results.add_row(folder, make_row(run, number), curve=curve, latents=latents)


def as_text(row: results.Row) -> dict[str, str]:
    """What tells -0.0 from 0.0, and nan from nothing."""
    return {name: repr(value) for name, value in row.items() if name != "sha256"}


def files(folder: Path) -> dict[str, bytes]:
    """All but the empty file of the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_no_ledger_is_an_empty_one(tmp_path):
    assert results.read_ledger(tmp_path) == []
    assert results.read_ledger(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


def test_rows_come_back_to_the_bit_and_in_order(tmp_path):
    folder = tmp_path / "new" / "folder"
    runs = [f"r{9 - place}" for place in range(len(FLOATS))]
    for run, number in zip(runs, FLOATS, strict=True):
        add(folder, run, number)
    found = results.read_ledger(folder)
    assert [row["run"] for row in found] == runs
    for row, number in zip(found, FLOATS, strict=True):
        assert as_text(row) == as_text(make_row(row["run"], number))
        assert [type(value) for value in row.values()] == list(COLUMNS.values())
    names = {f"{kind}/{run}.csv" for kind in ("curves", "latents") for run in runs}
    assert files(folder).keys() == {"ledger.csv", *names}


def test_curves_and_latents_come_back_to_the_bit(tmp_path):
    add(tmp_path, "r1", math.nan)
    curve, latents = results.read_curve(tmp_path, "r1"), results.read_latents(tmp_path, "r1")
    assert tuple(curve) == CURVE_COLUMNS
    assert tuple(latents) == LATENT_COLUMNS
    assert curve["epoch"] == [0, 1, 2]
    for name, expected in zip(CURVE_COLUMNS[1:], FLOATS[:7], strict=True):
        assert list(map(repr, curve[name])) == [repr(expected)] * 3
    assert list(map(repr, latents["kl"])) == ["nan", "nan"]
    assert latents["collapse_epsilon"] == [-math.inf] * 2


def test_a_run_without_latents_has_none(tmp_path):
    results.add_row(tmp_path, make_row("r1"), curve=[], latents=[])
    assert results.read_latents(tmp_path, "r1") == {name: [] for name in LATENT_COLUMNS}
    assert results.read_curve(tmp_path, "r1") == {name: [] for name in CURVE_COLUMNS}


def test_a_run_that_is_there_stays_as_it_is(tmp_path):
    add(tmp_path, "r1", 0.1)
    before = files(tmp_path)
    add(tmp_path, "r1", 0.2)
    assert files(tmp_path) == before
    add(tmp_path, "r2", 0.2)
    assert [row["elbo"] for row in results.read_ledger(tmp_path)] == [0.1, 0.2]


@pytest.mark.parametrize(
    "change", [lambda row: row.pop("elbo"), lambda row: row.update(more=1.0)], ids=["less", "more"]
)
def test_a_row_with_other_columns_is_refused(tmp_path, change):
    row = make_row("r1")
    change(row)
    with pytest.raises(ValueError, match=r"^row must have the ledger's columns"):
        results.add_row(tmp_path, row, curve=[], latents=[])
    assert files(tmp_path) == {}


# Damage


@pytest.fixture
def ledger(tmp_path) -> Path:
    """A ledger of three rows in which each row is one line."""
    for run in ("r1", "r2", "r3"):
        row = make_row(run, 0.1234)
        row |= {name: "b, c" for name, kind in COLUMNS.items() if name in row and kind is str}
        row["run"] = run
        results.add_row(tmp_path, row, curve=[[1.0] * 8, [2.0] * 8], latents=[[0.5] * 3])
    path = tmp_path / "ledger.csv"
    assert len(path.read_text().splitlines()) == 4
    return path


def assert_refused(path: Path, content: bytes, message: str) -> None:
    """Reading and adding both fail, say where, and change nothing."""
    path.write_bytes(content)
    before = files(path.parent)
    for call in (
        lambda: results.read_ledger(path.parent),
        lambda: add(path.parent, "r9"),
        lambda: add(path.parent, "r1"),
    ):
        with pytest.raises(LedgerError, match=message) as caught:
            call()
        assert str(path) in str(caught.value)
        assert files(path.parent) == before


def test_a_ledger_cut_off_anywhere_but_at_the_end_of_a_line_is_refused(ledger):
    content = ledger.read_bytes()
    for length in range(len(content)):
        if length and content[length - 1 : length] == b"\n":
            continue
        with pytest.raises(LedgerError, match=r"ledger\.csv is cut off: its last line has no end"):
            results.parse_ledger(content[:length], ledger)
    assert_refused(ledger, content[:-40], "cut off: its last line has no end")
    assert_refused(ledger, b"", "cut off")


def test_an_edited_cell_is_refused_with_its_line(ledger):
    """Each cell of the second row, also where it stays a value of its type."""
    lines = list(csv.reader(io.StringIO(ledger.read_text())))
    other = {str: "z", int: "-8", float: "0.1235", bool: "False"}
    for place, kind in enumerate(COLUMNS.values()):
        changed = [list(line) for line in lines]
        changed[2][place] = other[kind]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(changed)
        ledger.write_text(text.getvalue())
        with pytest.raises(LedgerError, match=r"ledger\.csv, line 3: the row was edited"):
            results.read_ledger(ledger.parent)
    assert_refused(ledger, text.getvalue().encode(), "line 3: the row was edited")


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.1234", "0.12340"), ("0.1234", "0.12,34"), ("0.1234", ""), ("-7", "-7.0"), ("True", "1")],
)
def test_a_number_written_otherwise_is_refused_with_its_line(ledger, old, new):
    lines = ledger.read_text().split("\n")
    lines[3] = lines[3].replace(old, new, 1)
    assert_refused(ledger, "\n".join(lines).encode(), "line 4")


def test_other_columns_are_refused(ledger):
    content = ledger.read_text()
    for header, message in (
        (content.replace("elbo_se", "elbo_error", 1), r"other columns .*elbo_error.*elbo_se"),
        (content.replace("kl,log_abs_det", "log_abs_det,kl", 1), "other columns .*their order"),
        (content.replace("run,", "", 1), r"other columns .*'run'"),
        ("\ufeff" + content, "other columns"),
        ("\n" + content, "other columns"),
    ):
        assert_refused(ledger, header.encode(), message)


def test_a_run_that_is_there_twice_is_refused_with_its_line(ledger):
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert_refused(ledger, b"".join([*lines, lines[2]]), "line 5: the run r2 is there twice")


@pytest.mark.parametrize("extra", [b"\n", b"a,b\n", b",\n"], ids=repr)
def test_lines_that_are_no_rows_are_refused_with_their_number(ledger, extra):
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert_refused(ledger, b"".join([*lines[:2], extra, *lines[2:]]), r"line 3: \d+ cells")


def test_what_is_not_text_is_refused(ledger):
    assert_refused(ledger, ledger.read_bytes().replace(b"r2", b"\xff2"), "is not text")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"b, c"', b'"b, c'), (b'"b, c"', b'"b, c"d'), (b"r3", b"r" * 200_000)],
    ids=["an open quote", "text after a quote", "a field without end"],
)
def test_what_csv_cannot_read_is_refused(ledger, old, new):
    assert_refused(ledger, ledger.read_bytes().replace(old, new), r"ledger\.csv")


def test_a_lost_row_leaves_the_others(ledger):
    """A row that was deleted as a whole is one that has not been run."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([lines[0], lines[1], lines[3]]))
    assert [row["run"] for row in results.read_ledger(ledger.parent)] == ["r1", "r3"]


@pytest.mark.parametrize(
    ("read", "kind"), [(results.read_curve, "curves"), (results.read_latents, "latents")]
)
def test_a_damaged_curve_is_refused_by_name(ledger, read, kind):
    folder, path = ledger.parent, ledger.parent / kind / "r1.csv"
    whole = path.read_bytes()
    header, first = whole.split(b"\n")[:2]
    for content in (
        b"",
        whole[:-1],
        whole[:-5],
        whole.replace(b"e", b"f", 1),
        header + b"\n" + first + b",1\n",
        header + b"\n" + first.replace(b"0", b"x") + b"\n",
        header + b"\n\n",
        whole + b"1.0\n",
        b"\xff" + whole,
    ):
        path.write_bytes(content)
        with pytest.raises(LedgerError) as caught:
            read(folder, "r1")
        assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(LedgerError, match=r"r1\.csv cannot be read"):
        read(folder, "r1")


# Processes

ADD_20 = """
import sys, time
from pathlib import Path
from tests.test_results import add
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / f"{name}.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
for number in range(20):
    add(folder, f"{name}{number}", number / 7)
"""


def test_two_processes_that_add_rows_at_once_lose_none(tmp_path):
    command = [sys.executable, "-c", ADD_20, str(tmp_path)]
    processes = [
        subprocess.Popen([*command, name], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    while not all((tmp_path / f"{name}.ready").exists() for name in "ab"):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.001)
    (tmp_path / "go").touch()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    rows = {row["run"]: row["elbo"] for row in results.read_ledger(tmp_path)}
    assert rows == {f"{name}{number}": number / 7 for name in "ab" for number in range(20)}
    for run in rows:
        assert results.read_curve(tmp_path, run)["epoch"] == [0, 1, 2]
        assert len(results.read_latents(tmp_path, run)["kl"]) == 2


# The identities


def test_the_identities_are_those_of_a_gaussian(tmp_path):
    """The reconstruction term of n dimensions with mean squared error s, by hand."""
    kl, sigma_sq, tuned, log_det, dim = 3.0, 0.5, 0.8, 100.0, 4
    values = {"kl": kl, "sigma_sq": sigma_sq, "tuned_sigma_sq": tuned, "log_abs_det": log_det}

    def log_normal(variance: float) -> float:
        """Of n errors whose mean square is ``tuned``."""
        return dim * (-0.5 * math.log(2 * math.pi * variance) - tuned / (2 * variance))

    expected = (-kl + log_normal(sigma_sq) + log_det, -kl + log_normal(tuned) + log_det)
    assert identity(**values, dim=dim) == pytest.approx(expected, rel=1e-14)
    row = make_row("r1") | values | {"elbo": expected[0], "tuned_elbo": expected[1] * 1.01}
    errors = identity_errors(row, dim)
    assert errors[0] <= 1e-14
    assert errors[1] == pytest.approx(0.01 / 1.01, rel=1e-10)
