r"""The result that a reply ends in, and whether it is the wanted one.

>>> final_answer("So she pays 3 * 4 = 12 dollars. #### 1,200")
'1200'
>>> final_answer(r"Half of it, \boxed{\frac{1}{2}}, is in 3 boxes.")
'\\frac{1}{2}'
>>> final_answer("x = -3.50.")
'-3.5'

Two results are the same as text, as numbers or as words; what is decided by none of these has to be computed with
([`MathVerifier`]).

>>> same_result("1,200", "1200"), same_result("18", "19"), same_result(r"\text{East}", "east")
(True, False, True)
>>> same_result("0.5", r"\frac{1}{2}") is None
True
"""

from __future__ import annotations

import re
from decimal import Decimal

from equal_hf.target.items import marked_result

# Replies are cut before they are searched: what is looked for stands at their end.
LONGEST = 20_000

_SPACING = re.compile(r"\s|\\?\$|\\[,;:! ]|\\(?:left|right)(?![A-Za-z])")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_IS_NUMBER = re.compile(r"-?\\?\$?\s*(?:\d[\d,]*(?:\.\d+)?|-\d[\d,]*(?:\.\d+)?|-?\.\d+)\s*\\?%?\.?")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{([^{}]*)\}")
_FUNCTIONS = re.compile(r"\b(?:sqrt|sin|cos|tan|log|ln|exp|pi|inf)(?![a-z])")
_FORMULA = re.compile(r"\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


def final_answer(text: str) -> str:
    """The result an answer ends in: what [`marked_result`] reads, else its last number, else its last line.

    Numbers are written without thousands separators and trailing zeros. It is empty for an answer without a result.
    """
    marked = marked_result(text)
    return last_number(text.strip()) if marked is None else canonical(marked)


def reply_result(reply: str, wanted: str) -> str:
    r"""The result of a reply: the marked one; else its last formula where one is wanted, else its last number.

    Args:
        reply (`str`): What the model wrote.
        wanted (`str`): The result that is looked for, whose kind decides.

    >>> reply_result("There are 3 ways, so it is $\\frac{1}{3}$.", r"\frac{2}{3}"), reply_result("So 3, or 4.", "4")
    ('\\frac{1}{3}', '4')
    """
    reply = reply[-LONGEST:]
    if marked_result(reply) is None and _kind(canonical(wanted)) == "formula":
        formulas = ["".join(groups) for groups in _FORMULA.findall(reply)]
        if formulas and (found := canonical(formulas[-1])):
            return found
    return final_answer(reply)


def canonical(result: str) -> str:
    r"""A result in the one way it is written: a number, a formula without its spacing, or words.

    >>> [canonical(text) for text in ("$1,200.50", "18 dollars", r"\dfrac 12", "6 - 5i", r"\text{East}", ".")]
    ['1200.5', '18', '\\dfrac12', '6-5i', 'East', '']
    """
    result = result.strip()
    if (inside := _TEXT.fullmatch(result)) is not None:
        result = inside[1].strip()
    if _IS_NUMBER.fullmatch(result):
        return last_number(result)
    # In LaTeX the last number is not the result: 1/2 and 3/2 both end in 2.
    if "\\" not in result and re.search(r"[A-Za-z]{2}", _FUNCTIONS.sub("", result)):
        return last_number(result)
    return _SPACING.sub("", result).rstrip(".")


def last_number(text: str) -> str:
    """The last number in a text, without thousands separators and trailing zeros; else its last line."""
    numbers = _NUMBER.findall(text)
    if not numbers:
        return text.splitlines()[-1].strip().rstrip(".") if text else ""
    number = numbers[-1].replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number or "0"


def same_result(wanted: str, found: str) -> bool | None:
    """Whether a result is the wanted one; `None` where that has to be computed.

    Args:
        wanted (`str`): The result that an item has. An empty one is never found.
        found (`str`): The result of a reply.
    """
    wanted, found = canonical(wanted), canonical(found)
    if not wanted or not found:
        return False
    if wanted.casefold() == found.casefold():
        return True
    kinds = {_kind(wanted), _kind(found)}
    if kinds == {"number"}:
        return Decimal(wanted) == Decimal(found)
    return False if "words" in kinds else None


def _kind(result: str) -> str:
    """What a canonical result is: a number, words, or else a formula."""
    if _NUMBER.fullmatch(result):
        return "number"
    words = not re.search(r"[\\^_=<>+*/\d]", result) and re.search(r"[A-Za-z]{2}", _FUNCTIONS.sub("", result))
    return "words" if words else "formula"


def is_formula(result: str) -> bool:
    r"""Whether a result is neither a number nor words, so that finding it takes computing.

    >>> [is_formula(text) for text in ("1,200", "East", r"\text{Evelyn}", r"\frac{1}{2}", "p - q", "(3,4)")]
    [False, False, False, True, True, True]
    """
    return bool(found := canonical(result)) and _kind(found) == "formula"


def strict_result(reply: str) -> str:
    """The number behind the first `####`; empty without one. As lm-evaluation-harness' filter `strict-match`."""
    found = re.search(r"#### (-?[0-9.,]+)", reply[:LONGEST])
    return found[1] if found else ""


def flexible_result(reply: str) -> str:
    """The last number of a reply; empty without one. As lm-evaluation-harness' filter `flexible-extract`."""
    found = re.findall(r"-?[$0-9.,]{2,}|-?[0-9]+", reply[-LONGEST:])
    return found[-1] if found else ""


def same_text(wanted: str, found: str) -> bool:
    """Whether two results are the same but for commas, dollar signs, a full stop at the end, and case.

    These are what lm-evaluation-harness leaves out of its comparison in the task `gsm8k`. An empty one is never found.

    >>> same_text("1200", "$1,200."), same_text("3.5", "3.50")
    (True, False)
    """
    wanted, found = (re.sub(r"\.$", "", re.sub(r"[,$]", "", text.strip())).lower() for text in (wanted, found))
    return wanted == found != ""
