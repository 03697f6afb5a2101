"""What surrounds the code: workflows, issue forms, citation, changelog. They parse, and what they name is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_names_fixed_actions_and_targets_that_are_there(path: Path):
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
    text = path.read_text(encoding="utf-8")
    assert all(re.search(rf"{re.escape(action)} # v\d+\.\d+\.\d+$", text, re.MULTILINE) for action in used)
    made = re.findall(r"\bmake ([a-z-]+)", "\n".join(step.get("run", "") for step in steps(path)))
    assert made and set(made) <= TARGETS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_no_more_than_it_must(path: Path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert granted == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})
    assert "secrets." not in path.read_text(encoding="utf-8"), "a trusted publisher needs none"
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_ci_runs_on_every_python_that_is_declared():
    matrix = read(GITHUB / "workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    declared = {name.split()[-1] for name in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", name)}
    assert {row["python"] for row in matrix} == declared
    assert min(declared, key=lambda name: int(name.split(".")[1])) == PROJECT["requires-python"].removeprefix(">=")
    assert {row["resolution"] for row in matrix} == {"tested", "lowest", "newest"}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_one(path: Path):
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    names = [part["id"] for part in fields]
    assert len(set(names)) == len(names)
    assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in fields)


def test_a_report_of_a_bug_comes_with_what_doctor_says():
    (doctor,) = (part for part in read(GITHUB / "ISSUE_TEMPLATE/bug.yml")["body"] if part["id"] == "doctor")
    assert "equal-hf doctor --json" in doctor["attributes"]["description"] and doctor["validations"]["required"]


def test_the_citation_is_in_its_format():
    citation = read(REPOSITORY / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0" and {"title", "message", "authors"} <= citation.keys()
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["url"] in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all({"given-names", "family-names"} <= author.keys() for author in paper["authors"])


def test_the_changelog_has_its_headings():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "Unreleased" or re.match(r"\d+\.\d+\.\d+", versions[0])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Renamed"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_dependabot_looks_after_the_actions():
    assert [one["package-ecosystem"] for one in read(GITHUB / "dependabot.yml")["updates"]] == ["github-actions"]


@pytest.mark.parametrize(
    "name", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", ".github/PULL_REQUEST_TEMPLATE.md"]
)
def test_what_a_page_names_is_there(name: str):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (REPOSITORY / target).exists(), target
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= TARGETS
    for path in re.findall(r"`((?:docs|tests|filters)/[\w/.]+)`", text):
        assert (REPOSITORY / path).exists() or (REPOSITORY / "equal_hf" / path).exists(), path
