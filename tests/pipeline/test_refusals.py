"""Random requests: the wrong ones are refused before anything runs, the right ones arrive.

The parameters are those of the real chapters. Each wrong request has one fault among values that
are right, so it is known what the message must name.
"""

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

import book.pipeline.cache
import book.pipeline.execute
import book.pipeline.profiles
import book.pipeline.reexecutions
import book.pipeline.render
from book.pipeline.__main__ import main
from book.pipeline.chapters import chapters, parameter_source, read_chapter
from book.pipeline.layout import Layout, UsageError
from book.pipeline.parameters import Choices, Interval, Parameter, as_text, split_pairs
from book.pipeline.parameters import declared_parameters as read_declared
from book.pipeline.profiles import Run, plan_run
from tests.pipeline.conftest import REPOSITORY, TYPED

LAYOUT = Layout(REPOSITORY)
# What Hypothesis keeps for itself goes where everything that is built goes.
set_hypothesis_home_dir(REPOSITORY / "_build" / "hypothesis")
# The same requests every time: a build must not fail by chance.
REPEATABLE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates and NUL too
# No number in any notation that is meant, and no word that a chapter lists.
NEVER = (
    *("", " ", ",", "nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e999", "9" * 5000),
    *("0x10", "0b1", "1_0", "1e", "e5", ".", "1.2.3", "--1", "+-1", "1 2", "1e5e5", "1/2", "2**3"),
    *(
        "\u0661\u0662",
        "\uff15\uff10",
        "\u0967",
        "\u00bd",
        "\u00b2",
        "\u22121",
        "1\u00a0",
        "\u20071",
    ),
    *("1\n", "\n1", "1\t", "1\r", "1\x00", "\x001", "1\udcff", "\ud800", "1\u2028"),
    *("None", "True", "[1]", "(1,)", "1,", ",1", "1,,2", "__import__('os')", "'1'", '"1"'),
    *(
        "1;ls",
        "$(id)",
        "`id`",
        "${HOME}",
        "1&&id",
        "1|id",
        ">x",
        "*",
        "~",
        "!!",
        "1#",
        "../..",
        "\\",
    ),
)
SUFFIXES = (
    "\n",
    "\t",
    "\r",
    "\x0b",
    "\x00",
    "\u00a0",
    "_",
    ";",
    "&",
    "|",
    "$(id)",
    "`id`",
    "#",
    "%",
)
OTHER_DIGITS = {ord("0") + i: chr(0x0660 + i) for i in range(10)}
FULL_WIDTH = {code: chr(code + 0xFEE0) for code in range(ord("!"), ord("~") + 1)}


read_once, list_once = cache(read_chapter), cache(chapters)


@cache
def declared() -> dict[str, dict[str, Parameter]]:
    """The parameters of every chapter that takes any."""
    found = {
        name: read_declared(parameter_source(read_once(source), name), name)
        for name, source in chapters(LAYOUT).items()
    }
    return {name: parameters for name, parameters in found.items() if parameters}


def a_scalar(p: Parameter) -> st.SearchStrategy[Any]:
    """A value that the parameter, or one element of it, may have."""
    if p.range is None:
        return st.booleans()
    if isinstance(p.range, Choices):
        return st.sampled_from(p.range.words)
    if p.element == "int":
        low, high = int(p.range.low), int(p.range.high)
        return st.integers(low, high).filter(lambda value: value in p.range)
    return st.floats(
        p.range.low,
        p.range.high,
        exclude_min=not p.range.closed_low,
        exclude_max=not p.range.closed_high,
    )


def a_value(p: Parameter) -> st.SearchStrategy[Any]:
    return st.lists(a_scalar(p), min_size=1, max_size=4) if p.is_list else a_scalar(p)


def outside(p: Parameter) -> st.SearchStrategy[str]:
    """A number on the wrong side of an end of the range, or an end that does not belong to it."""
    assert isinstance(p.range, Interval)
    low, high = p.range.low, p.range.high
    if p.element == "int":
        numbers = st.integers(max_value=int(low) - 1) | st.integers(min_value=int(high) + 1)
        return numbers.map(str)
    numbers = st.floats(max_value=low, exclude_max=p.range.closed_low, allow_infinity=False)
    numbers |= st.floats(min_value=high, exclude_min=p.range.closed_high, allow_infinity=False)
    return numbers.map(str)


