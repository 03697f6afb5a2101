"""The docstrings of installed Python packages, as documents: real text that installation itself brought.

Files are parsed with `ast`; nothing is imported or run. Test folders and vendored copies are left out.

    documents, counts = read_docstrings(["networkx", "scipy"])
"""

from __future__ import annotations

import ast
import importlib.metadata
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath

MIN_CHARACTERS = 300
MAX_FILE_BYTES = 2_000_000

TEST_FOLDERS = {"tests", "test", "testing", "_testing"}
# Other projects' code inside a package: its licence is not the one the package's metadata tells.
VENDORED_FOLDERS = {"externals", "_vendor", "vendored", "third_party", "_third_party"}
# Much to read for little text: transformers' models repeat a few docstrings some seven thousand times, and torch's
# compilers are a hundred thousand lines that hardly anybody documents.
POOR_FOLDERS = {"transformers/models", "torch/_inductor", "torch/_dynamo"}


def read_docstrings(
    distributions: Sequence[str], *, min_characters: int = MIN_CHARACTERS
) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Read module, class and function docstrings of installed distributions.

    Args:
        distributions (`Sequence[str]`): Names as `pip` knows them. One that is not installed is counted and skipped.
        min_characters (`int`, *optional*, defaults to `300`): Shorter docstrings are left out and counted.

    Returns:
        `tuple[list[dict[str, str]], dict[str, int]]`: Documents with the keys `id` (the dotted name), `text`, `source`
        (`name==version`), `license` and `package` (the name), in the order of `distributions`, then of files and
        lines. And what was counted: files and docstrings read, and every drop under its reason.
    """
    counts: Counter[str] = Counter()
    documents: list[dict[str, str]] = []
    ids: set[str] = set()
    texts: set[str] = set()
    # Spawned, not forked: the caller may already run threads.
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in distributions:
            try:
                distribution = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                counts["distribution_not_installed"] += 1
                continue
            source = {
                "source": f"{name}=={distribution.version}",
                "license": license_of(distribution),
                "package": name,
            }
            files = list(python_files(distribution))
            modules = [module for module, _ in files]
            paths = [path for _, path in files]
            for dropped, found in pool.map(docstrings_of_file, modules, paths, chunksize=16):
                counts[dropped or "files"] += 1
                for identifier, text in found:
                    counts["docstrings"] += 1
                    if len(text) < min_characters:
                        counts["too_short"] += 1
                    elif text in texts:
                        counts["duplicate_text"] += 1
                    elif identifier in ids:
                        counts["duplicate_id"] += 1
                    else:
                        ids.add(identifier)
                        texts.add(text)
                        documents.append({"id": identifier, "text": text, **source})
    return documents, dict(sorted(counts.items()))


def python_files(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Module name and path of each Python file a distribution installed, tests and vendored code left out, sorted."""
    for file in sorted({PurePosixPath(file.as_posix()) for file in distribution.files or ()}):
        folders = file.parts[:-1]
        unwanted = (
            file.suffix != ".py"
            or not folders
            or ".." in folders
            or any(folder in TEST_FOLDERS or folder in VENDORED_FOLDERS for folder in folders)
            or "/".join(folders[:2]) in POOR_FOLDERS
            or file.stem == "conftest"
            or file.stem.startswith("test_")
        )
        if not unwanted:
            yield module_name(file), Path(str(distribution.locate_file(file)))


def module_name(file: PurePosixPath) -> str:
    """The dotted name a file is imported under.

    >>> module_name(PurePosixPath("sympy/ntheory/primetest.py")), module_name(PurePosixPath("sympy/__init__.py"))
    ('sympy.ntheory.primetest', 'sympy')
    """
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def docstrings_of_file(module: str, path: Path) -> tuple[str, list[tuple[str, str]]]:
    """Why a file was passed over (`""` if it was not), and its docstrings as (dotted name, text)."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return "file_too_large", []
        content = path.read_bytes()
    except OSError:
        return "file_unreadable", []
    try:
        with warnings.catch_warnings():
            # Other people's invalid escape sequences are not this reader's business.
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "file_does_not_parse", []
    return "", docstrings(tree, module)


def docstrings(tree: ast.Module, module: str) -> list[tuple[str, str]]:
    """A module's docstrings as (dotted name, text), in the order they stand in.

    >>> docstrings(ast.parse("'Top.'\\nclass A:\\n  def f(self):\\n    'Does f.'"), "pkg.mod")
    [('pkg.mod', 'Top.'), ('pkg.mod.A.f', 'Does f.')]
    """
    found: list[tuple[str, str]] = []

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
        text = (ast.get_docstring(node) or "").strip()
        if text:
            found.append((name, text))
        for child in definitions(node.body):
            visit(child, f"{name}.{child.name}")

    visit(tree, module)
    return found


def definitions(body: Sequence[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Classes and functions of a block, those under `if`, `try` and `with` included.

    Expressions are not walked: they hold no docstrings, and they are most of a tree.
    """
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            yield from definitions(statement.body)
            for handler in getattr(statement, "handlers", ()):
                yield from definitions(handler.body)
            yield from definitions(getattr(statement, "orelse", ()))


def license_of(distribution: importlib.metadata.Distribution) -> str:
    """The licence a distribution states: its SPDX expression, its short licence field, or its classifier.

    >>> license_of(importlib.metadata.distribution("networkx"))
    'BSD-3-Clause'
    """
    metadata = distribution.metadata
    expression = metadata.get("License-Expression", "")
    field = metadata.get("License", "")
    classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    if expression:
        return expression
    if field and "\n" not in field and len(field) <= 100:
        return field
    return classifiers[0].split(" :: ")[-1] if classifiers else "unknown"
