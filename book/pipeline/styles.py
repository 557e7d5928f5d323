"""The styles of a built site without the rules that can apply to nothing in it.

Themes bring rules for everything that any book might hold. A rule stays unless each of its
selectors asks for a class that no page has and no script mentions, so that what scripts do later
still has its styles.
"""

import re
from collections.abc import Iterator, Set
from pathlib import Path

# The book's own styles hold nothing to spare; what is vendored has scripts of its own.
KEPT = ("_static/custom.css", "_static/vendor/")
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_COMMENT = re.compile(r"/\*(?!!).*?\*/", re.DOTALL)  # licences begin with an exclamation mark
_STATEMENT = re.compile(r"\s*(?:@[^{;]*;|/\*.*?\*/)", re.DOTALL)
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)
# What stands in brackets is not needed for the rule to apply, or not by itself.
_BRACKETS = re.compile(r"\[[^\]]*\]|\((?:[^()]|\([^()]*\))*\)")
_COMMA = re.compile(r",(?![^(\[]*[)\]])")
_CLASS = re.compile(r"\.((?:[\w-]|\\.)+)")


def words(page: str) -> set[str]:
    """The classes of a page, and every word of its own scripts."""
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    classes = re.findall(r'class="([^"]*)"', page)
    return {word for text in classes for word in text.split()} | script_words(" ".join(scripts))


def script_words(script: str) -> set[str]:
    return set(_WORD.findall(script))


def _end(css: str, start: int) -> int:
    """The place behind the bracket that closes the one before ``start``."""
    depth, at = 1, start
    while depth:
        if string := _STRING.match(css, at):
            at = string.end()
            continue
        depth += {"{": 1, "}": -1}.get(css[at], 0)
        at += 1
    return at


def _blocks(css: str) -> Iterator[tuple[str, str | None]]:
    """Selector and content of every block; ``@import`` and a licence have no content."""
    at = 0
    while (opening := css.find("{", at)) >= 0:
        if statement := _STATEMENT.match(css, at):
            yield statement[0], None
            at = statement.end()
            continue
        end = _end(css, opening + 1)
        yield css[at:opening], css[opening + 1 : end - 1]
        at = end
    yield css[at:], None


def _can_apply(selector: str, known: Set[str]) -> bool:
    plain = _BRACKETS.sub("", selector)
    return all(re.sub(r"\\(.)", r"\1", name) in known for name in _CLASS.findall(plain))


def purged(css: str, known: Set[str]) -> str:
    """Styles without the rules all of whose selectors ask for classes that are not known."""
    kept = []
    for selector, content in _blocks(_COMMENT.sub("", css)):
        bare = selector.strip()
        if content is None:
            kept.append(selector)
        elif bare.startswith(("@media", "@supports")):
            inner = purged(content, known)
            kept.append(f"{selector}{{{inner}}}" if inner.strip() else "")
        elif bare.startswith("@"):
            kept.append(f"{selector}{{{content}}}")
        elif able := [part for part in _COMMA.split(selector) if _can_apply(part, known)]:
            kept.append(f"{','.join(able)}{{{content}}}")
    return "".join(kept)


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
