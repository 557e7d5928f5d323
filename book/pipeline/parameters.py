"""The parameters of a chapter: declared once, in its own source, and checked from there.

The cell tagged ``parameters`` has one declaration a line::

    sigma_sq: float = 1.0  # in (0, inf): the variance of the decoder
    num_images: int = 1000  # in [60, 60000] images: those trained on
    split: str = "test"  # in {train, test}: which images are scored
    sigma_sqs: list[float] = [0.1, 1.0]  # in (0, inf): the variances compared
    logit: bool = True  # whether pixels are logit-transformed

Between the range and the colon stands the unit, of at most three words; a pure number has none.
papermill checks neither names nor types, so this is done here, before anything runs.
"""

import ast
import io
import math
import re
import shlex
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from book.pipeline.layout import UsageError

Scalar = int | float | bool | str
Value = Scalar | list[Scalar]
TYPES = ("int", "float", "bool", "str", "list[int]", "list[float]")
COMMENT = "in RANGE UNIT: meaning"  # without UNIT for a pure number
NO_UNIT = "–"  # in tables

_RANGED = re.compile(
    r"in\s+(?P<range>[\[(][^\])]*[\])]|\{[^}]*\})(?P<unit>(?:\s+[^\s:]+){0,3})\s*:"
    r"\s*(?P<meaning>\S.*)"
)
_INTERVAL = re.compile(r"(?P<left>[\[(])\s*(?P<low>[^,]+),(?P<high>[^,]+)(?P<right>[\])])")


@dataclass(frozen=True)
class Interval:
    """An interval of numbers, written as in mathematics: ``[0, 1)``, ``(0, inf)``."""

    text: str
    low: float
    high: float
    closed_low: bool
    closed_high: bool

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or math.isnan(value):
            return False
        above = value >= self.low if self.closed_low else value > self.low
        below = value <= self.high if self.closed_high else value < self.high
        return above and below


@dataclass(frozen=True)
class Choices:
    """A set of words, written ``{train, test}``."""

    text: str
    words: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.words


@dataclass(frozen=True)
class Parameter:
    """One declaration of a parameter cell."""

    name: str
    type: str
    default: Value
    range: Interval | Choices | None
    unit: str  # empty where the value is a pure number, a word, or true or false
    meaning: str

    @property
    def element(self) -> str:
        """The type of one element: ``float`` for ``list[float]``, else the type itself."""
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def is_list(self) -> bool:
        return self.type.startswith("list[")

    def allowed(self) -> str:
        """What may be given, as a phrase that ends the sentence "it takes ..."."""
        if self.range is None:
            return "true or false"
        if isinstance(self.range, Choices):
            return "one of " + ", ".join(self.range.words)
        what = {"int": "whole number", "float": "number"}[self.element]
        limits = f"in {self.range.text} {self.unit}".rstrip()
        return f"{what}s {limits}, separated by commas" if self.is_list else f"a {what} {limits}"

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """The row of a table: name, type, default, range, unit, meaning."""
        limits = self.range.text if self.range else "{true, false}"
        unit = self.unit or NO_UNIT
        return self.name, self.type, as_text(self.default), limits, unit, self.meaning


def _parse_range(text: str) -> Interval | Choices | None:
    if text.startswith("{"):
        words = tuple(word.strip() for word in text[1:-1].split(","))
        return Choices(text, words) if all(words) else None
    match = _INTERVAL.fullmatch(text)
    try:
        low, high = (float(match[side]) for side in ("low", "high")) if match else (1.0, 0.0)
    except ValueError:
        return None
    if not low <= high:  # also false for nan
        return None
    return Interval(text, low, high, text[0] == "[", text[-1] == "]")


def _split_line(line: str) -> tuple[ast.stmt, str]:
    """The statement and the comment of one line of Python."""
    try:
        (statement,) = ast.parse(line).body
        tokens = list(tokenize.generate_tokens(io.StringIO(line).readline))
    except (SyntaxError, ValueError, tokenize.TokenError):
        raise ValueError("it is not one statement of Python") from None
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    if not comments:
        raise ValueError("it has no comment that gives its range and meaning")
    return statement, comments[0].removeprefix("#").strip()


