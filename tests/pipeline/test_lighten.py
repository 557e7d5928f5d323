"""What is taken out of a built site: icons, rules and digits that nobody sees."""

import io

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph

from book.pipeline.icons import classes, cut, cut_all, named, private, trimmed
from book.pipeline.images import lazy, short_path, short_svg, svg_size
from book.pipeline.layout import BuildError
from book.pipeline.styles import purged, words

SOURCES = (
    'url(../fonts/fa-solid.woff2) format("woff2"),url(../fonts/fa-solid.ttf) format("truetype")'
)
THEME = (
    f"@font-face{{font-family:Icons;src:{SOURCES}}}.fa-lg{{font-size:2em}}"
    r'.fa-bars:before,.fa-navicon:before{content:"\f0c9"}.fa-moon:before{content:"\f186"}'
    ':root{--bell:"\uf0f3"}.fa-ring:before{content:var(--bell)}'
)


def font(*characters: str) -> bytes:
    """A font with an empty letter for each character."""
    names = [".notdef", *(f"g{ord(character)}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf({name: Glyph() for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (500, 0)))
    builder.setupHorizontalHeader()
    builder.setupNameTable({"familyName": "Icons", "styleName": "Solid"})
    builder.setupOS2()
    builder.setupPost()
    target = io.BytesIO()
    builder.save(target)
    return target.getvalue()


def test_icons_are_named_by_classes_and_scripts_but_not_by_words():
    page = '<i class="fa-solid fa-bars"></i> write <code>fa-anything</code>'
    assert named([classes(page), 'add("fa-moon")']) == {"fa-solid", "fa-bars", "fa-moon"}


def test_only_used_icons_stay_in_the_styles():
    styles, shown = trimmed(THEME, {"fa-bars", "fa-lg"})
    assert r'.fa-bars:before{content:"\f0c9"}' in styles
    assert ".fa-lg{" in styles
    assert "fa-moon" not in styles
    assert "navicon" not in styles
    assert 'src:url(../fonts/fa-solid.woff) format("woff")}' in styles
    assert shown == {"\uf0c9", "\uf0f3"}


def test_an_icon_that_the_theme_does_not_have_is_an_error():
    with pytest.raises(BuildError, match="no icon fa-nothing"):
        trimmed(THEME, {"fa-bars", "fa-nothing"})


@pytest.mark.parametrize("styles", ["", THEME.replace("woff2", "eot"), THEME.split(".fa-bars")[0]])
def test_other_styles_than_expected_are_an_error(styles: str):
    with pytest.raises(BuildError, match="in the form that is expected"):
        trimmed(styles, set())


def test_characters_are_found_however_they_are_written():
    assert private(r'a{content:"\f107"}b{content:"' + "\uf0f3" + r'"}c{content:"\2014"}') == {
        "\uf107",
        "\uf0f3",
    }


def test_a_font_is_cut_to_what_is_shown_and_always_in_the_same_way():
    whole = font("\uf0c9", "\uf186", "\uf0f3")
    small, found = cut(whole, {"\uf0c9", "\uf107"})
    assert found == {"\uf0c9"}
    assert set(TTFont(io.BytesIO(small)).getBestCmap()) == {0xF0C9}
    assert small[:4] == b"wOFF"
    assert cut(whole, {"\uf0c9", "\uf107"})[0] == small


def test_a_character_that_no_font_has_is_an_error():
    fonts = {"solid": font("\uf0c9"), "brands": font("\uf09b")}
    assert cut_all(fonts, {"\uf0c9", "\uf09b"}).keys() == fonts.keys()
    with pytest.raises(BuildError, match=r"no icon U\+F107$"):
        cut_all(fonts, {"\uf0c9", "\uf107"})


def test_styles_keep_what_can_apply():
    known = words('<p class="a b"></p><script>box.classList.add("later")</script>')
    css = (
        "/*! by A, B {} */:root{--x:1}p{x:1}.a{x:2}.c{x:3}.a,.c{x:4}.a .c{x:5}.later{x:6}"
        ".a:not(.c){x:7}@media print{.c{x:8}}@media print{.c{x:9}.b{x:10}}@font-face{x:11}"
        '.b:after{content:"}.c{"}@import url(d.css);/* gone */.md\\:c{x:12}'
    )
    assert purged(css, known) == (
        "/*! by A, B {} */:root{--x:1}p{x:1}.a{x:2}.a{x:4}.later{x:6}"
        ".a:not(.c){x:7}@media print{.b{x:10}}@font-face{x:11}"
        '.b:after{content:"}.c{"}@import url(d.css);'
    )
    with pytest.raises(ValueError, match="styles with an error at line 2: "):
        purged("p{x:1}\n}", known)


def test_paths_are_shortened_and_no_error_adds_up():
    assert (
        short_path("M 10 20 \nL 10.123456 19.5 \nL 0 0.004 \nz\n") == "m10 20l.12-.5l-10.12-19.5z"
    )
    assert short_path("M 1 1 \nL 2 1 \nz \nM 3 3 \nQ 4 4 5 3") == "m1 1l1 0zm2 2q1 1 2 0"
    steps = short_path("M 0 0 " + "".join(f"L {i * 0.0149:.6f} 0 " for i in range(1, 1001)))
    ends = [float(step.split()[0]) for step in steps[1:].split("l")]
    assert sum(ends) == pytest.approx(14.9, abs=0.006)


def test_a_figure_keeps_all_but_digits_and_indentation():
    figure = '<svg width="72pt" height="36.6pt">\n  <path id="d" d="M 0 0 \nL 1.5 2"/>\n</svg>'
    assert short_svg(figure) == (
        '<svg width="72pt" height="36.6pt">\n<path id="d" d="m0 0l1.5 2"/>\n</svg>'
    )
    assert short_svg('<path d="M 1e-05 0"/>') == '<path d="M 1e-05 0"/>'


def test_figures_are_loaded_late_and_keep_their_place():
    figure = b'<svg viewBox="0 0 1 1" width="72pt" height="36.6pt">'
    page = '<img alt="A &gt; B." src="../_images/a.svg" /><img src="data:image/png;base64,AA" />'
    assert lazy(page, lambda address: svg_size(figure) if address.endswith("a.svg") else None) == (
        '<img alt="A &gt; B." src="../_images/a.svg" width="96" height="49" loading="lazy" />'
        '<img src="data:image/png;base64,AA" />'
    )
    sized = '<img src="_images/a.svg" style="width: 50%" />'
    assert "height=" not in lazy(sized, lambda _: (1, 1))
    assert svg_size(b"\x89PNG") is None
