"""Parameters are declared in one place, and refused before anything runs."""

import re

import pytest

from book.pipeline import rerun
from book.pipeline.chapters import read_chapter
from book.pipeline.layout import UsageError
from book.pipeline.parameters import check_values, declared_parameters, split_pairs, table
from book.pipeline.profiles import load_profile, plan_run
from book.pipeline.stage import staged_files
from tests.pipeline.conftest import PARAMETERS, Book, code

SOURCE = """
sigma_sq: float = 1.0  # in (0, inf): the variance of the decoder
n: int = 10  # in [1, 784]: how many
rate: float = 0  # in [0, 1): a share
split: str = "test"  # in {train, test}: which images, # or not
sigmas: list[float] = [0.1, 1.0]  # in (0, inf): the variances compared
sizes: list[int] = [2]  # in [1, 9]: the sizes
fast: bool = True  # whether to be quick
side: int = 8  # in [1, 99] pixels: of a square
widths: list[int] = [2]  # in [1, 9]  units  per layer : of the encoder
"""


def test_declarations_are_read() -> None:
    declared = declared_parameters(SOURCE, "ch")
    assert {name: p.default for name, p in declared.items()} == {
        "sigma_sq": 1.0,
        "n": 10,
        "rate": 0.0,
        "split": "test",
        "sigmas": [0.1, 1.0],
        "sizes": [2],
        "fast": True,
        "side": 8,
        "widths": [2],
    }
    units = {"side": "pixels", "widths": "units per layer"}
    assert {name: p.unit for name, p in declared.items() if p.unit} == units
    assert declared["side"].allowed() == "a whole number in [1, 99] pixels"
    assert declared["widths"].allowed() == (
        "whole numbers in [1, 9] units per layer, separated by commas"
    )
    assert declared["widths"].meaning == "of the encoder"
    assert declared["split"].meaning == "which images, # or not"
    assert declared["sigma_sq"].range is not None


@pytest.mark.parametrize(
    "line",
    [
        "n = 10  # in [1, 9]: no type",
        "n: int  # in [1, 9]: no default",
        "n: int = 5",
        "n: int = 5  # how many",
        "n: int = 5  # in [1, 9]:",
        "n: int = 5  # in 1..9: a range of another language",
        "n: int = 5  # in [9, 1]: an empty range",
        "n: int = 5  # in [nan, 9]: no range",
        "n: int = 5  # in {4, 5}: a set",
        "n: int = 10  # in [1, 9]: a default outside",
        'n: int = "5"  # in [1, 9]: a default of another type',
        "n: int = True  # in [0, 9]: a default of another type",
        "n: int = 2 + 3  # in [1, 9]: no literal",
        "x: complex = 1j  # in [1, 9]: no such type",
        "xs: list[int] = []  # in [1, 9]: empty",
        "xs: list[int] = 3  # in [1, 9]: no list",
        "s: str = 'a'  # in (0, 1): letters",
        "s: str = 'a'  # in {a, b} letters: a unit",
        "n: int = 5  # in [1, 9] a unit of words: too long",
        "n: int = 5  # in [1, 9]images: no space",
        "fast: bool = True  #",
        "import os",
        "print('hello')  # in [1, 9]: a call",
        "# a comment alone",
        "n: int = (5  # in [1, 9]: unfinished",
    ],
)
def test_a_line_that_breaks_the_convention_is_named(line: str) -> None:
    with pytest.raises(UsageError) as error:
        declared_parameters("a: int = 1  # in [0, 1]: fine\n\n" + line, "ch")
    assert "ch, parameter cell, line 3" in str(error.value)
    assert line in str(error.value)


