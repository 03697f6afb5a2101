"""The documentation as doc-builder builds it: every name in it is resolved, every page is in the table of contents."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import equal_hf
from tests.processes import REPOSITORY

pytest.importorskip("doc_builder", reason="needs the extra `docs`")
SOURCE = REPOSITORY / "docs/source"


def script():
    spec = importlib.util.spec_from_file_location("build_docs", REPOSITORY / "docs/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    assert script().main(["--build_dir", str(folder), "--repository", "you/equal-hf"]) == 0
    return folder / "equal_hf/main/en"


def test_it_builds_every_page(built):
    names = {path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.md")}
    assert {path.relative_to(built).with_suffix("").as_posix() for path in built.rglob("*.mdx")} == names


def test_every_public_name_has_its_place(built):
    text = "\n".join(path.read_text(encoding="utf-8") for path in (built / "api").glob("*.mdx"))
    anchors = set(re.findall(r"<anchor>(equal_hf\.\w+)</anchor>", text))
    assert anchors == {f"equal_hf.{name}" for name in equal_hf.__all__ if name != "__version__"}
    assert "https://github.com/you/equal-hf/blob/main/equal_hf/" in text


def test_no_link_leaves_the_site_but_to_the_repository(built):
    for page in built.rglob("*.mdx"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            if "://" not in path and not path.startswith("/docs/") and path:
                assert (page.parent / f"{path}.mdx").exists(), (page.name, target)


def test_names_in_brackets_are_of_the_package(built):
    """``[`Name`]`` that doc-builder cannot resolve becomes plain code without a word."""
    for page in SOURCE.rglob("*.md"):
        for name in re.findall(r"\[`~?([\w.]+)`\][^(]", page.read_text(encoding="utf-8")):
            found = equal_hf
            for part in name.split("."):
                found = getattr(found, part)
