r"""Question-answer pairs from doctests, which state what an expression gives. Nothing is ever executed.

The question is an expression together with every earlier statement of the same text, but for those that only show a
value; the answer is the output that the author wrote down.

>>> from equal_hf.types import Document
>>> text = ">>> x = [3, 1]\n>>> len(x)\n2\n>>> x.sort()\n>>> x\n[1, 3]\n"
>>> _, pair = doctest_pairs(Document("d1", text))
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
import builtins
import doctest
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from equal_hf.types import Document, QAPair, Rejection

QUESTION = "What does the last statement of this Python code output?"

MAX_CONTEXT = 30  # earlier statements
MAX_LINE_CHARACTERS = 1000
MAX_CHARACTERS = 2000  # of the code with its context, and of the output


def doctest_pairs(document: Document) -> Iterator[QAPair | Rejection]:
    """Read the doctests of a document.

    Every example that has an output becomes a pair or a rejection. The reasons are `"doctest_unparsable"` (no valid
    doctest or no valid Python), `"doctest_too_long"` (a line, the code with its context, or the output),
    `"doctest_traceback"`, `"doctest_skipped"` (marked `+SKIP`, so nobody checks the output), `"doctest_ellipsis"`,
    `"doctest_address"` and `"doctest_varies"` (the output is not told in full, or differs from run to run),
    `"doctest_no_expression"` (an assignment or an import outputs nothing; what follows it is prose),
    `"doctest_several_outputs"` (`f(1); f(2)`) and `"doctest_undefined_name"` (it reads a value that the text does not
    define; an undefined *function or module* is taken for what the text describes).

    Args:
        document (`Document`): Any text.

    Yields:
        `QAPair | Rejection`: In document order; a pair's span reaches from the first statement in its question to the
        end of its output.
    """
    if ">>>" not in document.text:
        return
    session = _Session()
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


@dataclass(frozen=True, slots=True)
class _Statement:
    """One input of a session: its code, its syntax trees, and where it and its output stand in the text."""

    code: str
    body: list[ast.stmt]
    has_output: bool
    start: int
    end: int

    def nodes(self) -> Iterator[ast.AST]:
        """All nodes of its syntax trees."""
        return (node for tree in self.body for node in ast.walk(tree))


class _Session:
    """The statements of a text so far."""

    def __init__(self) -> None:
        self.context: list[_Statement] = []
        self._defined = set(dir(builtins))
        self._variables: set[str] = set()

    def add(self, statement: _Statement) -> None:
        """Take a statement into account for those after it."""
        if not self._only_shows(statement):
            self.context.append(statement)
        imported, bound = _names(statement)
        self._variables = (self._variables - imported) | bound
        if not self.lacks_a_value(statement):
            self._defined |= imported | bound

    def lacks_a_value(self, statement: _Statement) -> bool:
        """Whether a statement reads a value that nothing before it defines."""
        described = {id(node.func) for node in statement.nodes() if isinstance(node, ast.Call)}
        described |= {id(node.value) for node in statement.nodes() if isinstance(node, ast.Attribute)}
        loads = (node for node in statement.nodes() if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
        values = {node.id for node in loads if id(node) not in described}
        return "*" not in self._defined and not values <= self._defined.union(*_names(statement))

    def _only_shows(self, statement: _Statement) -> bool:
        """Whether a statement shows a value and, as far as the names of methods tell, changes no variable."""
        if not statement.has_output or not all(isinstance(node, ast.Expr) for node in statement.body):
            return False
        return not any(
            isinstance(node, ast.NamedExpr) or (isinstance(node, ast.Call) and self._may_change(node.func))
            for node in statement.nodes()
        )

    def _may_change(self, function: ast.expr) -> bool:
        if isinstance(function, ast.Name):
            return function.id == "next"
        if not isinstance(function, ast.Attribute) or not _CHANGES.fullmatch(function.attr):
            return False
        root = function.value
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        return isinstance(root, ast.Name) and root.id in self._variables


def _names(statement: _Statement) -> tuple[set[str], set[str]]:
    """The names that a statement imports, and those that it binds otherwise, inside its functions too."""
    imported: set[str] = set()
    bound: set[str] = set()
    for node in statement.nodes():
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            imported.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler):
            bound.add(node.name or "")
    return imported, bound


# Methods that may change their object although they return something; a last underscore is PyTorch's sign for it.
_CHANGES = re.compile(
    r"(?:add|append|clear|del|discard|extend|insert|next|pop|push|put|read|register|remove|reset|send|set|shuffle|sort"
    r"|update|write).*|.*_"
)
_FIRST_LINE = re.compile(r"^[ \t]*>>>", re.MULTILINE)
_BLOCK_END = re.compile(r"\n[ \t]*(?=\n|```|~~~)")
_LONG_LINE = re.compile(rf"[^\n]{{{MAX_LINE_CHARACTERS + 1}}}")
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*doctest:[^\n]*")
_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]+")
_VARIES = re.compile(r"#[ \t]*(?:random|may vary)\b")  # what NumPy's authors write beside such an output
_PARSER = doctest.DocTestParser()


def _examples(document: Document) -> Iterator[tuple[doctest.Example, _Statement] | Rejection]:
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
                body = ast.parse(code).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                yield Rejection(document.id, "doctest_unparsable", question=code)
                continue
            if body:
                yield example, _Statement(code, body, bool(example.want), starts[example.lineno], starts[end] - 1)


def _judge(
    document: Document, example: doctest.Example, statement: _Statement, session: _Session
) -> QAPair | Rejection | None:
    """The pair that a statement makes with what came before it, or why it makes none; None for one without output."""
    output = "\n".join(line.rstrip() for line in example.want.replace("<BLANKLINE>", "").split("\n")).strip("\n")
    output = output if "\n" in output else output.strip()
    if not output:
        return None
    context = session.context if len(session.context) <= MAX_CONTEXT else []
    code = "\n".join(part.code for part in (*context, statement))
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
    elif not isinstance(statement.body[-1], ast.Expr | ast.For | ast.While | ast.If | ast.With | ast.Try):
        reason = "doctest_no_expression"
    elif max(len(output), len(code)) > MAX_CHARACTERS or len(session.context) > MAX_CONTEXT:
        reason = "doctest_too_long"
    elif session.lacks_a_value(statement):
        reason = "doctest_undefined_name"
    if reason is not None:
        return Rejection(document.id, reason, code[:MAX_CHARACTERS], output)
    return QAPair(
        f"{QUESTION}\n\n```python\n{code}\n```",
        output,
        document_id=document.id,
        cluster=document.cluster,
        span=(min(part.start for part in (*context, statement)), statement.end),
        method="doctest",
    )
