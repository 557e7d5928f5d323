"""The ledger of a sweep: one row of a tidy CSV for each finished run, and its curves beside it.

    folder/ledger.csv           one row a run: configuration, measures, provenance
    folder/curves/<run>.csv     its training curve
    folder/latents/<run>.csv    what is known of each of its latents

Floats are written with all their digits, so that reading gives back the same number.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vae_lib.files import locked, write_whole

Value = str | int | float | bool
Row = dict[str, Value]

# Column and type, in order. A run that diverged has nan for its measures,
# and no active units.
COLUMNS: dict[str, type] = {
    "run": str,
    "dataset": str,
    "row": str,
    "learned": bool,
    "sigma_sq_init": float,
    "seed": int,
    "learning_rate": float,
    "beta": float,
    "anneal_epochs": float,
    "centred": bool,
    "hidden": str,
    "latent_dim": int,
    "batch_size": int,
    "images": int,
    "alpha": float,
    "epochs": int,
    "steps": int,
    "status": str,
    "elbo": float,
    "elbo_se": float,
    "tuned_elbo": float,
    "sigma_sq": float,
    "tuned_sigma_sq": float,
    "kl": float,
    "log_abs_det": float,
    "collapse_percent": float,
    "active_units": int,
    "iwae": float,
    "iwae_elbo": float,
    "iwae_samples": int,
    "iwae_images": int,
    "seconds": float,
    "ensemble": int,
    "device": str,
    "threads": int,
    "precision": str,
    "versions": str,
    "commit": str,
    "sha256": str,  # of the other cells: an edited row does not pass for a measured one
}
CURVE_COLUMNS = ("epoch", "elbo", "kl", "mse", "sigma_sq", "kl_weight", "collapse", "active")
LATENT_COLUMNS = ("kl", "mean_variance", "collapse_epsilon")
LEDGER = "ledger.csv"


class LedgerError(RuntimeError):
    """A ledger, or a file beside it, is damaged. The message names the file and the line."""


def read_ledger(folder: Path) -> list[Row]:
    """The rows of the ledger in ``folder``, in the order in which they were written.

    No ledger is an empty one.

    Raises:
        LedgerError: the file is cut off, edited, or has other columns.
    """
    path = folder / LEDGER
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return parse_ledger(content, path)


def parse_ledger(content: bytes, path: Path) -> list[Row]:
    """The rows in ``content``; ``path`` is for messages."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LedgerError(f"{path} is not text: {error}") from None
    if not text.endswith("\n"):
        raise LedgerError(f"{path} is cut off: its last line has no end")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise LedgerError(f"{path} is no table: {error}") from None
    if lines[0] != list(COLUMNS):
        different = sorted(set(lines[0]) ^ set(COLUMNS)) or ["their order"]
        raise LedgerError(f"{path} has other columns than this version's: {different}")
    rows, seen = [], set()
    for number, cells in enumerate(lines[1:], start=2):
        row = _parse_row(cells, f"{path}, line {number}")
        if row["run"] in seen:
            raise LedgerError(f"{path}, line {number}: the run {row['run']} is there twice")
        seen.add(row["run"])
        rows.append(row)
    return rows


def add_row(
    folder: Path,
    row: Row,
    *,
    curve: Sequence[Sequence[float]],
    latents: Sequence[Sequence[float]],
) -> None:
    """Write the curves of a finished run, then its row; a run that is there already stays.

    The row comes last, and the ledger is replaced as a whole, so that what it names is complete
    at any moment. A lock keeps other processes from writing in between.

    Raises:
        LedgerError: the ledger is damaged; it is left as it is.
        ValueError: the row has other columns than ``COLUMNS``.
    """
    row = {**row, "sha256": ""}
    if row.keys() != COLUMNS.keys():
        different = sorted(row.keys() ^ COLUMNS.keys())
        raise ValueError(f"row must have the ledger's columns; these differ: {different}")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{LEDGER}.lock"):
        rows = read_ledger(folder)
        if any(known["run"] == row["run"] for known in rows):
            return
        name = f"{row['run']}.csv"
        _write_csv(folder / "curves" / name, CURVE_COLUMNS, curve)
        _write_csv(folder / "latents" / name, LATENT_COLUMNS, latents)
        cells = [_cells(known) for known in [*rows, row]]
        _write_csv(folder / LEDGER, tuple(COLUMNS), cells)


def read_curve(folder: Path, run: str) -> dict[str, list[float]]:
    """The training curve of ``run``: column -> values, see ``CURVE_COLUMNS``.

    Raises:
        LedgerError: the file is missing, cut off in mid-line, or no table of numbers.
    """
    return _read_numbers(folder / "curves" / f"{run}.csv", CURVE_COLUMNS)


def read_latents(folder: Path, run: str) -> dict[str, list[float]]:
    """What is known of each latent of ``run``: column -> values, see ``LATENT_COLUMNS``.

    Raises:
        LedgerError: the file is missing, cut off in mid-line, or no table of numbers.
    """
    return _read_numbers(folder / "latents" / f"{run}.csv", LATENT_COLUMNS)


def _parse_row(cells: Sequence[str], where: str) -> Row:
    if len(cells) != len(COLUMNS):
        raise LedgerError(f"{where}: {len(cells)} cells, where there must be {len(COLUMNS)}")
    row: Row = {}
    for (column, kind), cell in zip(COLUMNS.items(), cells, strict=True):
        try:
            row[column] = {"True": True, "False": False}[cell] if kind is bool else kind(cell)
        except (KeyError, ValueError):
            raise LedgerError(
                f"{where}: {column} must be of type {kind.__name__}, got {cell!r}"
            ) from None
    if _cells(row) != list(cells):
        raise LedgerError(f"{where}: the row was edited, its checksum does not fit")
    return row


def _cells(row: Mapping[str, Value]) -> list[str]:
    """A row as text, with its checksum."""
    cells = [str(kind(row[name])) for name, kind in COLUMNS.items() if name != "sha256"]
    return [*cells, hashlib.sha256("\n".join(cells).encode()).hexdigest()]


def _write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _read_numbers(path: Path, columns: Sequence[str]) -> dict[str, list[float]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} cannot be read: {error}") from None
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise LedgerError(f"{path} is no table: {error}") from None
    if not text.endswith("\n") or lines[0] != list(columns):
        raise LedgerError(f"{path} is cut off, or has other columns than {list(columns)}")
    try:
        rows = [[float(cell) for cell in cells] for cells in lines[1:]]
        values = zip(*rows, strict=True) if rows else [()] * len(columns)
        return {name: list(column) for name, column in zip(columns, values, strict=True)}
    except ValueError as error:
        raise LedgerError(f"{path} is damaged: {error}") from None