def _parse_line(line: str) -> Parameter:
    """One declaration. Raises ValueError with the reason where it breaks the convention."""
    statement, comment = _split_line(line)
    if not (
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.value is not None
    ):
        raise ValueError("it is not of the form 'name: type = default'")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if kind not in TYPES:
        raise ValueError(f"the type {kind!r} is none of {', '.join(TYPES)}")
    try:
        literal = ast.literal_eval(statement.value)
    except ValueError:
        raise ValueError("the default is not a literal value") from None
    if kind == "bool":
        allowed, unit, meaning = None, "", comment
    else:
        ranged = _RANGED.fullmatch(comment)
        allowed = _parse_range(ranged["range"]) if ranged else None
        wanted = Choices if kind == "str" else Interval
        if not ranged or not isinstance(allowed, wanted):
            example = "{train, test}" if kind == "str" else "[1, 784] or (0, inf)"
            raise ValueError(f"the comment is not '{COMMENT}' with a RANGE like {example}")
        unit, meaning = " ".join(ranged["unit"].split()), ranged["meaning"]
        if unit and kind == "str":
            raise ValueError(f"words have no unit, and {unit!r} stands in the place of one")
    if not meaning:
        raise ValueError("the comment does not say what it means")
    declared = Parameter(name, kind, False, allowed, unit, meaning)
    try:
        if isinstance(literal, list) != declared.is_list or isinstance(literal, str) != (
            kind == "str"
        ):
            raise ValueError
        default = read_value(declared, as_text(literal))
    except ValueError:
        raise ValueError(f"the default {literal!r} is not {declared.allowed()}") from None
    return replace(declared, default=default)


def declared_parameters(source: str, chapter: str) -> dict[str, Parameter]:
    """Every parameter that a chapter declares, in order; an error names a line that is wrong."""
    found: dict[str, Parameter] = {}
    for number, line in enumerate(source.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            parameter = _parse_line(line.strip())
        except ValueError as reason:
            raise UsageError(
                f"{chapter}, parameter cell, line {number}: {reason}\n    {line.strip()}\n"
                f"  every line reads: name: type = default  # {COMMENT}"
            ) from None
        if parameter.name in found:
            raise UsageError(f"{chapter} declares the parameter {parameter.name!r} twice")
        found[parameter.name] = parameter
    return found


def as_text(value: Any) -> str:
    """A value of Python or YAML as it would be typed on the command line.

    So that one reader, ``read_value``, judges defaults, profiles and the command line alike.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(as_text, value))
    if isinstance(value, int | float | str):
        return str(value)
    raise ValueError(f"{value!r} is no value")


def _read_scalar(kind: str, text: str) -> Scalar:
    # Python reads more than is meant here: 1_0, nan, the digits of other scripts.
    if kind == "int" and re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if kind == "float" and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return float(text)
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    if kind == "str":
        return text
    raise ValueError


def read_value(parameter: Parameter, text: str) -> Value:
    """The value that a text stands for; ValueError where it is not allowed."""
    texts = [part.strip(" ") for part in (text.split(",") if parameter.is_list else [text])]
    values = [_read_scalar(parameter.element, part) for part in texts]
    if parameter.range is not None and not all(value in parameter.range for value in values):
        raise ValueError
    return values if parameter.is_list else values[0]


def table(parameters: Mapping[str, Parameter]) -> str:
    """Everything that a chapter takes, one parameter a line."""
    rows = [("name", "type", "default", "range", "unit", "meaning")]
    rows += [parameter.cells() for parameter in parameters.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def refuse(chapter: str, parameters: Mapping[str, Parameter], reason: str) -> UsageError:
    """The error for a parameter that cannot be used: why, and what could be given instead."""
    if not parameters:
        return UsageError(f"{chapter}: {reason}\n{chapter} takes no parameters")
    return UsageError(f"{chapter}: {reason}\n{chapter} takes\n{table(parameters)}")


def split_pairs(text: str) -> list[tuple[str, str]]:
    """``name=value`` pairs as typed; quotes work as in a shell, and nothing is expanded."""
    try:
        words = shlex.split(text)
    except ValueError as reason:
        raise UsageError(f"PARAMS cannot be read ({reason}): {text!r}") from None
    for word in words:
        if "=" not in word:
            raise UsageError(f"PARAMS must be 'name=value name=value ...'; {word!r} has no '='")
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def check_values(
    chapter: str, parameters: Mapping[str, Parameter], given: list[tuple[str, Any]]
) -> dict[str, Value]:
    """The given values, read and checked. The first that is wrong refuses them all."""
    checked: dict[str, Value] = {}
    for name, value in given:
        if name not in parameters:
            raise refuse(chapter, parameters, f"there is no parameter {name!r} (given {value!r})")
        if name in checked:
            raise refuse(chapter, parameters, f"the parameter {name!r} is given twice")
        try:
            checked[name] = read_value(parameters[name], as_text(value))
        except ValueError:
            allowed = parameters[name].allowed()
            reason = f"the parameter {name!r} cannot be {value!r}: it takes {allowed}"
            raise refuse(chapter, parameters, reason) from None
    return checked
