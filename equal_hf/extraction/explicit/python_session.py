"""What a line of an interactive session depends on: the earlier lines that made its variables what they are.

>>> session = Session()
>>> for code in ("x = []", "y = 1", "x.append(3)"):
...     session.add(Statement.parse(code))
>>> [statement.code for statement in session.context(Statement.parse("len(x)"))]
['x = []', 'x.append(3)']
>>> session.context(Statement.parse("z + 1")) is None
True
"""

from __future__ import annotations

import ast
import builtins
import re
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice

from equal_hf.extraction.explicit.python_names import Names, read_names

MAX_CONTEXT = 30


@dataclass(frozen=True, slots=True)
class Statement:
    """One input of a session.

    Args:
        code (`str`): The source, one or more statements.
        body (`list[ast.stmt]`): Its syntax trees, at least one.
        names (`Names`): The names it deals with.
        has_output (`bool`, *optional*, defaults to `False`): Whether the session shows an output for it.
        start (`int`, *optional*, defaults to `0`): First character of it in the text.
        end (`int`, *optional*, defaults to `0`): End of its output in the text.
    """

    code: str
    body: list[ast.stmt]
    names: Names
    has_output: bool = False
    start: int = 0
    end: int = 0

    @classmethod
    def parse(cls, code: str, has_output: bool = False, start: int = 0, end: int = 0) -> Statement | None:
        """Read a statement's syntax tree and names.

        Args:
            code (`str`): Python source of any origin; it is not run.
            has_output, start, end: As above.

        Returns:
            `Statement`: The statement, or `None` for code that is only a comment.

        Raises:
            `ValueError`: If the code is no Python, or nested too deep to be read.
        """
        try:
            tree = ast.parse(code)
            names = read_names(tree)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"The code is no readable Python: {error}") from error
        return cls(code, tree.body, names, has_output, start, end) if tree.body else None

    @property
    def last(self) -> ast.stmt:
        """The syntax tree whose output is seen last."""
        return self.body[-1]

    @property
    def replaces(self) -> bool:
        """Whether the names it binds lose whatever they were before."""
        return all(isinstance(node, _REPLACING) for node in self.body)


class Session:
    """The statements of a text so far, and which of them each name depends on."""

    def __init__(self) -> None:
        self._statements: list[Statement] = []
        self._touching: dict[str, list[int]] = defaultdict(list)  # name -> statements that bind or change it
        self._local: set[str] = set()  # names that anything but an import has bound
        self._settings: dict[str, int] = {}  # what is set for all that follows -> the last statement that sets it

    def add(self, statement: Statement) -> None:
        """Take a statement into account for those after it."""
        position = len(self._statements)
        self._statements.append(statement)
        names = statement.names
        touched = names.binds
        if setting := self._setting(statement):
            self._settings[setting] = position
        else:
            touched = touched | names.changes | self._changed(statement)
        for name in touched:
            self._touching[name].append(position)
        self._local = (self._local | names.binds) - names.imports

    def context(self, statement: Statement) -> list[Statement] | None:
        """The statements that the next one depends on, in order; None where it depends on a value nobody defined.

        Stops short once there are more than `MAX_CONTEXT`.
        """
        chosen: set[int] = set()
        pending: list[tuple[str, int]] = []  # a name, and the position of the statement that reads it

        def choose(position: int) -> None:
            if position not in chosen:
                chosen.add(position)
                pending.extend((name, position) for name in self._statements[position].names.reads)

        for position in islice(self._settings.values(), MAX_CONTEXT + 1):
            choose(position)
        pending.extend((name, len(self._statements)) for name in statement.names.reads)
        while pending and len(chosen) <= MAX_CONTEXT:
            name, reader = pending.pop()
            sources, is_bound = self._sources(name, reader)
            if not is_bound and name not in _BUILTINS:
                stars, _ = self._sources("*", reader)
                names = self._statements[reader].names if reader < len(self._statements) else statement.names
                if not stars and name in names.values:
                    return None
                sources = sources + stars
            for position in sources:
                choose(position)
        return [self._statements[position] for position in sorted(chosen)]

    def _sources(self, name: str, before: int) -> tuple[list[int], bool]:
        """What made a name what it is: its last binding and the changes since; and whether it was bound at all."""
        touching = self._touching.get(name, [])
        sources: list[int] = []
        is_bound = False
        for index in range(bisect_left(touching, before) - 1, -1, -1):
            position = touching[index]
            sources.append(position)
            is_bound = is_bound or name in self._statements[position].names.binds
            if len(sources) > MAX_CONTEXT or (is_bound and self._statements[position].replaces):
                break
        return sources, is_bound

    def _changed(self, statement: Statement) -> set[str]:
        """Names whose value a statement may change without assigning to them."""
        names = statement.names
        if statement.has_output or statement.replaces:
            changed = {name for name, method in names.methods if _CHANGES.match(method)}
            return (changed | (names.values if "next" in names.bases else set())) & self._local
        # What outputs nothing is there for its effect: on the variables it mentions or, without any, on a module.
        call = statement.last.value if isinstance(statement.last, ast.Expr) else None
        function = call.func if isinstance(call, ast.Call) else None
        sets_module = isinstance(function, ast.Attribute) and bool(_SETS.match(function.attr))
        return (names.reads & self._local) or (names.reads if sets_module else set())

    def _setting(self, statement: Statement) -> str | None:
        """What a statement without output sets for all that follow: `mp.dps = 30`, `init_printing()`."""
        node, names = statement.last, statement.names
        if statement.has_output or (names.reads | names.changes) & self._local:
            return None
        if isinstance(node, ast.Assign) and names.changes:
            return statement.code.partition("=")[0] if len(statement.body) == 1 else statement.code
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            return node.value.func.id
        return None


_BUILTINS = frozenset(dir(builtins))
_REPLACING = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
# Methods that may change their object although they return something; a last underscore is PyTorch's sign for it.
_CHANGES = re.compile(
    r"add|append|clear|del|discard|extend|insert|next|pop|push|put|read|register|remove|reset|send|set|shuffle|sort"
    r"|update|write|.*_$"
)
_SETS = re.compile(r"set|seed|manual_seed|use|enable|disable|register|reset")  # np.random.seed(0)
