"""A Sphinx extension: formulas go into the pages as TeX, and KaTeX sets them in the browser.

It is loaded only by pages with formulas, from the book's own files. To set the formulas here would
take node, which nothing else in the book needs.
"""

import json
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

STYLES = "vendor/katex/katex.min.css"
# In this order: KaTeX, and what calls it for every formula.
SCRIPTS = ("vendor/katex/katex.min.js", "formulas.js")
_CLASSES = "math notranslate nohighlight"


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(self.starttag(node, "span", "", CLASS=_CLASSES))
    self.body.append(f'<span class="tex">{self.encode(node.astext())}</span></span>')
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", "", CLASS=_CLASSES))
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f'<span class="tex">{self.encode(node.astext())}</span></div>\n')
    raise nodes.SkipNode


def has_formulas(doctree: nodes.document | None) -> bool:
    kinds = (nodes.math, nodes.math_block)
    return doctree is not None and any(next(doctree.findall(kind), None) for kind in kinds)


def load(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add scripts and styles to a page with formulas; Sphinx forgets them before the next page."""
    if has_formulas(doctree):
        macros = {f"\\{name}": tex for name, tex in app.config.katex_macros.items()}
        app.add_css_file(STYLES)
        app.add_js_file(None, body=f"window.katexMacros = {json.dumps(macros, sort_keys=True)}")
        for script in SCRIPTS:
            app.add_js_file(script, defer="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("katex_macros", {}, "html")
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
