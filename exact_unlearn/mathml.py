"""LaTeX in, MathML out: formulas that need no script and no outside host.

latex2mathml does the conversion.  It passes over what it does not know in silence (an unknown command becomes its own
name, a stray ``&`` broken markup, a missing brace nothing at all); here each of these is an error, because a reader
cannot tell a wrong formula from a right one.  A few habits of browsers are corrected on the way, see `_polish`.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

_NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'
_BARS = {"|", "‖"}
_RELATIONS = {"⪰", "⪯", "≻", "≺", "⟂"}
_LIMITS = {"min", "max", "sup", "inf", "argmin", "argmax"}
_UNSUPPORTED = {
    r"\operatorname*": r"\operatorname{argmin} carries its limits below without the star",
    r"\begin{aligned}": r"use \begin{align*}",
    "%": "a comment inside a formula",
}


class MathError(ValueError):
    """A formula that cannot be shown as it was meant."""


def to_mathml(latex: str, *, block: bool = False) -> str:
    """MathML of one formula, as a string that can stand in an HTML page.

    Raises MathError for an unknown command or environment, unbalanced braces, alignment marks outside a table, and
    whatever else latex2mathml refuses; ImportError where it is not installed.
    """
    from latex2mathml.converter import convert

    for text, advice in _UNSUPPORTED.items():
        if re.search(r"(?<!\\)" + re.escape(text), latex):
            raise MathError(f"{text} is not supported ({advice}) in {latex!r}")
    _check_braces(latex)
    try:
        markup = convert(latex, display="block" if block else "inline")
        root = ElementTree.fromstring(markup.replace(_NAMESPACE, ""))
    except Exception as error:  # latex2mathml has a dozen unrelated exception classes
        raise MathError(f"cannot convert {latex!r}: {type(error).__name__} {error}") from error
    for element in root.iter():
        if (element.text or "").startswith("\\"):
            raise MathError(f"unknown command {element.text} in {latex!r}")
        if element.tag == "mo" and not element.text:
            raise MathError(f"empty operator in {latex!r}: an operator's name consists of letters")
    _polish(root, block)
    return ElementTree.tostring(root, encoding="unicode")


def _check_braces(latex: str) -> None:
    depth = 0
    for token in re.findall(r"\\.|[{}]", latex):
        depth += {"{": 1, "}": -1}.get(token, 0)
        if depth < 0:
            break
    if depth:
        raise MathError(f"unbalanced braces in {latex!r}")


def _polish(root: ElementTree.Element, block: bool) -> None:
    """Correct what browsers would otherwise set badly.

    Bars of norms get no space of their own (as operators between two terms they would get a lot), named functions get
    none before them, relations that latex2mathml takes for letters get theirs, and limits stand below `min` and `max`
    in displayed formulas.
    """
    for element in root.iter():
        if element.tag == "mo" and element.text in _BARS:
            element.attrib.update({"stretchy": "false", "lspace": "0", "rspace": "0"})
        elif element.tag == "mo" and (element.text or "").isalpha():
            element.set("lspace", "0")
        elif element.tag == "mi" and element.text in _RELATIONS:
            element.tag = "mo"
        elif block and element.tag == "msub" and element[0].text in _LIMITS:
            element.tag = "munder"