def test_a_name_is_declared_once() -> None:
    line = "a: int = 1  # in [0, 1]: fine\n"
    with pytest.raises(UsageError, match="twice"):
        declared_parameters(line * 2, "ch")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sigma_sq", "1e-3", 1e-3),
        ("sigma_sq", "2", 2.0),
        ("n", "784", 784),
        ("n", "+3", 3),
        ("rate", "0", 0.0),
        ("split", "train", "train"),
        ("sigmas", "0.1,1,10", [0.1, 1.0, 10.0]),
        ("sigmas", "0.1, 1", [0.1, 1.0]),
        ("sizes", "9", [9]),
        ("fast", "false", False),
    ],
)
def test_values_are_read(name: str, text: str, value: object) -> None:
    read = check_values("ch", declared_parameters(SOURCE, "ch"), [(name, text)])[name]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sigma_sq", "nan"),
        ("sigma_sq", "inf"),
        ("sigma_sq", "0"),
        ("sigma_sq", "-1"),
        ("sigma_sq", "one"),
        ("sigma_sq", ""),
        ("sigma_sq", "__import__('os')"),
        ("n", "1.5"),
        ("n", "true"),
        ("n", "0"),
        ("n", "785"),
        ("n", "1_0"),
        ("rate", "1"),
        ("split", "valid"),
        ("split", ""),
        ("sigmas", ""),
        ("sigmas", "1,,2"),
        ("sigmas", "1,0"),
        ("sigmas", "[1,2]"),
        ("sizes", "1.5,2"),
        ("fast", "1"),
        ("fast", "True"),
        ("side", "100"),
        ("widths", "10"),
    ],
)
def test_values_are_refused(name: str, text: str) -> None:
    declared = declared_parameters(SOURCE, "ch")
    with pytest.raises(UsageError) as error:
        check_values("ch", declared, [(name, text)])
    message = str(error.value)
    assert f"{name!r} cannot be {text!r}: it takes {declared[name].allowed()}" in message
    assert table(declared) in message


def test_unknown_and_repeated_names_are_refused() -> None:
    declared = declared_parameters(SOURCE, "ch")
    with pytest.raises(UsageError, match="no parameter 'sigma'"):
        check_values("ch", declared, [("sigma", "1")])
    with pytest.raises(UsageError, match="given twice"):
        check_values("ch", declared, [("n", "1"), ("n", "2")])
    with pytest.raises(UsageError, match="takes no parameters"):
        check_values("ch", {}, [("n", "1")])


def test_the_table_lists_everything() -> None:
    shown = table(declared_parameters(SOURCE, "ch"))
    for word in ("sigma_sq", "list[float]", "0.1,1.0", "[1, 784]", "{train, test}", "how many"):
        assert word in shown
    assert re.search(r"^  side +int +8 +\[1, 99\] +pixels +of a square$", shown, re.MULTILINE)
    assert re.search(r"^  n +int +10 +\[1, 784\] +– +how many$", shown, re.MULTILINE)


def test_pairs_are_split_as_a_shell_would_but_not_expanded() -> None:
    assert split_pairs("a=1 b='x y' c=$HOME d=`ls`") == [
        ("a", "1"),
        ("b", "x y"),
        ("c", "$HOME"),
        ("d", "`ls`"),
    ]
    assert split_pairs("") == []
    for wrong in ("a", "a=1 b", "a='1"):
        with pytest.raises(UsageError, match="PARAMS"):
            split_pairs(wrong)


def test_a_profile_is_checked_like_the_command_line(tiny: Book) -> None:
    tiny.write("book/params/quick.yml", "01_a: {sigma_sq: 1e-1, seed: 3}\n")
    assert plan_run(tiny.layout, "01_a", "quick").values == {"sigma_sq": 0.1, "seed": 3}
    typed = plan_run(tiny.layout, "01_a", "quick", [("seed", "4")])
    assert typed.values == {"sigma_sq": 0.1, "seed": 4}
    for wrong in (
        "seed: 1.5",
        "seed: true",
        "seed: 100",
        "sigma_sq: [1, 2]",
        "sigma_sq:",
        "other: 1",
    ):
        tiny.write("book/params/quick.yml", f"01_a: {{{wrong}}}\n")
        with pytest.raises(UsageError, match=r"profile 'quick': 01_a: .*(seed|sigma_sq|other)"):
            plan_run(tiny.layout, "01_a", "quick")


