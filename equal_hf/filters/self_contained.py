r"""Reject questions that cannot be answered alone, because they point at something that is not in them.

>>> filter, document = SelfContainedFilter(), Document("d", "")
>>> filter.check(QAPair("What does the figure above show?", "A triangle.", "d"), document)
'not_self_contained'
>>> filter.check(QAPair("Is the following true?\n\n1 + 1 = 2", "Yes.", "d"), document)
"""

from __future__ import annotations

import re
from typing import Any

from equal_hf.filters.normalise import visible
from equal_hf.types import Document, QAPair


class SelfContainedFilter:
    """Knows the usual ways of pointing out of a question; anything else passes, since precision comes before recall.

    - a text that the reader is taken to have: "in this passage", "according to the author";
    - something drawn: "in the figure", "the graph above", "as shown below";
    - something numbered or earlier: "see Table 3", "the previous exercise";
    - "the following …", "… below" and "… above" with nothing after or before it in the question;
    - nothing but such words: "How does it work?", "What is the purpose of this function?".

    Measured on 21,916 questions of textbooks, quizzes and forums: 1.5 % rejected; of 160 of these read one by one,
    16 point at nothing outside them, and some 20 could be answered without the choices that they lack.

    Fenced code is part of the question but not read for such words. English has all of these; German, French, Spanish,
    Italian and Portuguese have the commonest phrases ("laut dem Text", "la figure ci-dessus").
    """

    name = "self_contained"

    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": 3}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`not_self_contained`, or None."""
        outside = points_outside(pair.question) or names_nothing(pair.question)
        return "not_self_contained" if outside else None


def points_outside(question: str) -> bool:
    """Whether a question points at something that is not in it.

    >>> points_outside("What is the area of the triangle in Figure 3.2?"), points_outside("Find the graph of y = 2x.")
    (True, False)
    """
    question = visible(_CIRCLED.sub(r";\g<0>", question))  # "ⓐ" would become a plain "a", and no alternative any more
    folded = question.lower()
    if len(question) > _MAX_CHARACTERS or not any(hint in folded for hint in _HINTS):
        return False
    text = _CODE.sub("\n\u2026\n", question)  # what is fenced counts as material, under a sign no pattern reads
    if _ELSEWHERE.search(text) or _OTHER_LANGUAGES.search(text):
        return True
    if _DRAWING.search(text) and not _TABLE.search(text):
        return True
    if any(not _has_material_after(text, match.end()) for match in _FORWARD.finditer(text)):
        return True
    return any(not _has_material_before(text, match.start()) for match in _BACKWARD.finditer(text))


def names_nothing(question: str) -> bool:
    """Whether a short English question asks about "it" or "this function" and holds no word of what that is.

    >>> names_nothing("How does it work?"), names_nothing("What is the purpose of the abs function?")
    (True, False)
    """
    question = visible(question)
    if len(question) > _MAX_VAGUE_CHARACTERS or _FORMULA.search(question):
        return False
    said = set(_LETTERS.findall(question.lower()))
    return said <= _EMPTY | _POINTING and not said.isdisjoint(_POINTING)


_MAX_VAGUE_CHARACTERS = 80
_LETTERS = re.compile(r"[^\W_]+")
_FORMULA = re.compile(r"[`$\\={}<>\"\n]")
_POINTING = frozenset(
    "this that it its these those they them there function method class module code line document documentation "
    "docstring text passage program script".split()
)
_EMPTY = frozenset(
    "what how why when where which who does do did is are was were can could will would should the a an of for to in "
    "on and or about purpose meaning use using used work works mean means package lines file example thing done main "
    "name type kind you we i explain describe tell me answer answers question questions output result returns "
    "return".split()
)

