r"""Question-answer pairs that an author has marked as such: Q and A, exercise and solution, a heading that asks.

>>> from equal_hf.types import Document
>>> text = "Q1: What is 2 + 2?\nA: It is 4.\n\n## Is 7 prime?\n\nYes.\n\n## Notes\n\nNone."
>>> for pair in marked_pairs(Document("d1", text)):
...     print(pair.method, "|", pair.question, "|", pair.answer)
question_answer | What is 2 + 2? | It is 4.
faq | Is 7 prime? | Yes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from equal_hf.types import Document, QAPair

QUESTION_ANSWER = "question_answer"
EXERCISE_SOLUTION = "exercise_solution"
FAQ = "faq"


def marked_pairs(document: Document) -> Iterator[QAPair]:
    """Read the marked questions and answers of a document.

    - `"question_answer"`: `Question:` … `Answer:`, `Q.` … `A.`, also numbered (`Q12:`, `Question 3.`). The options of
      a multiple-choice question belong to the question.
    - `"exercise_solution"`: `Exercise`, `Problem` or `Example` … `Solution` or `Answer`, also numbered or named
      (`Example 3.2 (Euler).`). Between two solutions an unmarked exercise is the paragraph before its solution.
    - `"faq"`: a heading that ends in a question mark, answered by the text under it. Markdown and reStructuredText
      headings count, and bold lines. A title above other headings does not.

    A mark stands at the start of a line, plain, bold, or as a heading. An answer ends at the next mark of a question,
    the next heading or a horizontal rule, and answers collected in another place find their question by number. Fenced
    code is never searched for marks.

    Args:
        document (`Document`): Any text; the time taken grows with its length, whatever it holds.

    Yields:
        `QAPair`: In the order in which the answers stand; a span reaches from the question's mark to the answer's end.
    """
    scanner = _Scanner(document)
    for line in _marked_lines(document.text):
        yield from scanner.read(line)
    yield from scanner.close(len(document.text))


_LINE = re.compile(
    r"""
    ^(?:
      (?P<fence>[ ]{0,3}(?:`{3,}|~{3,}))[^\n]*
    | [ \t>]{0,8}(?P<prefix>\#{1,6}[ \t]{1,4}|[-*+][ \t]{1,4})?
      (?P<style>[*_]{0,3})(?:\d{1,4}[.)][ \t]{1,4})?
      (?P<mark>(?P<letter>[QA]|Ans)|Question|QUESTION|Answer|ANSWER
        |Exercise|EXERCISE|Problem|PROBLEM|Example|EXAMPLE|Solution|SOLUTION)
      (?:(?:(?<=Q)\.)?[ \t]{0,4}(?:No\.[ \t]?|\#)?(?P<number>\d{1,4}(?:\.\d{1,4}){0,3}))?
      (?:[ \t]{1,4}\([^()\n]{1,80}\))?
      [*_]{0,3}[ \t]{0,4}
      (?: (?: : | \.(?=[ \t*_\n]|--|\u2014|\Z) | (?<!A)\)(?=[ \t*_\n]|\Z) )[*_]{0,3}(?:--|\u2014)?(?P<text>[^\n]*)
        | (?(letter)(?!))(?=\n|\Z)(?:\n(?P<under>[=~^"-])(?P=under){2,}[ \t]*(?=\n|\Z))?
      )
    | [ ]{0,3}(?P<level>\#{1,6})[ \t]{1,4}(?P<heading>[^\n]*)
    | [ \t]{0,3}(?P<bold>\*\*|__)(?P<line>[^\n]{1,300}?)(?P=bold):?[ \t]*(?=\n|\Z)
    | (?P<title>[^\s][^\n]{0,200})\n(?P<underline>[=~^"'*+-])(?P=underline){2,}[ \t]*(?=\n|\Z)
    | [ ]{0,3}(?P<rule>-{3,}|\*{3,}|_{3,})[ \t]*(?=\n|\Z)
    )""",
    re.MULTILINE | re.VERBOSE,
)
_DEEPER_HEADING = re.compile(r"^[ ]{0,3}##", re.MULTILINE)
_OPTION_B = re.compile(r"^[ \t]*\(?[Bb][.)][ \t]", re.MULTILINE)
_NUMBERING = re.compile(r"^\d{1,4}(?:\.\d{1,4}){0,3}[.)]?[ \t]+")
_ASKING = {
    "Q": QUESTION_ANSWER,
    "Question": QUESTION_ANSWER,
    "Exercise": EXERCISE_SOLUTION,
    "Problem": EXERCISE_SOLUTION,
    "Example": EXERCISE_SOLUTION,
}


def _marked_lines(text: str) -> Iterator[re.Match[str]]:
    """The lines that mean something, those inside fenced code left out."""
    fence = ""
    for line in _LINE.finditer(text):
        mark = (line["fence"] or "").strip()
        if not fence and not mark:
            yield line
        elif not fence:
            fence = mark
        elif mark.startswith(fence):
            fence = ""


@dataclass(slots=True)
class _Open:
    """A question that is being read, and its answer once that has begun. Positions in the text; -1 for not yet."""

    kind: str
    start: int
    question_start: int
    question_end: int = -1
    answer_start: int = -1
    number: str | None = None
    style: str = ""
    is_bold_line: bool = False
    may_be_options: bool = False  # "A." begins an answer, or the first of several options
    checked: int = -1  # how far into the answer a later mark has looked, so that none looks twice


class _Scanner:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._text = document.text
        self._open: _Open | None = None
        self._waiting: dict[str, _Open] = {}  # numbered questions without an answer so far
        title = re.match(r"\s*#[ \t]", self._text)
        self._title_end = title.end() if title and _DEEPER_HEADING.search(self._text) else 0

    def read(self, line: re.Match[str]) -> Iterator[QAPair]:
        """Take the next line; the pair that it ends, if there is one."""
        mark = line["mark"]
        if mark is None:
            yield from self._read_heading(line)
        elif kind := _ASKING.get(mark.capitalize()):
            yield from self.close(line.start())
            start = line.end() if line["text"] is None else line.start("text")
            self._open = _Open(kind, line.start(), start, number=line["number"], style=line["style"])
            is_heading = line["style"] or (line["prefix"] or "").startswith("#")
            if is_heading and (line["text"] or "").rstrip("*_# \t").endswith("?"):
                self._open.kind = FAQ
                self._open.question_end = self._open.answer_start = line.end()
        else:
            yield from self._read_answer(line)

    def close(self, end: int) -> Iterator[QAPair]:
        """End what is open before a position; the pair that it makes, if it makes one."""
        part, self._open = self._open, None
        if part is None:
            return
        if part.answer_start < 0:
            part.question_end = end
            if part.number:
                self._waiting[part.number] = part
            return
        answer = self._text[part.answer_start : end].strip()
        question = self._text[part.question_start : part.question_end].strip()
        if part.kind == FAQ:
            question = _NUMBERING.sub("", question.strip("#*_: \t"))
        elif part.style:
            question = question.removesuffix(part.style)
        if question and answer and not (part.may_be_options and _OPTION_B.search(answer)):
            document = self._document
            span = (part.start, part.answer_start + len(self._text[part.answer_start : end].rstrip()))
            yield QAPair(question, answer, document.id, document.cluster, span, part.kind)

    def _read_heading(self, line: re.Match[str]) -> Iterator[QAPair]:
        group = next(name for name in ("heading", "line", "title", "rule") if line[name] is not None)
        is_bold = group == "line"
        if is_bold and self._open is not None and not self._open.is_bold_line:
            return  # emphasis inside an answer
        yield from self.close(line.start())
        heading = line[group].strip("#*_: \t")
        if heading.endswith("?") and heading.strip("? ") and line.start() >= self._title_end:
            start, end = line.span(group)
            self._open = _Open(FAQ, line.start(), start, end, line.end(), is_bold_line=is_bold)

    def _read_answer(self, line: re.Match[str]) -> Iterator[QAPair]:
        text, part = self._text, self._open
        here, number = line.start(), line["number"]
        looked, start = -1, line.end() if line["text"] is None else line.start("text")
        if part is not None:
            looked, part.checked = part.checked, here
        if number and number in self._waiting and (part is None or part.number != number):
            yield from self.close(here)
            part = self._open = self._waiting.pop(number)
        elif part is None:
            return
        elif part.answer_start < 0:
            part.question_end = here
        elif part.kind == FAQ and looked < 0 and not text[part.answer_start : here].strip():
            part.kind = QUESTION_ANSWER
        elif part.may_be_options and _OPTION_B.search(text, max(looked, part.answer_start), here):
            part.question_end = here
        elif part.kind == EXERCISE_SOLUTION:
            end = here
            while end > part.answer_start and text[end - 1].isspace():
                end -= 1
            paragraph = text.rfind("\n\n", max(looked, part.answer_start), end)
            if paragraph < 0:
                return
            yield from self.close(paragraph)
            part = self._open = _Open(EXERCISE_SOLUTION, paragraph, paragraph, here)
        else:
            return
        part.answer_start = start
        part.checked = -1
        part.may_be_options = line["mark"] == "A" and number is None and not text.startswith(":", start - 1)
