r"""Question-answer pairs from doctests, which state what an expression gives. Nothing is ever executed.

The question is an expression together with the earlier lines of the same text that it depends on, found by following
names backwards; the answer is the output that the author wrote down.

>>> from equal_hf.types import Document
>>> text = ">>> unused = 1\n>>> x = [3, 1]\n>>> x.sort()\n>>> x\n[1, 3]\n"
>>> [pair] = doctest_pairs(Document("d1", text))
>>> print(pair.question)
What does the last statement of this Python code output?
<BLANKLINE>
```python
x = [3, 1]
x.sort()
x
```
>>> pair.answer
'[1, 3]'
"""

from __future__ import annotations

import ast
import doctest
import re
import warnings
from collections.abc import Iterator
from itertools import accumulate

from equal_hf.extraction.explicit.python_session import MAX_CONTEXT, Session, Statement
from equal_hf.types import Document, QAPair, Rejection

QUESTION = "What does the last statement of this Python code output?"

MAX_LINE_CHARACTERS = 1000
MAX_CHARACTERS = 2000  # of the code with its context, and of the output


def doctest_pairs(document: Document) -> Iterator[QAPair | Rejection]:
    """Read the doctests of a document.

    Every example that has an output becomes a pair or a rejection. The reasons are `"doctest_unparsable"` (no valid
    doctest or no valid Python), `"doctest_too_long"` (a line, the code with its context, or the output),
    `"doctest_traceback"`, `"doctest_skipped"` (marked `+SKIP`, so nobody checks the output), `"doctest_ellipsis"`,
    `"doctest_address"` and `"doctest_varies"` (the output is not told in full, or differs from run to run),
    `"doctest_no_expression"` (an assignment or an import outputs nothing; what follows it is prose),
    `"doctest_several_outputs"` (`f(1); f(2)`) and `"doctest_undefined_name"` (it depends on a value that the text does
    not define; an undefined *function or module* is taken for what the text describes).

    Args:
        document (`Document`): Any text.

    Yields:
        `QAPair | Rejection`: In document order; a pair's span reaches from the first line it depends on to the end of
        its output.
    """
    if ">>>" not in document.text:
        return
    session = Session()
    with warnings.catch_warnings(action="ignore"):  # invalid escapes and the like in code that is not ours
        for item in _examples(document):
            if isinstance(item, Rejection):
                yield item
                continue
            example, statement = item
            result = _judge(document, example, statement, session)
            session.add(statement)
            if result is not None:
                yield result


_FIRST_LINE = re.compile(r"^[ \t]*>>>", re.MULTILINE)
_BLOCK_END = re.compile(r"\n[ \t]*(?=\n|```|~~~)")
_LONG_LINE = re.compile(rf"[^\n]{{{MAX_LINE_CHARACTERS + 1}}}")
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*doctest:[^\n]*")
_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]+")
_VARIES = re.compile(r"#[ \t]*(?:random|may vary)\b")  # what NumPy's authors write beside such an output
_PARSER = doctest.DocTestParser()


def _examples(document: Document) -> Iterator[tuple[doctest.Example, Statement] | Rejection]:
    """The examples of a text. Each block of lines is parsed by itself, so a broken one does not take others along."""
    text = document.text
    position = 0
    while match := _FIRST_LINE.search(text, position):
        block_end = _BLOCK_END.search(text, match.end())
        position = block_end.start() if block_end else len(text)
        block = text[match.start() : position]
        if _LONG_LINE.search(block):
            yield Rejection(document.id, "doctest_too_long", question=block[:MAX_CHARACTERS])
            continue
        try:
            examples = _PARSER.get_examples(block)
        except ValueError:
            yield Rejection(document.id, "doctest_unparsable", question=block[:MAX_CHARACTERS])
            continue
        lines = block.split("\n")
        starts = list(accumulate((len(line) + 1 for line in lines), initial=match.start()))
        for example in examples:
            code = _DIRECTIVE.sub("", example.source).rstrip()
            if len(code) > MAX_CHARACTERS:
                yield Rejection(document.id, "doctest_too_long", question=code[:MAX_CHARACTERS])
                continue
            end = example.lineno + 1
            while end < len(lines) and lines[end].lstrip().startswith("..."):
                end += 1
            end += example.want.count("\n")
            try:
                statement = Statement.parse(code, bool(example.want), starts[example.lineno], starts[end] - 1)
            except ValueError:
                yield Rejection(document.id, "doctest_unparsable", question=code)
                continue
            if statement is not None:
                yield example, statement


def _judge(
    document: Document, example: doctest.Example, statement: Statement, session: Session
) -> QAPair | Rejection | None:
    """The pair that a statement makes with what came before it, or why it makes none; None for one without output."""
    output = "\n".join(line.rstrip() for line in example.want.replace("<BLANKLINE>", "").split("\n")).strip("\n")
    output = output if "\n" in output else output.strip()
    if not output:
        return None
    context = session.context(statement)
    code = "\n".join([*(part.code for part in context or ()), statement.code])
    reason = None
    if example.exc_msg is not None or output.startswith("Traceback ("):
        reason = "doctest_traceback"
    elif example.options.get(doctest.SKIP):
        reason = "doctest_skipped"
    elif "..." in output:
        reason = "doctest_ellipsis"
    elif _ADDRESS.search(output):
        reason = "doctest_address"
    elif _VARIES.search(output) or _VARIES.search(statement.code):
        reason = "doctest_varies"
    elif any(isinstance(node, ast.Expr) for node in statement.body[:-1]):
        reason = "doctest_several_outputs"
    elif not isinstance(statement.last, ast.Expr | ast.For | ast.While | ast.If | ast.With | ast.Try):
        reason = "doctest_no_expression"
    elif max(len(output), len(code)) > MAX_CHARACTERS or len(context or ()) > MAX_CONTEXT:
        reason = "doctest_too_long"
    if reason is not None or context is None:
        return Rejection(document.id, reason or "doctest_undefined_name", code[:MAX_CHARACTERS], output)
    return QAPair(
        f"{QUESTION}\n\n```python\n{code}\n```",
        output,
        document_id=document.id,
        cluster=document.cluster,
        span=(min(part.start for part in (*context, statement)), statement.end),
        method="doctest",
    )
