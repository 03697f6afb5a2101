"""A YAML file and the flags that override it, read into config dataclasses by TRL's parser.

Every key is also a flag of the same name (`--num_rounds 5`), which wins over the file.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from equal_hf.errors import ConfigError, EqualError
from equal_hf.utils.effective import without_effect
from equal_hf.utils.redaction import mask_text, remember_settings
from equal_hf.utils.settings import types_of
from equal_hf.utils.typed_values import fit, refuse_infinite

if TYPE_CHECKING:
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig

logger = logging.getLogger(__name__)

ENVIRONMENT = "env"  # the key of TRL's YAMLs that sets environment variables


def parse_config(dataclass_types: tuple[Any, ...], argv: list[str], default: str | Path) -> tuple[Any, ...]:
    """Read a YAML and the flags that override it into dataclasses.

    A dataclass may name keys that were renamed (`renamed: ClassVar`, new name by old name) and keys that would have no
    effect (`without_effect: ClassVar`, reason by name).

    Args:
        dataclass_types (`tuple[type, ...]`): The dataclasses.
        argv (`list[str]`): Command-line arguments, without the program.
        default (`str` or `Path`): The YAML that is read where `--config` names none.

    Raises:
        [`ConfigError`]: If the file is missing or no YAML mapping, or a key or flag is unknown, has no effect, or has
            a value of another type or out of range.

    Returns:
        `tuple`: The dataclasses. The second has what was set, by file or flag, as `given`.
    """
    from trl import TrlParser

    path, flags = _config_path(argv, default)
    content = read_yaml(path)
    hints = {name: hint for kind in dataclass_types for name, hint in types_of(kind).items()}
    flags = _merge_fields(flags, hints, content)
    _check_names(dataclass_types, hints, content, flags, path)
    env = content.pop(ENVIRONMENT, None) or {}
    if not isinstance(env, dict):
        raise ConfigError(f"`{ENVIRONMENT}` in {path} is no mapping: write one `NAME: value` a line below it")
    os.environ.update({str(name): str(value) for name, value in env.items()})
    remember_settings(content)
    remember_settings(flags)
    if "output_dir" in content and content["output_dir"] is None:  # transformers would take a folder of its own
        raise ConfigError(f"`output_dir` in {path} is null: name the run folder, or leave the key out")
    content = {name: fit(name, value, hints[name]) for name, value in content.items()}
    if "bf16" in hints and not (content.get("use_cpu") or "--use_cpu" in flags) and not _has_accelerator():
        # transformers would stop over the precision alone; the checks name everything that is missing, all at once.
        flags += ["--bf16", "False", "--fp16", "False"]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parser = TrlParser(list(dataclass_types))
            parser.set_defaults_with_config(**content)
            parsed = parser.parse_args_into_dataclasses(flags, look_for_args_file=False)
        values: dict[str, Any] = {}
        for config in reversed(parsed):
            for name in types_of(config):
                refuse_infinite(name, getattr(config, name))
            values |= vars(config)
        # For the record: what makes the run again, without what libraries set by themselves.
        given = {name: values[name] for name in [*content, *_named(flags)] if name in values}
        parsed[min(1, len(parsed) - 1)].given = given
        for line in without_effect(dataclass_types, values, given):
            logger.warning("%s.", line)
        return tuple(parsed)
    except EqualError:
        raise
    except SystemExit as stop:  # argparse prints all of its usage, then the one line that matters
        if not stop.code:
            raise
        message = complaint.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError(f"{path} or a flag: {mask_text(message)}") from None
    except Exception as error:  # whatever a library below makes of a value
        if "not used" in str(error):  # it lists them; they may belong to a flag that is not there
            raise ConfigError("the command line has words that belong to no flag: quote what has blanks") from None
        raise ConfigError(f"{path} or a flag has a value that does not fit: {mask_text(str(error))}") from error


def parse_run(config: str | Path, flags: Sequence[str]) -> tuple[RunArguments, EqualConfig, ModelConfig]:
    """The settings of a run: its own, the trainer's and the model's.

    Args:
        config (`str` or `Path`): The recipe's YAML.
        flags (`Sequence[str]`): Flags that override it.

    Raises:
        [`ConfigError`]: As of [`parse_config`].
    """
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig

    run, args, model = parse_config((RunArguments, EqualConfig, ModelConfig), list(flags), config)
    return run, args, model


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Args:
        path (`Path`): The file.

    Raises:
        [`ConfigError`]: If it cannot be read, or holds no mapping with texts as keys.
    """
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_unique_keys())  # a loader of plain values too
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}. Name a YAML file that is there.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Where, but not what: the line may hold a key.
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"{path} is no valid YAML{where}: {problem}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings: write one `key: value` a line")
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f"{path} has a key of type {type(key).__name__}: keys are names of settings")
    return content


