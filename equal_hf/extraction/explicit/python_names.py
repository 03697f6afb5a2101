"""Which names a piece of Python reads, binds and changes, told from its syntax tree without running it.

>>> import ast
>>> names = read_names(ast.parse("total = sum(x for x in data) + offset"))
>>> sorted(names.values), sorted(names.bases), sorted(names.binds)
(['data', 'offset'], ['sum'], ['total'])
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field


@dataclass(slots=True)
class Names:
    """Names of a piece of code, without those that only its functions, classes and comprehensions know.

    Args:
        values (`set[str]`): Names read as a value.
        bases (`set[str]`): Names that are called or asked for an attribute: a function or a module, as often as not.
        binds (`set[str]`): Names assigned, imported, defined or deleted; `"*"` for a star import.
        imports (`set[str]`): Those of `binds` that are imported.
        changes (`set[str]`): Names of which an item or an attribute is assigned or deleted.
        methods (`set[tuple[str, str]]`): Name and method, for each method called on a name.
    """

    values: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    methods: set[tuple[str, str]] = field(default_factory=set)

    @property
    def reads(self) -> set[str]:
        """All names that have to exist before."""
        return self.values | self.bases


def read_names(tree: ast.Module) -> Names:
    """Collect the names of a syntax tree.

    Args:
        tree (`ast.Module`): What `ast.parse` returns.

    Returns:
        `Names`: Its names. What the code itself has bound before it reads it, such as the variable of a loop, does not
        count as read.

    Raises:
        `RecursionError`: If the tree is too deep.
    """
    visitor = _Visitor()
    visitor.visit(tree)
    return visitor.names


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names = Names()
        self._inner: list[set[str]] = []  # what the scopes around the node bind

    def _is_inner(self, name: str) -> bool:
        return any(name in scope for scope in self._inner)

    def _read(self, names: set[str], name: str) -> None:
        if not self._is_inner(name) and name not in self.names.binds:
            names.add(name)

    def _bind(self, name: str) -> None:
        if not self._is_inner(name):
            self.names.binds.add(name)

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, (*_DEFINITIONS, *_COMPREHENSIONS, ast.Lambda)):
            super().generic_visit(node)
            return
        if isinstance(node, _DEFINITIONS):
            self._bind(node.name)
        if isinstance(node, _COMPREHENSIONS):
            self.visit(node.generators[0].iter)  # the last x of [x for x in x] is the outer one
        self._inner.append(_bound_inside(node))
        super().generic_visit(node)
        self._inner.pop()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(self.names.values, node.id)
        else:
            self._bind(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        for part in (node.value, *node.targets):  # in the order of evaluation: x = x + 1 reads x
            self.visit(part)

    def visit_AnnAssign(self, node: ast.AnnAssign | ast.NamedExpr) -> None:
        if node.value is not None:
            self.visit(node.value)
        self.visit(node.target)

    visit_NamedExpr = visit_AnnAssign

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(self.names.values, node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._bind(name)
            if not self._is_inner(name):
                self.names.imports.add(name)

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            root = node.func.value.id
            if not self._is_inner(root):
                self.names.methods.add((root, node.func.attr))
        self._visit_base(node.func)
        for argument in (*node.args, *node.keywords):
            self.visit(argument)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._note_change(node)
        self._visit_base(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._note_change(node)
        self.generic_visit(node)

    def _visit_base(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            self._read(self.names.bases, node.id)
        else:
            self.visit(node)

    def _note_change(self, node: ast.Attribute | ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load):
            return
        root: ast.expr = node
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if isinstance(root, ast.Name) and not self._is_inner(root.id):
            self.names.changes.add(root.id)


def _bound_inside(scope: ast.AST) -> set[str]:
    """Names that a function, class or comprehension binds, those of scopes within it included."""
    bound: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, _DEFINITIONS) and node is not scope:
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return bound