def test_a_profile_names_chapters_that_exist(tiny: Book) -> None:
    tiny.write("book/params/quick.yml", "02_b: {seed: 1}\n")
    with pytest.raises(UsageError, match="02_b"):
        load_profile(tiny.layout, "quick")
    with pytest.raises(UsageError, match="PROFILE can be quick"):
        load_profile(tiny.layout, "../quick")


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("01_a", "sigma_sq=-1", "'sigma_sq' cannot be '-1'"),
        ("01_a", "nope=1", "no parameter 'nope'"),
        ("01_a", "seed", "has no '='"),
        ("02_b", "", "no chapter '02_b'"),
        ("", "", "no chapter was named"),
        ("intro", "", "no chapter 'intro'"),
    ],
)
def test_a_wrong_request_runs_nothing(tiny: Book, name: str, params: str, said: str) -> None:
    done = tiny.run("chapter", NAME=name, PARAMS=params)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "01_a" in done.stderr or "PARAMS" in done.stderr
    assert not tiny.layout.build.exists()


def test_a_book_takes_no_params(tiny: Book) -> None:
    done = tiny.run("stale", PARAMS="seed=1")
    assert done.returncode == 2
    assert "make chapter" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("book/params/quick.yml", "a: [", "book/params/quick.yml cannot be read"),
        ("book/params/quick.yml", "[1]", "must map chapters to values"),
        ("book/params/quick.yml", "01_a: 3", "01_a must map parameters to values"),
        ("_toc.yml", "a: [", "_toc.yml cannot be read"),
        ("_toc.yml", "root: book/none", "pages that do not exist: book/none.md"),
        ("book/01_a.md", "```{code-cell}\n:tags: [a\n\n1\n```\n", "01_a.md: Code cell 0 at line 1"),
    ],
)
def test_a_broken_file_is_named(tiny: Book, name: str, text: str, said: str) -> None:
    tiny.write(name, text)
    done = tiny.run("stale")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "text"),
    [
        *(("chapter", text) for text in ("-1", "1.5", "1e3", "100000", "9" * 5000, " 5", "\u0665")),
        ("stale", "0"),
        ("execute 01_a", "0"),
    ],
)
def test_a_time_that_is_none_is_refused(tiny: Book, command: str, text: str) -> None:
    done = tiny.run(*command.split(), NAME="01_a", CELL_MINUTES=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"CELL_MINUTES must be a whole number from 1 to 99999, got {text!r}" in done.stderr
    assert tiny.executed() == []


def test_help_lists_what_a_chapter_takes_and_runs_nothing(tiny: Book) -> None:
    done = tiny.run("chapter", NAME="01_a", HELP="1", PARAMS="nonsense=1")
    assert done.returncode == 0, done.stderr
    assert "sigma_sq  float  1.0" in done.stdout
    assert "[0, 99]   –     the seed" in done.stdout
    assert tiny.executed() == []
    unknown = tiny.run("chapter", NAME="nothing", HELP="1")
    assert unknown.returncode == 2
    tiny.chapter(code("print(1)"))
    assert "takes no parameters" in tiny.run("chapter", NAME="01_a", HELP="1").stdout


def test_a_page_has_the_parameters_of_every_chapter(tiny: Book) -> None:
    tiny.write("book/rerun.md", f"# Again\n\n{rerun.MARK}\n")
    tiny.chapter(code(f"{PARAMETERS}n: int = 3  # in [1, 9] a|b c: those used", "parameters"))
    notebooks = {"01_a": read_chapter(tiny.root / "book" / "01_a.md")}
    toc = tiny.root / "_toc.yml"
    toc.write_text(toc.read_text() + "- file: book/rerun\n")
    text = staged_files(tiny.layout, notebooks)[rerun.PAGE].decode()
    assert "| `sigma_sq` | float | `1.0` | (0, inf) | – | the variance |" in text
    assert "| `seed` | int | `0` | [0, 99] | – | the seed |" in text
    assert r"| `n` | int | `3` | [1, 9] | a\|b c | those used |" in text
    assert rerun.MARK not in text
    assert "## A chapter\n\n{doc}`Read it <01_a>`; `NAME=01_a`" in text


def test_a_page_that_lost_its_mark_is_refused(tiny: Book) -> None:
    with pytest.raises(UsageError, match="must have the line"):
        rerun.with_tables("# Again", tiny.layout)
