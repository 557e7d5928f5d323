"""The theme's icons, cut down to those that the pages show.

The theme brings Font Awesome twice: as fonts, which its styles use, and as a script of 1.5 MB that
replaces what the fonts have drawn by pictures. The fonts do alone, and with the few icons that are
used they are small. fontTools, which cuts them, is installed with matplotlib, which needs it.
"""

import io
import re
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from book.pipeline.layout import BuildError

STYLES = "_static/styles/pydata-sphinx-theme.css"
SCRIPT = "_static/scripts/fontawesome.js"
FONTS = "_static/vendor/fontawesome/webfonts"

_RULE = re.compile(r"((?:\.fa-[\w-]+:{1,2}before,?)+)\{content:(\"[^\"]*\"|var\([^)]*\))\}")
_SOURCES = re.compile(
    r"url\(([^)]*/([\w-]+))\.woff2\) ?format\(\"woff2\"\),url\(\1\.ttf\) ?format\(\"truetype\"\)"
)
_CLASS = re.compile(r"(?<![\w-])fa-[a-z0-9-]*[a-z0-9]")
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6}) ?|\\(.)")
_TAG = re.compile(r"\s*<script[^>]*/fontawesome\.js[^>]*></script>")


def _unescaped(text: str) -> str:
    """What a string of CSS stands for."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else m[2], text)


def named(texts: Iterable[str]) -> set[str]:
    """The classes of Font Awesome in pieces of text: icons, but also sizes and styles."""
    return {name for text in texts for name in _CLASS.findall(text)}


def classes(page: str) -> str:
    """The classes of a page. Its words may say fa-anything."""
    return " ".join(re.findall(r'class="([^"]*)"', page))


def private(styles: str) -> set[str]:
    """The characters of icon fonts that styles put somewhere on their own."""
    return {character for character in _unescaped(styles) if "\ue000" <= character <= "\uf8ff"}


def trimmed(styles: str, used: Set[str]) -> tuple[str, set[str]]:
    """The theme's styles without the icons that are not used, and the characters that are left.

    Raises:
        BuildError: the styles have no such rules, or not one for an icon that is used.
    """
    rules = {name: m[2] for m in _RULE.finditer(styles) for name in re.findall(r"fa-[\w-]+", m[1])}
    if not rules or not _SOURCES.search(styles):
        raise BuildError(f"{STYLES} does not have the icons in the form that is expected")
    rest = _RULE.sub("", styles)
    others = {name for selector in re.findall(r"([^{}]*)\{", rest) for name in named([selector])}
    if missing := used - rules.keys() - others:
        raise BuildError(f"the theme has no icon {', '.join(sorted(missing))}")
    icons = {name: rules[name] for name in sorted(used & rules.keys())}
    kept = "".join(f".{name}:before{{content:{content}}}" for name, content in icons.items())
    # A rule may also refer to a variable, which stands in what is left.
    strings = [content.strip('"') for content in icons.values() if content.startswith('"')]
    shown = {character for string in strings for character in _unescaped(string)} | private(rest)
    return _SOURCES.sub(r'url(\1.woff) format("woff")', rest) + kept, shown


def cut(font: bytes, characters: Set[str]) -> tuple[bytes, set[str]]:
    """A font with these characters alone, as WOFF, and which of them it has."""
    whole = TTFont(io.BytesIO(font), recalcTimestamp=False)
    found = {character for character in characters if ord(character) in whole.getBestCmap()}
    subsetter = Subsetter(Options(notdef_outline=True))
    subsetter.populate(unicodes=[ord(character) for character in found])
    subsetter.subset(whole)
    whole.flavor = "woff"
    target = io.BytesIO()
    whole.save(target)
    return target.getvalue(), found


def cut_all(fonts: Mapping[str, bytes], characters: Set[str]) -> dict[str, bytes]:
    """Every font cut down.

    Raises:
        BuildError: a character is in none of them.
    """
    results = {name: cut(font, characters) for name, font in fonts.items()}
    missing = characters - {c for _, found in results.values() for c in found}
    if missing:
        codes = ", ".join(f"U+{ord(character):04X}" for character in sorted(missing))
        raise BuildError(f"the theme's fonts have no icon {codes}")
    return {name: small for name, (small, _) in results.items()}


def lighten(html: Path) -> None:
    """Replace the icons of a built site by those that it uses."""
    script, styles, fonts = html / SCRIPT, html / STYLES, html / FONTS
    whole = {path.stem: path.read_bytes() for path in sorted(fonts.glob("*.ttf"))}
    if not (script.is_file() and styles.is_file() and whole):
        raise BuildError(f"the theme has no {SCRIPT}, {STYLES} or fonts in {FONTS}")
    static = html / "_static"
    pages = {path: path.read_text(encoding="utf-8") for path in html.rglob("*.html")}
    pages = {path: page for path, page in pages.items() if static not in path.parents}
    texts = [classes(page) for page in pages.values()]
    texts += [
        path.read_text(encoding="utf-8")
        for path in static.rglob("*.js")
        if path != script and static / "vendor" not in path.parents
    ]
    text, shown = trimmed(styles.read_text(encoding="utf-8"), named(texts))
    others = [path for path in static.rglob("*.css") if path != styles]
    shown |= {c for path in others for c in private(path.read_text(encoding="utf-8"))}
    for name, small in cut_all(whole, shown).items():
        (fonts / f"{name}.woff").write_bytes(small)
        (fonts / f"{name}.ttf").unlink()
        (fonts / f"{name}.woff2").unlink()
    styles.write_text(text, encoding="utf-8")
    for path, page in pages.items():
        path.write_text(_TAG.sub("", page), encoding="utf-8")
    for path in script.parent.glob(f"{script.name}*"):  # its licence stands in the styles as well
        path.unlink()
