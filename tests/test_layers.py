"""The layout of the package: imports point down the layers, files form no circles, names say one thing.

Imports are read from the source, so those inside functions and under `TYPE_CHECKING` count like any other.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import equal_hf

PACKAGE = Path(equal_hf.__file__).parent
# Bottom to top. A room imports from the layers before its own, never from its own or from one after it.
LAYERS = """
errors types
utils
corpus extraction records
target report
filters selection publishing
alignment collection
tracking
training
cli
"""
RANK = {room: rank for rank, layer in enumerate(LAYERS.split("\n")) for room in layer.split()}
TOP = {"__init__.py", "__main__.py", "errors.py", "types.py"}
SHARED_NAMES = {"__init__.py", "card.py", "config.py", "hub.py"}


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package, by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that one of them imports, anywhere in its source."""
    package = name.split(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = parent[: len(parent) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            within = [f"{module}.{alias.name}" for alias in node.names]
            targets = [target if target in known else module for target in within]
        else:
            continue
        found |= {target for target in targets if target.split(".")[0] == package}
    return found - {name}


def circles(graph: dict[str, set[str]]) -> Iterator[str]:
    """Modules from which following the imports leads back."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for target in graph.get(todo.pop(), set()) - seen:
                seen.add(target)
                todo.append(target)
        return seen

    return (name for name in graph if name in reached(name))


def offences(package: Path) -> set[str]:
    """What in a package goes against the layout, one line each."""
    known = modules(package)
    graph = {name: imports(name, path, known) for name, path in known.items()}
    found = set()
    for name, targets in graph.items():
        room = name.split(".")[1] if "." in name else ""
        if room in ("", "__main__"):  # the front door may name any room
            continue
        if room not in RANK:
            found.add(f"{name}: the room {room} has no layer")
            continue
        for target in targets:
            other = target.split(".")[1] if "." in target else ""
            if other != room and RANK.get(other, len(RANK)) >= RANK[room]:
                found.add(f"{name} imports {target}")
    found |= {f"{name} is in a circle" for name in circles(graph)}
    found |= {f"{path.name} lies loose at the top" for path in package.glob("*.py") if path.name not in TOP}
    names = Counter(path.name for path in known.values())
    found |= {
        f"{name} is there {count} times" for name, count in names.items() if count > 1 and name not in SHARED_NAMES
    }
    return found


def test_the_package_keeps_its_layers():
    assert offences(PACKAGE) == set()


def test_what_goes_against_the_layout_is_found(tmp_path):
    """On a small package that breaks each rule: at the top, in a function, under TYPE_CHECKING, by a relative name."""
    sources = {
        "__init__.py": "from equal_hf.cli import run",
        "types.py": "",
        "errors.py": "import equal_hf.types",
        "loose.py": "",
        "utils/__init__.py": "",
        "utils/files.py": "from equal_hf.errors import E\nfrom equal_hf.utils import texts",
        "utils/texts.py": "def f():\n    from . import files",
        "corpus/read.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from equal_hf.records import read",
        "corpus/config.py": "import equal_hf",
        "records/__init__.py": "",
        "records/read.py": "from ..utils.files import g\nfrom ..cli import run",
        "cli/config.py": "from equal_hf.corpus.config import C",
        "cli/run.py": "import equal_hf.extras.more",
        "extras/more.py": "",
    }
    package = tmp_path / "equal_hf"
    for name, source in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    assert offences(package) == {
        "equal_hf.cli.run imports equal_hf.extras.more",
        "equal_hf.corpus.config imports equal_hf",
        "equal_hf.corpus.read imports equal_hf.records.read",
        "equal_hf.errors imports equal_hf.types",
        "equal_hf.extras.more: the room extras has no layer",
        "equal_hf.loose: the room loose has no layer",
        "equal_hf.records.read imports equal_hf.cli.run",
        "equal_hf.utils.files is in a circle",
        "equal_hf.utils.texts is in a circle",
        "loose.py lies loose at the top",
        "read.py is there 2 times",
    }
