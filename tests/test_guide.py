"""The guides: every command in them runs, every message is one of ours, every link leads somewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from equal_hf.cli import main
from equal_hf.cli.arguments import RunArguments
from equal_hf.training.config import EqualConfig
from tests.processes import REPOSITORY, free_port
from tests.servers import spawn
from tests.world import make_target


def pages(sections: list[dict[str, Any]]) -> Iterator[str]:
    """Pages of the documentation in the order of its table of contents."""
    for section in sections:
        if "local" in section:
            yield f"docs/source/{section['local']}.md"
        yield from pages(section.get("sections", []))


PAGES = tuple(pages(yaml.safe_load((REPOSITORY / "docs/source/_toctree.yml").read_text(encoding="utf-8"))))
GUIDES = ("README.md", *PAGES, "recipes/README.md", "recipes/hf_jobs.md", "tests/benchmarks/README.md")
INDEX_RECIPE = "tests/corpus/indexing/test_recipe.py"
# What the guide names and a test has only on this machine: its own files and models.
HERE = {
    "BAAI/bge-base-en-v1.5": "embedder",
    "mistralai/Mistral-7B-v0.3": "model",
    "mistralai/Mistral-7B-Instruct-v0.3": "model",
    "recipes/mistral_math.yaml": "my.yaml",
    "recipes/cluster_automathtext.yaml": "my.yaml",
    "CONFIG": "my.yaml --corpus_dir runs/corpus",
    "…": "secret",
}
# Run elsewhere: as the whole of the suite, or by the tests named.
ELSEWHERE = {
    r"make test": "this suite",
    r"make docs|python docs/build.py": "tests/test_docs.py::built",
    r"make install|pip install": "the gate",
    r"make quickstart-llm|python recipes/quickstart_llm": "tests/recipes/test_quickstart_llm.py::flags",
    r"make quickstart": "tests/recipes/test_mistral_math.py::finished",
    r"python recipes/quickstart_assets.py": "tests/recipes/conftest.py::assets",
    r"equal-hf train recipes/quickstart.yaml": "tests/recipes/test_mistral_math.py::finished",
    r"python recipes/equal_loop.py": "tests/recipes/test_equal_loop.py::test_the_flat_loop_lowers_the_validation_loss",
    r"accelerate launch --config_file .*recipes/mistral_math.py": "tests/recipes/test_mistral_math.py::finished",
    r"accelerate launch .*cluster_automathtext.py": f"{INDEX_RECIPE}::test_the_recipe_is_the_command",
    r"accelerate launch .*-m equal_hf index": f"{INDEX_RECIPE}::test_under_accelerate",
    r"equal-hf store stats .*--bill": "tests/cli/test_store.py::test_a_bill_that_says_what_the_ledger_says",
    r"equal-hf plan .*--timed": "tests/cli/test_plan.py::test_a_run_costs_what_its_plan_said_to_within_a_tenth",
    r"equal-hf evaluate": "tests/cli/test_evaluate.py",
    r"equal-hf align": "tests/corpus/indexing/test_hostile.py",
    r"hf ": "tests/recipes/test_hf_job.py::test_the_commands_of_the_page_are_taken_by_hf",
    r"python -m tests\.benchmarks\.": "not run: benchmarks take minutes",
}


MODULES = {"torchrun": "torch.distributed.run", "accelerate": "accelerate.commands.accelerate_cli"}


def fences(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    found = []
    for guide in GUIDES:
        text = (REPOSITORY / guide).read_text(encoding="utf-8")
        blocks = "\n".join(fences(text, "bash")).replace("\\\n", " ")
        found += [line.partition(" #")[0].strip() for line in blocks.splitlines() if line.strip()]
        found += re.findall(r"\| `((?:make|python|accelerate|equal-hf|torchrun) [^`]+)` \|", text)
    return list(dict.fromkeys(command for command in found if not command.startswith("#")))


def my_yaml(guide: str) -> str:
    (text,) = (block for block in fences((REPOSITORY / guide).read_text(), "yaml") if block.startswith("# my.yaml"))
    return text


def elsewhere(command: str) -> str | None:
    return next((where for pattern, where in ELSEWHERE.items() if re.match(pattern, command)), None)


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """A reader's folder: documents, questions and the guide's own `my.yaml`, and a server at its address."""
    folder = tmp_path_factory.mktemp("guide")
    documents = pd.read_parquet(world / "documents.parquet")
    documents.rename(columns={"text": "body"}).to_parquet(folder / "documents.parquet")
    target = make_target()
    rows = [
        {"problem": item.question, "solution": item.answer, "part": part}
        for part in ("reference", "validation", "test")
        for item in getattr(target, part)
    ]
    pd.DataFrame(rows).to_parquet(folder / "questions.parquet")
    for name in ("embedder", "model"):
        (folder / name).symlink_to(world / name)
    text = my_yaml("docs/source/your_corpus.md")
    with spawn("tests.servers.load", "--latency-s", "0") as url:
        for told, here in {**HERE, "http://localhost:8080": url}.items():
            text = text.replace(told, here)
        # This model has a template: with another's TRL would add tokens, and PEFT then wraps a head tied to them.
        text = re.sub(r"^chat_template_path: .*\n", "", text, flags=re.MULTILINE)
        # The server's pairs are of no document; a CPU has no use for the rest.
        text += "filters: [self_contained, duplicate]\nuse_cpu: true\nbf16: false\nn_reference: 20\n"
        (folder / "my.yaml").write_text(text)
        before = Path.cwd()
        os.chdir(folder)
        try:
            assert main(["collect", "my.yaml", "--extractor", "explicit", "--output_dir", "runs/quickstart"]) == 0
            yield folder
        finally:
            os.chdir(before)


def test_every_command_runs(home, monkeypatch, capsys):
    """In the guide's order, since one uses what another left; what a test elsewhere runs is skipped."""
    monkeypatch.setenv("EQUAL_API_KEY", "secret")
    ran = []
    for command in commands():
        if elsewhere(command) or command.startswith("export "):
            continue
        for told, here in HERE.items():
            command = command.replace(told, here)
        words = shlex.split(command)
        if words[1] == "publish" and "--dry-run" not in words:
            words.append("--dry-run")  # to a Hub: tests/publishing/test_hub.py
        if words[0] == "equal-hf":
            assert main(words[1:]) == 0, (command, capsys.readouterr())
        else:
            # Started as a person would, but from where the recipes are.
            module = MODULES[words[0]]
            arguments = [word.replace("recipes/", f"{REPOSITORY}/recipes/") for word in words[1:]]
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PET_MASTER_PORT": str(free_port())},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        ran.append(words[1] if words[0] == "equal-hf" else words[0])
    assert set(ran) >= {
        *"doctor recipes plan collect inspect report publish replay store index torchrun accelerate".split()
    }


