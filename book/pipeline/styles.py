"""The styles of a built site without the rules that can apply to nothing in it.

Themes bring rules for everything that any book might hold. A rule stays unless each of its
selectors asks for a class that no page has and no script mentions, so that what scripts do later
still has its styles.
"""

import re
from collections.abc import Iterator, Sequence, Set
from itertools import groupby, pairwise
from pathlib import Path

import tinycss2
from tinycss2.ast import Node

# The book's own styles hold nothing to spare; what is vendored has scripts of its own.
KEPT = ("_static/custom.css", "_static/vendor/")
_WORD = re.compile(r"[A-Za-z_][\w-]*")


def words(page: str) -> set[str]:
    """The classes of a page, and every word of its own scripts."""
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    classes = re.findall(r'class="([^"]*)"', page)
    return {word for text in classes for word in text.split()} | script_words(" ".join(scripts))


def script_words(script: str) -> set[str]:
    return set(_WORD.findall(script))


def _can_apply(selector: Sequence[Node], known: Set[str]) -> bool:
    """Whether all classes are known that a selector asks for outside of brackets.

    What stands in brackets is not needed for the rule to apply, or not by itself.
    """
    return all(
        name.type != "ident" or name.value in known
        for dot, name in pairwise(selector)
        if dot == "."
    )


def _selectors(prelude: Sequence[Node]) -> list[list[Node]]:
    """The selectors of a rule, without the commas between them."""
    return [
        list(part) for is_comma, part in groupby(prelude, lambda node: node == ",") if not is_comma
    ]


def _kept(rules: Sequence[Node], known: Set[str]) -> Iterator[Node]:
    for rule in rules:
        if rule.type == "qualified-rule":
            able = [part for part in _selectors(rule.prelude) if _can_apply(part, known)]
            if able:
                comma = tinycss2.ast.LiteralToken(0, 0, ",")
                rule.prelude = able[0] + [node for part in able[1:] for node in (comma, *part)]
                yield rule
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            rule.content = list(_kept(tinycss2.parse_rule_list(rule.content), known))
            if any(inside.type != "whitespace" for inside in rule.content):
                yield rule
        elif rule.type == "error":
            raise ValueError(f"styles with an error at line {rule.source_line}: {rule.message}")
        elif rule.type != "comment" or rule.value.startswith("!"):  # a licence
            yield rule


def purged(css: str, known: Set[str]) -> str:
    """Styles without the rules all of whose selectors ask for classes that are not known.

    Raises:
        ValueError: the styles cannot be read; the message names the line.
    """
    return tinycss2.serialize(list(_kept(tinycss2.parse_stylesheet(css), known)))


def lighten(html: Path) -> None:
    """Purge the styles of a built site that come from the theme and from extensions."""
    known: set[str] = set()
    for path in html.rglob("*.html"):
        known |= words(path.read_text(encoding="utf-8"))
    for path in html.rglob("*.js"):
        known |= script_words(path.read_text(encoding="utf-8"))
    for path in html.rglob("*.css"):
        if not path.relative_to(html).as_posix().startswith(KEPT):
            styles = path.read_text(encoding="utf-8")
            path.write_text(purged(styles, known), encoding="utf-8")