def a_wrong_text(p: Parameter) -> st.SearchStrategy[str]:
    """What the parameter must not be given."""
    good = a_value(p).map(as_text)
    kinds = [
        st.sampled_from(NEVER),
        st.tuples(good, st.sampled_from(SUFFIXES)).map("".join),
        st.tuples(st.sampled_from(SUFFIXES), good).map("".join),
        good.map(lambda text: text.translate(FULL_WIDTH)),
        good.map(lambda text: text[:1] + "_" + text[1:]),
        ANY_TEXT.filter(lambda text: not set(text) <= set("0123456789+-.eE, ")).filter(
            lambda text: not isinstance(p.range, Choices) or text.strip(" ") not in p.range.words
        ),
    ]
    if isinstance(p.range, Interval):
        kinds.append(good.map(lambda text: text.translate(OTHER_DIGITS)))
        kinds.append(outside(p))
        if p.is_list:
            kinds.append(st.tuples(good, outside(p)).map(",".join))
        if p.element == "int":
            kinds.append(st.floats().map(str))
            kinds.append(st.integers(0, 99).map(lambda number: f"{number}.0"))
    return st.one_of(kinds)


def typed(name: str, text: str) -> str:
    return shlex.quote(f"{name}={text}")


@st.composite
def right_requests(draw: st.DrawFn) -> tuple[str, dict[str, Any], str]:
    """A chapter, values that it takes, and how they are typed."""
    chapter = draw(st.sampled_from(sorted(declared())))
    parameters = declared()[chapter]
    names = draw(st.lists(st.sampled_from(sorted(parameters)), unique=True))
    values = {name: draw(a_value(parameters[name])) for name in names}
    pad = draw(st.sampled_from(["", " "]))
    return chapter, values, " ".join(typed(n, pad + as_text(v)) for n, v in values.items())


