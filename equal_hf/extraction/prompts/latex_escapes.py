r"""Backslashes of LaTeX that a model forgot to escape in JSON, told from JSON's own escapes by what surrounds them.

`"\sqrt"` is no JSON, so its backslash is doubled. `"\times"` is JSON, but means a tab and "imes": whether a model
meant a command is decided by a table of LaTeX's commands, by how it wrote its other commands, and by what surrounds
it.

>>> print(escape_latex(r'{"question": "Is 2 \times 3 \neq 5?", "answer": "Yes:\n2 \cdot 3 = 6"}'))
{"question": "Is 2 \\times 3 \\neq 5?", "answer": "Yes:\n2 \\cdot 3 = 6"}
>>> print(escape_latex(r'{"answer": "def f():\n\treturn 1\nu = 3"}'))
{"answer": "def f():\n\treturn 1\nu = 3"}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# Commands that begin with the letter of a JSON escape and mean nothing once that letter is taken away: "\nabla" is no
# new line before "abla". Before a letter, backspace and form feed are never meant, so b and f need no table.
_CERTAIN = frozenset(
    """
    nLeftarrow nLeftrightarrow nRightarrow nVDash nVdash nabla natural nbsp ncong nearrow neq newcommand newcounter
    newenvironment newlength newline newpage newtheorem ngeq ngeqq ngeqslant ngtr nicefrac nicematrix nintt
    nleftarrow nleftrightarrow nleq nleqq nleqslant nobreak nobreakspace nocite noindent nolimits nolinebreak
    nonfrenchspacing nonumber nopagebreak norm normalfont normalsize not notag notin npreceq nrightarrow nshortmid
    nshortparallel nsubset nsubseteq nsubseteqq nsucceq nsupset nsupseteq nsupseteqq ntriangleleft ntrianglelefteq
    ntriangleright ntrianglerighteq null num numberwithin nvDash nvdash nwarrow rBrace rBrack rVert raggedleft
    raggedright raisebox ran rangle rank rbrace rbrack rceil rddots ref reflectbox relax renewcommand res resizebox
    restriction rfloor rgroup rhd rho right rightarrow rightarrowtail rightharpoondown rightharpoonup
    rightleftarrows rightleftharpoons rightline rightrightarrows rightskip rightsquigarrow rightthreetimes ring
    risingdotseq rlap rm rmfamily rmoustache roman root rot rotatebox rowcolor rparen rq rrbracket rsfs rtimes rule
    rvert tableofcontents tabularnewline tag tanh tau tbinom textasciitilde textbackslash textbar textbf textbullet
    textcelsius textcent textcolor textcopyright textdegree textdiv textdollar textellipsis textemdash textendash
    texteuro textfractionsolidus textgreater textit textless textmd textminus textmu textnormal textohm textonehalf
    textperthousand textpm textquotedblleft textquotedblright textquoteleft textquoteright textregistered textrm
    textsc textsf textsl textstyle textsubscript textsuperscript texttimes texttrademark texttt textunderscore
    textup textwidth tfrac thanks theequation thefootnote thepage therefore thesection theta thickapprox thicksim
    thickspace thinspace thispagestyle tikz tilde times tiny title toprule triangle triangledown triangleleft
    trianglelefteq triangleq triangleright trianglerighteq tripledash ttfamily twocolumn twoheadleftarrow
    twoheadrightarrow
    """.split()
)
# Those whose rest is a word or a variable: "\nu" may be a new line before "u". Relations stand between two operands.
_RELATIONS = frozenset("ne ni nless nmid nparallel nprec nsim nsucc".split())
_SYMBOLS = frozenset("neg nexists nu".split())
_AFTER_TAB = frozenset("tan text tg to top tr tt".split())
# Other commands, enough to see that a model does escape its backslashes.
_OTHER = frozenset(
    """
    alpha angle approx arccos arcsin arctan ast bar begin beta big binom bmod boldsymbol bot cap cases cdot cdots chi
    circ cong cos cosh cot csc cup dagger ddots deg delta det dfrac dim displaystyle div dots ell emptyset end epsilon
    equiv eta exists exp forall frac gamma gcd ge geq hat hbar hline hspace iff implies in infty int iota kappa ker
    label lambda langle lceil ldots le left leq lfloor lim limits ln log lvert mapsto mathbb mathbf mathcal mathit
    mathrm max mid min mod mu oint omega operatorname oplus otimes overline overset partial perp phi pi pm pmod prime
    prod propto psi qquad quad sec sigma sim sin sinh sqrt star subset subseteq sum sup supset textbf underbrace
    underline underset upsilon varepsilon varphi vdots vec vee vert vspace wedge widehat xi zeta Delta Gamma Lambda
    Leftrightarrow Omega Phi Pi Psi Rightarrow Sigma Theta Xi
    """.split()
)
_COMMANDS = _CERTAIN | _RELATIONS | _SYMBOLS | _AFTER_TAB | _OTHER

_TOKEN = re.compile(
    r"""
      (?P<pairs>(?:\\\\)+) (?P<command>[A-Za-z]*)         # backslashes that are escaped
    | \\ (?P<name>[bfnrt][A-Za-z]*)                       # an escape, or a command
    | \\ (?P<escape>["/]|u[0-9a-fA-F]{4})                 # an escape, whatever follows
    | \\ (?P<illegal>u[0-9a-fA-F]*\Z|[A-Za-z]+|[^A-Za-z]|\Z)              # no escape at all
    | (?P<math>\$\$?) | (?P<quote>")
    """,
    re.VERBOSE | re.DOTALL,
)
_OPERAND_BEFORE = re.compile(r"[A-Za-z0-9)}\]|'!.$][ ]*\Z")
_OPERAND_AFTER = re.compile(
    r"[ ]*(?:[-+]?[A-Za-z0-9({|.$]|\\+"
    r"(?!(?:in|leq?|geq?|neq?|lt|gt|to|approx|sim|equiv|times|cdot|mapsto|subset)\b)[a-z])"
)
# Where source is broken into lines: a row of a matrix ends, mathematics or an environment begins.
_LINE_BREAK = re.compile(r"(?:\\\\|\\\[|\$\$|\\begin\{[a-z]+\*?\}(?:\[[^\]]*\])?(?:\{[^}]*\})?)\Z")
_PROSE_AFTER = re.compile(r" [a-z]{3,}")

Style = Literal["escaped", "single", "mixed", "unknown"]


def escape_latex(text: str) -> str:
    """Double the backslashes of JSON text that are meant as they stand.

    Args:
        text (`str`): A reply that may hold JSON.

    Returns:
        `str`: The same, in which every backslash begins an escape of JSON that is meant as one.
    """
    if "\\" not in text:
        return text
    state = _State(_style(text))
    pieces: list[str] = []
    position = 0
    for match in _TOKEN.finditer(text):
        pieces += (text[position : match.start()], state.replace(match, text))
        position = match.end()
    return "".join([*pieces, text[position:]])


def _style(text: str) -> Style:
    """How the backslashes of a reply are written, as far as it can be told."""
    escaped = single = 0
    for match in _TOKEN.finditer(text):
        if match["pairs"]:
            escaped += match["pairs"] == "\\\\" and match["command"] in _COMMANDS
        elif match["name"]:
            single += match["name"] in _CERTAIN or (match["name"][0] in "bf" and match["name"] in _COMMANDS)
        elif match["illegal"]:
            is_cut_off = match.end() == len(text) and match["illegal"][0] == "u"
            single += match["illegal"] != "'" and not is_cut_off
    if escaped and single:
        return "mixed"
    return "escaped" if escaped else "single" if single else "unknown"


@dataclass
class _State:
    """Where in a reply a token stands."""

    style: Style
    in_math: bool = False
    environments: int = 0
    after_break: bool = False  # directly behind a new line or a tab
    position: int = -1  # end of the last token

    def replace(self, match: re.Match[str], text: str) -> str:
        """The token as it is meant."""
        after_break = self.after_break and self.position == match.start()
        self.after_break, self.position = False, match.end()
        token = match[0]
        if match["quote"]:
            self.in_math, self.environments = False, 0
        elif match["math"]:
            self.in_math = not self.in_math
        elif match["pairs"]:
            self._note(match["command"] or text[match.end() : match.end() + 1])
            # Where no backslash is escaped, two of them end a row of a matrix.
            is_row_end = self.style == "single" and (self.in_math or self.environments > 0)
            if is_row_end and match["pairs"] == "\\\\":
                return "\\\\" + token
        elif match["illegal"] is not None:
            self._note(match["illegal"])
            return "'" if match["illegal"] == "'" else "\\" + token
        elif match["name"]:
            self._note(match["name"])
            if self._is_command(match, text, after_break):
                return "\\" + token
            self.after_break = len(match["name"]) == 1 and match["name"] in "nrt"
        return token

    def _note(self, command: str) -> None:
        if command[:1] in ("(", "["):
            self.in_math = True
        elif command[:1] in (")", "]"):
            self.in_math = False
        elif command in ("begin", "end"):
            self.environments = max(0, self.environments + (1 if command == "begin" else -1))

    def _is_command(self, match: re.Match[str], text: str, after_break: bool) -> bool:
        name = match["name"]
        if len(name) == 1:  # a regular expression's \\b, say; no text holds a backspace
            return name in "bf" and self.style != "escaped"
        if name[0] in "bf" or name in _CERTAIN:
            return True
        if self.style == "escaped":
            return False
        before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() : match.end() + 40]
        if name[0] == "n" and _LINE_BREAK.search(before):
            return False
        in_math, blank = self.in_math or self.environments > 0, before.endswith(" ")
        if name in _RELATIONS:
            between = bool(_OPERAND_BEFORE.search(before)) and bool(_OPERAND_AFTER.match(after))
            return between and (in_math or blank)
        if name in _SYMBOLS:
            if name == "neg" and after[:1] in (".", ",", ":"):
                return False
            return in_math or blank or before[-1:] in tuple("({[=+-*/^_,")
        if name in _AFTER_TAB:
            if after_break and not in_math:
                return False
            if name == "text":
                return after.lstrip(" ").startswith("{") or (in_math and after[:1] == " ")
            if name == "to":
                return in_math or after[:1] == " "
            return in_math or not _PROSE_AFTER.match(after)
        # No command of LaTeX, but maybe one of the document's own: new lines are too frequent to take for one.
        return self.style == "single" and name[0] in "rt" and not after_break and (in_math or after[:1] in ("{", "_"))
