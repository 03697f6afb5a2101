"""Docstrings of installed packages as documents."""

from __future__ import annotations

import doctest
from pathlib import Path

import docstrings
import pytest

LONG = "Long enough to be a document. " * 20


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution `demo-pkg` that would fail if it were imported."""
    files = {
        "demo/__init__.py": f'"""Package. {LONG}"""\nraise RuntimeError("imported")\n',
        "demo/a.py": (
            f'class A:\n    """Class. {LONG}"""\n    async def f(self):\n        r"""Method \\d. {LONG}"""\n'
            f'try:\n    x = 1\nexcept ValueError:\n    def g():\n        """Handler. {LONG}"""\n'
            f'def short():\n    """Too short."""\n'
            f'def same():\n    """Class. {LONG}"""\n'
            f'def twice():\n    """First. {LONG}"""\ndef twice():\n    """Second. {LONG}"""\n'
        ),
        "demo/broken.py": f'"""Broken. {LONG}"""\ndef f(:\n',
        "demo/null.py": "x = '\x00'\n",
        "demo/large.py": f'"""Large. {LONG}"""\n' + "# padding\n" * 210_000,
        "demo/tests/test_a.py": f'"""Test. {LONG}"""\n',
        "demo/testing/helper.py": f'"""Test helper. {LONG}"""\n',
        "demo/conftest.py": f'"""Conftest. {LONG}"""\n',
        "demo/externals/other.py": f'"""Vendored. {LONG}"""\n',
    }
    info = "demo_pkg-1.2.dist-info"
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.2\nLicense: MIT\n"
    # A file that RECORD names and nobody has, and one outside the packages' folder.
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, "demo/gone.py", "../../bin/script.py"])
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_reads_without_importing_and_counts_every_drop(demo: Path):
    documents, counts = docstrings.read_docstrings(["demo-pkg", "not-installed"])
    assert [document["id"] for document in documents] == ["demo", "demo.a.A", "demo.a.A.f", "demo.a.g", "demo.a.twice"]
    assert documents[0] == {
        "id": "demo",
        "text": f"Package. {LONG}".strip(),
        "source": "demo-pkg==1.2",
        "license": "MIT",
        "package": "demo-pkg",
    }
    assert documents[2]["text"].startswith("Method \\d.")
    assert documents[4]["text"].startswith("First.")
    assert counts == {
        "distribution_not_installed": 1,
        "docstrings": 8,
        "duplicate_id": 1,
        "duplicate_text": 1,
        "file_does_not_parse": 2,
        "file_too_large": 1,
        "file_unreadable": 1,
        "files": 2,
        "too_short": 1,
    }


def test_a_long_licence_text_gives_way_to_the_classifier(demo: Path):
    metadata = demo / "demo_pkg-1.2.dist-info" / "METADATA"
    text = (
        "License: Copyright somebody\n        All rights given.\nClassifier: License :: OSI Approved :: BSD License\n"
    )
    metadata.write_text("Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.2\n" + text)
    documents, _ = docstrings.read_docstrings(["demo-pkg"])
    assert {document["license"] for document in documents} == {"BSD License"}


def test_examples_in_the_docstrings():
    assert doctest.testmod(docstrings).failed == 0
    assert doctest.testmod(docstrings).attempted > 0