@st.composite
def wrong_requests(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A chapter, what is typed for it, and what the refusal must quote."""
    chapter = draw(st.sampled_from(sorted(declared())))
    parameters = declared()[chapter]
    name = draw(st.sampled_from(sorted(parameters)))
    others = draw(st.lists(st.sampled_from(sorted(set(parameters) - {name})), unique=True))
    words = [typed(other, as_text(draw(a_value(parameters[other])))) for other in others]
    fault = draw(st.sampled_from(["name", "value", "value", "value", "twice", "word", "quote"]))
    place = draw(st.integers(0, len(words)))
    if fault == "name":
        unknown = draw(
            st.sampled_from(
                [name.upper(), name + " ", name + "_", f"{name},", "\uff53eed", "", "-n"]
            )
            | ANY_TEXT.map(lambda text: text.replace("=", ""))
        )
        if unknown in parameters:
            unknown += "_"
        return chapter, _joined(words, place, typed(unknown, draw(ANY_TEXT))), [repr(unknown)]
    if fault == "value":
        text = draw(a_wrong_text(parameters[name]))
        return chapter, _joined(words, place, typed(name, text)), [repr(name), repr(text)]
    if fault == "twice":
        first, second = (typed(name, as_text(draw(a_value(parameters[name])))) for _ in range(2))
        return chapter, f"{_joined(words, place, first)} {second}", [repr(name), "twice"]
    if fault == "word":
        word = draw(st.sampled_from([name, "", "--help", ";"]) | ANY_TEXT).replace("=", "")
        return chapter, _joined(words, place, shlex.quote(word)), [repr(word)]
    unfinished = draw(st.sampled_from(["'", '"', f"{name}='1", f'{name}="1', f"{name}=1\\"]))
    text = " ".join([*words, unfinished])
    return chapter, text, [repr(text)]


def _joined(words: list[str], place: int, word: str) -> str:
    return " ".join([*words[:place], word, *words[place:]])


@contextmanager
def nothing_runs(arrived: list[Run] | None = None) -> Iterator[None]:
    """Whatever would run something fails the test, or notes the run that arrived there."""

    def run_it(layout: Layout, run: Run, *rest: Any, **options: Any) -> Path:
        assert arrived is not None, f"{run.values} got as far as being run"
        arrived.append(run)
        return REPOSITORY / "page.html"

    def no_process(*arguments: Any, **options: Any) -> None:
        pytest.fail("a process was started")

    with pytest.MonkeyPatch.context() as patch:
        for module in (book.pipeline.execute, book.pipeline.render):
            patch.setattr(module, "execute", run_it)
        patch.setattr(book.pipeline.render, "render_chapter", run_it)
        patch.setattr(book.pipeline.reexecutions, "write_index", lambda layout: layout.root / "x")
        # It "is there", so no data are fetched.
        patch.setattr(book.pipeline.cache, "cached_path", lambda layout, run: Path(__file__))
        patch.setattr(subprocess, "Popen", no_process)
        # Sources are read once, not a thousand times.
        patch.setattr(book.pipeline.profiles, "read_chapter", read_once)
        patch.setattr(book.pipeline.profiles, "chapters", list_once)
        yield


def command(chapter: str, text: str) -> tuple[int, str, str]:
    """``make chapter`` from where make hands over: exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for variable in TYPED:
            patch.delenv(variable, raising=False)
        patch.setenv("NAME", chapter)
        patch.setenv("PARAMS", text)
        status = main(["chapter"], REPOSITORY)
    return status, out.getvalue(), err.getvalue()


def fits_the_environment(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


@settings(REPEATABLE, max_examples=1500)
@given(wrong_requests())
def test_a_wrong_request_is_refused_and_named(request: tuple[str, str, list[str]]) -> None:
    chapter, text, quoted = request
    with nothing_runs(), pytest.raises(UsageError) as error:
        plan_run(LAYOUT, chapter, "quick", split_pairs(text))
    for words in quoted:
        assert words in str(error.value)


@settings(REPEATABLE, max_examples=400)
@given(wrong_requests().filter(lambda request: fits_the_environment(request[1])))
def test_the_command_refuses_it_and_runs_nothing(request: tuple[str, str, list[str]]) -> None:
    chapter, text, quoted = request
    with nothing_runs():
        status, printed, said = command(chapter, text)
    assert (status, printed) == (2, "")
    assert said.startswith("error: ")
    assert "Traceback" not in said.replace(repr(text), "")
    for words in quoted:
        assert words in said


@settings(REPEATABLE, max_examples=500)
@given(right_requests())
def test_a_right_request_is_planned_as_typed(request: tuple[str, dict[str, Any], str]) -> None:
    chapter, values, text = request
    defaults = {name: parameter.default for name, parameter in declared()[chapter].items()}
    with nothing_runs():
        run = plan_run(LAYOUT, chapter, "quick", split_pairs(text))
    assert run.values == defaults | values
    assert [type(value) for value in run.values.values()] == list(map(type, defaults.values()))


@settings(REPEATABLE, max_examples=100)
@given(right_requests())
def test_a_right_request_reaches_the_kernel(request: tuple[str, dict[str, Any], str]) -> None:
    chapter, values, text = request
    arrived: list[Run] = []
    with nothing_runs(arrived):
        status, _, said = command(chapter, text)
    assert (status, said) == (0, "")
    (run,) = arrived
    assert run.chapter == chapter
    assert {name: run.values[name] for name in values} == values


@settings(REPEATABLE, max_examples=500)
@given(st.data())
def test_a_word_is_taken_only_if_it_is_listed(data: st.DataObject) -> None:
    found = [(c, p) for c, ps in declared().items() for p in ps.values() if p.type == "str"]
    chapter, parameter = data.draw(st.sampled_from(found))
    assert isinstance(parameter.range, Choices)
    listed = st.sampled_from(parameter.range.words)
    text = data.draw(
        listed
        | st.sampled_from(NEVER)
        | ANY_TEXT
        | st.tuples(listed, st.sampled_from([*SUFFIXES, " ", ","])).map("".join)
        | listed.map(str.upper)
        | st.lists(listed, min_size=2, max_size=2).map(",".join)
    )
    given = [(parameter.name, text)]
    word = text.strip(" ")
    with nothing_runs():
        if word in parameter.range.words:
            assert plan_run(LAYOUT, chapter, "quick", given).values[parameter.name] == word
        else:
            with pytest.raises(UsageError) as error:
                plan_run(LAYOUT, chapter, "quick", given)
            assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (b"seed=\xff", rb"'seed' cannot be '\udcff'"),
        (b"\xc3=1", rb"no parameter '\udcc3'"),
        (b"seed='\xe2\x82", rb'''"seed='\udce2\udc82"'''),
        (b"seed=1\n2", b"'2' has no '='"),
        ("seed=\u0663".encode(), "'seed' cannot be '\u0663'".encode()),
    ],
)
def test_bytes_that_are_no_text_are_refused(params: bytes, said: bytes) -> None:
    environment = {os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()}
    environment = {k: v for k, v in environment.items() if k not in map(os.fsencode, TYPED)}
    environment |= {b"NAME": b"01_ppca", b"PARAMS": params, b"PYTHONUTF8": b"1"}
    done = subprocess.run(
        [sys.executable, "-m", "book.pipeline", "chapter"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
