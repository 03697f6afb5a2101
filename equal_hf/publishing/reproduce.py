"""What makes a run again: files beside its dataset, and the card's section. No secret, no folder of the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.markdown import json_block
from equal_hf.utils.redaction import sanitise

SETTINGS, PROMPT = "equal.yaml", "prompt.jinja"
# Where this run wrote to; another is to write elsewhere.
_OWN = re.compile(r"hub_|push_to_hub|output_dir|response_store|report_to|run_name|project")


def reproduction_files(run: Mapping[str, Any]) -> dict[str, bytes]:
    """The settings that were given as a YAML for `equal-hf`, and the template of the extraction prompt.

    Args:
        run (`Mapping[str, Any]`): What `run.json` holds; a run of an earlier version recorded neither.
    """
    import yaml

    files = {}
    prompt = run.get("endpoints", {}).get("prompt")
    if isinstance(prompt, str):
        files[PROMPT] = mask_known(prompt).encode("utf-8", "replace")
    given = run.get("config", {}).get("given")
    if isinstance(given, Mapping):
        settings = {
            key: shareable(value)
            for key, value in sanitise(given).items()
            if value is not None and not _OWN.match(key) and "***" not in str(value)
        }
        if prompt and given.get("extractor_prompt"):
            settings["extractor_prompt"] = PROMPT
        head = f"# {_command(run)}\n"
        if "…/" in str(settings):
            head += "# What begins with …/ was a folder of the machine that this ran on: put yours there.\n"
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110)
        files[SETTINGS] = (head + mask_known(text)).encode("utf-8", "replace")
    return files


def _command(run: Mapping[str, Any]) -> str:
    words = run.get("config", {}).get("command") or []
    return f"equal-hf {'collect' if 'collect' in words[:3] else 'train'} {SETTINGS} --output_dir runs/again"


def reproduce_section(run: Mapping[str, Any], *, settings: bool, prompt: bool) -> str:
    """The card's section."""
    config = {key: shareable(value) for key, value in sanitise(run.get("config", {})).items() if value is not None}
    command = config.pop("command", None)
    config.pop("given", None)
    text = "## Reproduce\n\n"
    if settings:
        text += f"`{SETTINGS}` holds the settings that were given; with the files that it names in place:\n\n"
        text += f"```bash\n{_command(run)}\n```\n\n"
    if prompt:
        text += f"`{PROMPT}` is the template of the prompt; `extractor_prompt` takes this repository for it.\n\n"
    if command:
        text += "The command of this run:\n\n"
        words = shlex.join(map(str, command)) if isinstance(command, list) else str(command)
        text += "```bash\n" + re.sub(r"[`\x00-\x1f\x7f]", "?", words) + "\n```\n\n"
    fingerprint = {key: shareable(value) for key, value in sanitise(run.get("fingerprint", {})).items()}
    return (
        f"{text}<details>\n<summary>The run's fingerprint, and its settings</summary>\n\n{json_block(fingerprint)}\n\n"
        f"{json_block(config)}\n\n</details>"
    )


def shareable(value: Any) -> Any:
    """The value without the folders of the machine the run was on."""
    if isinstance(value, Mapping):
        return {key: shareable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shareable(item) for item in value]
    if isinstance(value, str):
        words = (word.split("=") for word in value.split(" "))  # a flag may be joined to its value
        return " ".join("=".join(map(short_path, parts)) for parts in words)
    return value


def short_path(text: str) -> str:
    """A path without the folders it lies in, where it begins at the root; other text as it is."""
    if PurePath(text).is_absolute() or text.startswith("~"):
        return f"…/{PurePath(text).name}"
    return f"…/{PureWindowsPath(text).name}" if PureWindowsPath(text).drive else text