def _unique_keys() -> Any:
    """YAML's safe loader, which would take the last of several values of a key without a word."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value]
            for key, _ in reversed(node.value):
                if names.count(key.value) > 1 and key.value != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"`{mask_text(key.value)}` is there twice: keep one of them", key.start_mark
                    )
            return super().construct_mapping(node, deep)

    return Loader


def _config_path(argv: list[str], default: str | Path) -> tuple[Path, list[str]]:
    """The YAML that `--config` names, and the other arguments."""
    flags, path, words = [], Path(default), iter(argv)
    for word in words:
        if word == "--config":
            path = Path(next(words, ""))
        elif word.startswith("--config="):
            path = Path(word.partition("=")[2])
        else:
            flags.append(word)
    return path, flags


def _named(flags: Sequence[str]) -> list[str]:
    """The settings that flags set.

    >>> _named(["--seed", "1", "--learning-rate=0.1", "--extractor_body.top_k", "2"])
    ['seed', 'learning_rate', 'extractor_body']
    """
    names = (flag[2:].partition("=")[0].partition(".")[0] for flag in flags if flag.startswith("--"))
    return [name.replace("-", "_") for name in names]


def _merge_fields(flags: list[str], hints: Mapping[str, Any], content: dict[str, Any]) -> list[str]:
    """Put flags that set a mapping, as JSON, or a field of it (`--extractor_body.service_tier flex`) into the
    settings; returns the other flags. A field is JSON where it can be read as that, else a text."""
    others, words = [], iter(flags)
    for word in words:
        flag, equals, value = word.partition("=")
        name, dot, fields = flag.removeprefix("--").partition(".")
        name = name if name in hints else name.replace("-", "_")
        if not (word.startswith("--") and name in hints and _is_mapping(hints[name])):
            others.append(word)
            continue
        if not equals and (value := next(words, "")) == "":
            raise ConfigError(f"flag {flag!r} has no value: write one behind it")
        if not dot:
            content[name] = _read(value)
            continue
        whole = content.get(name)
        whole = _read(whole) if isinstance(whole, str) else whole  # JSON, as in a YAML that was written as a flag is
        if whole is not None and not isinstance(whole, dict):
            raise ConfigError(f"`{name}` is no mapping, which {flag} is to be a field of: correct it")
        place = content[name] = dict(whole or {})
        *path, last = fields.split(".")
        for one in path:
            inner = place.get(one)
            place[one] = dict(inner) if isinstance(inner, dict) else {}
            place = place[one]
        place[last] = _read(value)
    return others


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _is_mapping(hint: Any) -> bool:
    return hint is dict or get_origin(hint) is dict or any(_is_mapping(one) for one in get_args(hint))


def _check_names(
    kinds: tuple[Any, ...], hints: Mapping[str, Any], content: Mapping[str, Any], flags: list[str], path: Path
) -> None:
    known = {*hints, ENVIRONMENT}
    renamed = {old: new for kind in kinds for old, new in getattr(kind, "renamed", {}).items()}
    without_effect = {name: why for kind in kinds for name, why in getattr(kind, "without_effect", {}).items()}
    names = [word.split("=")[0] for word in flags if word.startswith("--")]
    given = [(key, f"key {key!r} in {path}") for key in content] + [(flag[2:], f"flag {flag!r}") for flag in names]
    for written, where in given:
        name = written if written in known else written.replace("-", "_").removeprefix("no_")
        name = name if name in known or name in renamed else written
        if name in renamed:
            raise ConfigError(f"{where} is now called `{renamed[name]}`: rename it")
        if name in without_effect:
            raise ConfigError(f"{where} has no effect here: {without_effect[name]}. Leave it out.")
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise ConfigError(f"unknown {where}" + (f": did you mean `{close[0]}`?" if close else ": remove it"))


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()