# Every pattern below needs one of these, and most questions hold none, which a look at them shows ten times as fast.
_HINTS = (
    "follow above below here passage text excerpt paragraph article document section chapter lesson snippet author "
    "narrator speaker context source material figur fig. diagram graph picture image photo illustration chart tab map "
    "drawing plot sketch screenshot exerci problem example question activity theorem lemma appendix exhibit abbildung "
    "abb. autor abschnitt kapitel absatz artikel dokument aufgabe grafik gráfico graphique ejercicio exercício cuadro "
    "auteur chapitre extrait pasaje artículo artigo fragmento trecho capítulo brano capitolo paragrafo testo articolo "
    "autrice esercizio"
).split()
_MAX_CHARACTERS = 1500  # a longer question, such as a forum's, brings along what it talks of

# Things that are drawn or set apart, and so are lost when a question is taken out of its page.
_DRAWN = (
    r"(?:figures?|diagrams?|graphs?|pictures?|images?|photo(?:graph)?s?|illustrations?|charts?|tables?|maps?|drawings?"
    r"|plots?|sketch(?:es)?|screenshots?)"
)
_WRITTEN = r"(?:passages?|texts?|excerpts?|paragraphs?|articles?|documents?|sections?|chapters?|lessons?|snippets?)"
_TASK = r"(?:exercises?|problems?|examples?|questions?|activity)"
_HERE = rf"(?:{_DRAWN}|{_WRITTEN}|{_TASK}|code|data|equations?|lists?|statements?|information|scenario|story|poem)"

_ELSEWHERE = re.compile(
    "|".join(
        (
            # A text the reader is taken to have before them.
            rf"\b(?:in|of|from|by|to|throughout|does|did|is|was|after|before) this {_WRITTEN}\b",
            rf"\b(?:in|to|from) the (?:given |provided )?(?:passage|excerpt)\b|\bthe accompanying {_WRITTEN}\b",
            rf"\b(?:according to|mentioned in|described in|discussed in|stated in|outlined in|as per) the "
            rf"(?:given |provided )?(?:{_WRITTEN}|{_DRAWN}|author|narrator|speaker|context|source|material|textbook)\b"
            r"(?! (?:of|for|in|about|on|from|by|entitled|titled|called)\b)",
            r"\b(?:does|did|do) the (?:author|narrator|passage|excerpt)s?\b(?! of\b)",
            # Something earlier.
            rf"\b(?:the|your|this|that) (?:previous|preceding) {_TASK}\b",
            # Something numbered. "Equation 2x + 3 = 5" is none of these, nor is "Exercise 5 minutes a day", and
            # "chapter 1 of Emma" is known to all.
            r"\b(?:in|from|of|on|see|using|use|by|to|at|for|with|and|the)\s+"
            r"(?:(?-i:Figures|Tables|Exercises|Problems)|figure|fig\.|table|exercise|example|problem|theorem|lemma|chapter"
            r"|section|appendix|exhibit)"
            r"\s+\(?(?:\d+(?:[.\-–]\d+)*[a-z]?|(?-i:[A-HJ-Z])(?:\.?\d+)?)\b(?!\s*(?:[+=*/^']|of\b|minutes?|hours?|days?))",
        )
    ),
    re.IGNORECASE,
)
_DRAWING = re.compile(
    "|".join(
        (
            r"\b(?:in|from|on|using|use|see|consider|examine|study|observe|at|to|by) the "
            r"(?:figure|diagram|illustration|photograph)s?\b(?!\s*(?:of\b|for\b|[\d$\\]))",
            rf"\b(?:shown|pictured|depicted|illustrated|displayed|drawn|plotted|sketched|given|graphed) (?:in|on) the "
            rf"{_DRAWN}\b(?!\s*(?:of|for)\b)",
            rf"\bthe (?:accompanying|attached|adjacent) {_DRAWN}\b",
        )
    ),
    re.IGNORECASE,
)
_TABLE = re.compile(r"\n[^\n|]*\|[^\n]*\n|\t")  # what was a table in print is one still