def test_the_settings_on_the_first_page_are_among_those_that_run():
    short, whole = (my_yaml(guide).splitlines() for guide in ("README.md", "docs/source/your_corpus.md"))
    assert [line for line in short if line not in whole] == []


def test_the_first_picture_is_the_same_where_it_stands():
    readme, index = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "docs/source/index.md"))
    assert fences(readme, "mermaid") == fences(index, "mermaid") != []


def test_what_is_run_elsewhere_is():
    for where in ELSEWHERE.values():
        path, found, name = where.partition("::")
        if found:
            functions = [n.name for n in ast.walk(ast.parse((REPOSITORY / path).read_text())) if hasattr(n, "name")]
            assert name in functions, where


def test_messages_to_look_up_are_said_somewhere():
    text = (REPOSITORY / "docs/source/troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "equal_hf").rglob("*.py"))
    assert len(messages) > 10 and [message for message in messages if message not in source] == []


def test_nothing_is_left_to_be_filled_in():
    for guide in GUIDES:
        assert not re.search(r"@[A-Z]+@|TODO|XXX", (REPOSITORY / guide).read_text(encoding="utf-8"))


def test_keys_named_in_backticks_exist():
    """A key of the YAML that is written `like_this` in a guide is one."""
    known = {name for kind in (RunArguments, EqualConfig) for name in kind.__dataclass_fields__}
    from trl import ModelConfig

    known |= set(ModelConfig.__dataclass_fields__)
    for guide in GUIDES:
        for block in fences((REPOSITORY / guide).read_text(encoding="utf-8"), "yaml"):
            assert set(yaml.safe_load(block)) <= known, guide


@pytest.mark.parametrize("guide", GUIDES)
def test_links_lead_somewhere(guide: str):
    text = (REPOSITORY / guide).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        linked = (REPOSITORY / guide).parent / path if path else REPOSITORY / guide
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_all_pages_can_be_reached():
    """From the table of contents, and from the first page."""
    assert {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs/source").rglob("*.md")} == set(
        PAGES
    )
    linked = set(re.findall(r"\]\((docs/source/[\w/]+\.md)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8")))
    assert {page for page in PAGES if "/api/" not in page and not page.endswith("/index.md")} <= linked


def test_python_in_the_guides_is_python():
    for guide in GUIDES:
        for block in fences((REPOSITORY / guide).read_text(encoding="utf-8"), "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("equal_hf"):
                    module = __import__(node.module, fromlist=["x"])
                    assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
