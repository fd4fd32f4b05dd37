"""Sphinx extension: formulas as MathML, by `exact_unlearn.mathml`."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

from exact_unlearn.mathml import MathError, to_mathml


def _visit(self: HTML5Translator, node: nodes.Element, *, block: bool) -> None:
    latex = node.astext().strip()
    try:
        markup = to_mathml(latex, block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s", error, location=node)
        markup = f"<code>{self.encode(latex)}</code>"
    if block:
        self.body.append(self.starttag(node, "div", CLASS="math"))
        if node["number"]:
            self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
            self.add_permalink_ref(node, "Link to this equation")
            self.body.append("</span>")
        self.body.append(markup + "</div>\n")
    else:
        self.body.append(markup)
    raise nodes.SkipNode


def _visit_inline(self: HTML5Translator, node: nodes.Element) -> None:
    _visit(self, node, block=False)


def _visit_block(self: HTML5Translator, node: nodes.Element) -> None:
    _visit(self, node, block=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; conf.py selects it by name."""
    app.add_html_math_renderer("mathml", inline_renderers=(_visit_inline, None), block_renderers=(_visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