_BEFORE_NOUN = r"(?:[\w-]+ ){0,2}?"
_FORWARD = re.compile(
    rf"\b(?:the|these|those) following\b(?! (?:year|day|week|month|morning|evening|night|season|summer|winter|spring"
    rf"|decade|century|spring|afternoon)s?\b)"
    rf"|\b(?:the|this|these) {_BEFORE_NOUN}{_HERE} (?:shown |given |listed |pictured )?below\b"
    r"|\b(?:shown|given|listed|pictured|depicted|described|illustrated|provided|stated) (?:here|below)\b",
    re.IGNORECASE,
)
_BACKWARD = re.compile(
    rf"\bthe {_BEFORE_NOUN}{_HERE} (?:shown |given |listed |pictured )?above\b"
    rf"|\bthe (?:above|above-mentioned|previous|preceding) {_HERE}\b"
    r"|\b(?:shown|listed|pictured|depicted|described|mentioned|illustrated|stated) above\b",
    re.IGNORECASE,
)

# What a question brings along after "the following": a line, a list, a formula, a quotation, numbers, alternatives.
_MATERIAL = re.compile(r"\n\s*\S|[:;$`\"“„«…|{]|\(?\b[a-dA-D1-4][).]\s|\d|\bor\b|\\\(|[=<>]")
_CIRCLED = re.compile("[①-⑳ⓐ-ⓩ]")
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(r"[.?!]\s+")
_MIN_MATERIAL = 100  # characters: a sentence or two, which "above" or "the following" may well mean


def _has_material_after(text: str, position: int) -> bool:
    if len(text) - position >= _MIN_MATERIAL or _MATERIAL.search(text, position):
        return True
    sentence_end = _SENTENCE_END.search(text, position)
    return sentence_end is not None and len(text) - sentence_end.end() > 20


def _has_material_before(text: str, position: int) -> bool:
    before = text[:position].strip()
    return len(before) >= _MIN_MATERIAL or "\n" in before


_OTHER_LANGUAGES = re.compile(
    "|".join(
        (
            # German
            r"\b(?:in|aus|siehe|laut) (?:der )?(?:abbildung|tabelle|abb\.)\s*\d",
            r"\b(?:laut|gemäß|nach) (?:dem |der |des )?(?:text|textes|autors?|autorin|abschnitt|dokument|artikel)\b",
            r"\b(?:in diesem|im obigen|im vorliegenden) (?:text|abschnitt|kapitel|absatz|artikel|dokument)\b",
            r"\b(?:obige|obigen|abgebildete|abgebildeten|vorherigen?|vorigen?) (?:abbildung|tabelle|aufgabe|grafik)\b",
            # French
            r"\b(?:figure|tableau|exercice|graphique|texte) (?:ci-dessus|ci-contre|précédente?)\b",
            r"\b(?:selon|d['’]après) (?:le |la |l['’]|ce |cet )(?:texte|auteure?|passage|document|article|extrait)\b",
            r"\bdans (?:ce|le|cet) (?:texte|passage|chapitre|extrait|document|paragraphe)\b",
            r"\b(?:dans|voir|de) (?:la figure|le tableau) \d",
            # Spanish and Portuguese
            r"\b(?:figura|tabla|tabela|gráfico|ejercicio|exercício|cuadro) (?:anterior|de arriba|acima)\b",
            r"\b(?:según|segundo|de acuerdo con|de acordo com) (?:el |la |o |a )"
            r"(?:texto|autora?|pasaje|documento|artículo|artigo|fragmento|trecho)\b",
            r"\ben (?:este|el) (?:texto|pasaje|capítulo|fragmento)\b|\b(?:neste|no) (?:texto|trecho|capítulo)\b",
            r"\b(?:en la|na) (?:figura|tabla|tabela) \d",
            # Italian
            r"\b(?:figura|tabella) (?:precedente|qui sopra|sopra)\b|\besercizio precedente\b",
            r"\bsecondo (?:il |l['’]|la )(?:testo|autore|autrice|brano|documento|articolo)\b",
            r"\bin questo (?:testo|brano|capitolo|paragrafo)\b|\bnella (?:figura|tabella) \d",
        )
    ),
    re.IGNORECASE,
)
