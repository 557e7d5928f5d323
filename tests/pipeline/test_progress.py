"""Progress bars are told from warnings, and printed now and then."""

import io

import pytest
from tqdm import tqdm

from book.pipeline.progress import Reporter, unexpected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"desc": "fit"},
        {"desc": "fit: sigma_sq = 0.1", "unit": "epoch"},
        {"total": None},
        {"unit": "B", "unit_scale": True, "total": 3_000_000},
        {"ascii": True, "postfix": {"elbo": -1.5}},
        {"leave": False},
    ],
)
def test_bars_are_recognised(options: dict[str, object]) -> None:
    written = io.StringIO()
    total = options.pop("total", 4)
    for _ in tqdm(iter(range(4)), file=written, mininterval=0, total=total, **options):
        pass
    assert written.getvalue()
    assert unexpected(written.getvalue()) == []


@pytest.mark.parametrize(
    "text",
    [
        "cell.py:3: UserWarning: this is bad\n  warnings.warn('this is bad')\n",
        "100% of the runs failed",
        "see [1] | 3/4",
        "\x1b[31mERROR\x1b[0m",
    ],
)
def test_warnings_are_not_bars(text: str) -> None:
    assert unexpected(text)


def test_bars_are_printed_seldom_and_the_rest_always() -> None:
    printed = io.StringIO()
    reporter = Reporter("01_a", 3, printed)
    reporter.cell(1)
    reporter.write("\r 10%|#   | 1/10 [00:00<00:00, 3.00it/s]")
    reporter.write("a warning\n")
    reporter.interval = 0.0
    reporter.write("\r 20%|##  | 2/10 [00:00<00:00, 3.00it/s]")
    lines = printed.getvalue().splitlines()
    assert lines[:2] == ["[01_a] cell 1/3", "[01_a] a warning"]
    assert len(lines) == 3
    assert "20%" in lines[2]
