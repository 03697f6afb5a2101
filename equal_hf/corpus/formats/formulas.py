r"""Formulas of a web page as TeX between dollar signs, whatever shows them there.

Pages carry a formula as MathML with its TeX in it (Wikipedia, KaTeX), as a script (MathJax 2), or as a picture whose
text is TeX. MathML alone is turned into TeX where that changes its meaning: fractions, roots, indices.

>>> from lxml import html
>>> page = html.fromstring("<p>Half is <math><mfrac><mn>1</mn><mn>2</mn></mfrac></math>.</p>")
>>> formulas_as_tex(page)
>>> page.text_content()
'Half is $\\frac{1}{2}$.'
"""

from __future__ import annotations

import re
from typing import Any

# What shows a formula beside its source, which is read.
_SHOWN_TOO = {"katex-html", "MathJax", "MathJax_Preview", "MathJax_Display", "MathJax_SVG"}
_PICTURE_TOO = "mwe-math-fallback"  # begins the class
_AROUND = {"katex", "mwe-math-element"}  # hidden from view in part, and with it the formula
_TEX = re.compile(r"\\[a-zA-Z]+|[_^{}]")
_TWO = {
    "msup": "{}^{{{}}}",
    "msub": "{}_{{{}}}",
    "mfrac": r"\frac{{{}}}{{{}}}",
    "mover": "{}^{{{}}}",
    "munder": "{}_{{{}}}",
}
_THREE = {"msubsup": "{}_{{{}}}^{{{}}}", "munderover": "{}_{{{}}}^{{{}}}"}


def formulas_as_tex(page: Any) -> None:
    """Put the TeX of each formula in its place.

    Args:
        page (`lxml.html.HtmlElement`): The page, which is changed.
    """
    for script in list(page.iter("script")):
        kind = (script.get("type") or "").lower()
        if kind.startswith("math/tex"):
            _replace(script, script.text or "", block="mode=display" in kind)
    for formula in list(page.iter("math")):
        _replace(_whole(formula), _tex(formula), block=_is_block(formula))
    for shown in list(page.iter("span", "div", "img")):
        classes = (shown.get("class") or "").split()
        if _SHOWN_TOO.intersection(classes) or any(name.startswith(_PICTURE_TOO) for name in classes):
            _replace(shown, "")
        elif shown.tag == "img" and (tex := _alternative(shown, classes)):
            _replace(shown, tex)


def _tex(formula: Any) -> str:
    """The source of a formula in MathML, or what its elements say."""
    for element in formula.iter("annotation"):
        if "tex" in (element.get("encoding") or "").lower() and element.text:
            return str(element.text)
    return formula.get("alttext") or _written(formula)


def _written(element: Any) -> str:
    """TeX of MathML; a page nests elements some hundred deep at most."""
    parts = [_written(child) for child in element if _is_shown(child)]
    tag = element.tag.rpartition(":")[2]
    if tag in _TWO and len(parts) == 2:
        return _TWO[tag].format(*parts)
    if tag in _THREE and len(parts) == 3:
        return _THREE[tag].format(*parts)
    if tag == "mroot" and len(parts) == 2:
        return rf"\sqrt[{parts[1]}]{{{parts[0]}}}"
    inner = (element.text or "").strip() + "".join(parts)
    return rf"\sqrt{{{inner}}}" if tag == "msqrt" else inner


def _is_shown(element: Any) -> bool:
    return isinstance(element.tag, str) and not element.tag.startswith("annotation")


def _whole(formula: Any) -> Any:
    """The element that holds all the forms in which a formula is on the page."""
    for around in formula.iterancestors("span"):
        if _AROUND.intersection((around.get("class") or "").split()):
            return around
    return formula


def _is_block(formula: Any) -> bool:
    return formula.get("display") == "block" or any(
        "katex-display" in (around.get("class") or "").split() for around in formula.iterancestors("span")
    )


def _alternative(image: Any, classes: list[str]) -> str:
    """The TeX that a picture of a formula has as its text; empty for other pictures."""
    text = (image.get("alt") or "").strip()
    meant = any(name.lower() in ("tex", "latex", "math") or "latex" in name.lower() for name in classes)
    return text if (meant and _TEX.search(text)) or (len(text) > 2 and text[0] == text[-1] == "$") else ""


def _replace(element: Any, tex: str, *, block: bool = False) -> None:
    """Put a formula as text where an element is, if it still is on the page."""
    if element.getparent() is None:
        return
    tex = " ".join(tex.split()).strip("$ ")
    if tex.startswith(r"{\displaystyle") and tex.endswith("}"):  # as Wikipedia writes every one
        tex = tex[len(r"{\displaystyle") : -1].strip()
    mark = "$$" if block else "$"
    text = f"{mark}{tex}{mark}" if tex else ""
    parent, before = element.getparent(), element.getprevious()
    text += element.tail or ""
    if before is not None:
        before.tail = (before.tail or "") + text
    else:
        parent.text = (parent.text or "") + text
    element.tail = None
    parent.remove(element)
