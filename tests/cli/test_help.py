"""What every command has in common: help with an example that parses, `--json`, exit codes, `--version`."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from equal_hf import __version__
from equal_hf.cli import COMMANDS, in_one_line, main
from equal_hf.errors import EndpointError
from tests.processes import REPOSITORY

ACTIONS = [f"store {action}" for action in ("stats", "export", "prune")]
ALONE = [command for command in COMMANDS if command != "store"]


def said(argv: str, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(argv))
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), " ".join(out.split()), err


@pytest.mark.parametrize("command", [*COMMANDS, *ACTIONS])
def test_help_has_an_example_of_the_command(command: str, capsys: pytest.CaptureFixture, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = said(f"{command} --help", capsys)
    assert code == 0 and f"usage: equal-hf {command}" in out
    assert re.search(rf"example: equal-hf {command}( |$)", out)


@pytest.mark.parametrize("command", [*ALONE, *ACTIONS])
def test_every_command_can_print_json(command: str, capsys: pytest.CaptureFixture):
    assert "--json" in said(f"{command} --help", capsys)[1]


@pytest.mark.parametrize("command", ALONE)
def test_an_example_parses(command: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """With the work itself left out: the flags of the example are flags of the command."""
    monkeypatch.setenv("COLUMNS", "1000")
    example = re.search(rf"example: equal-hf ({command} .*?)(?: \(|$)", said(f"{command} --help", capsys)[1])[1]
    module = __import__(f"equal_hf.cli.{command}", fromlist=["run"])
    monkeypatch.setattr(module, "run", lambda args: 41 if hasattr(args, "json") else 42)
    assert main(shlex.split(example)) == 41


def test_all_commands_are_listed_and_wrong_usage_is_2(capsys: pytest.CaptureFixture):
    _, out, _ = said("--help", capsys)
    assert re.findall(rf"\b({'|'.join(COMMANDS)}) [a-z]", out.split("COMMAND", 2)[2]) == list(COMMANDS)
    assert {said(wrong, capsys)[0] for wrong in ("no-such-command", "", "report run --no-such-flag")} == {2}


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture):
    assert said("--version", capsys)[:2] == (0, f"equal-hf {__version__}")
    assert tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_a_module_s_own_kind_of_error_goes_by_its_public_name(capsys: pytest.CaptureFixture):
    class _StatusError(EndpointError):
        pass

    def work() -> int:
        raise _StatusError("it answers 401")

    assert in_one_line(work) == 1 and capsys.readouterr().err == "EndpointError: it answers 401\n"


def test_what_goes_wrong_is_one_line_and_1(capsys: pytest.CaptureFixture, tmp_path):
    assert main(["report", str(tmp_path)]) == main(["inspect", str(tmp_path)]) == 1
    assert main(["publish", str(tmp_path), "--repo-id", "a/b", "--dry-run"]) == main(["doctor", "nowhere.yaml"]) == 1
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 4 and all("Error: " in line for line in err.splitlines())
