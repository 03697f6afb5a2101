"""One definition per setting: a dataclass field with its default, its help, its type and its range.

```python
@dataclass
class PaceConfig:
    concurrency: Annotated[int, Range(1)] = setting(256, "Requests in flight at most.")
    urls: list[str] = setting([], "The endpoints.")

    def __post_init__(self) -> None:
        check_settings(self)
```

The class stays an ordinary dataclass that `HfArgumentParser` and `TrlParser` read: they take types without what
`Annotated` adds to them.
"""

from __future__ import annotations

import copy
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, get_type_hints

from equal_hf.errors import ConfigError
from equal_hf.utils.effective import Needs, needs_of
from equal_hf.utils.typed_values import fit


def setting(default: Any, help: str, choices: Any = None) -> Any:
    """A field of a config dataclass.

    Args:
        default (`Any`): Its default; lists and mappings are copied.
        help (`str`): What it does, in a sentence; units included.
        choices (`Iterable[str]`, *optional*): The values it may have.
    """
    metadata: dict[str, Any] = {"help": help}
    if choices is not None:
        metadata["choices"] = [*choices]
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def types_of(config: Any) -> dict[str, Any]:
    """The type of each field of a dataclass, with its range where it has one.

    Args:
        config (`Any`): The dataclass, or an instance of it.
    """
    kind = config if isinstance(config, type) else type(config)
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: hints[one.name] for one in fields(kind) if one.init}


def check_settings(config: Any, prefix: str = "", only: Any = None) -> None:
    """Check the settings of a config dataclass, and make one value where a list is meant a list of one.

    Args:
        config (`Any`): The dataclass instance.
        prefix (`str`, *optional*): What its fields are called with in messages.
        only (`type`, *optional*): The dataclass whose fields are checked, where `config` is of a class below it.

    Raises:
        [`ConfigError`]: If a value has another type, lies out of range or is none of the choices.
    """
    kind = only or type(config)
    hints = types_of(kind)
    for one in fields(kind):
        if one.init:
            hint = hints[one.name]
            value = fit(prefix + one.name, getattr(config, one.name), hint)
            _check_choices(prefix + one.name, value, one)
            object.__setattr__(config, one.name, value)  # which a frozen dataclass allows too


def _check_choices(name: str, value: Any, one: Field[Any]) -> None:
    choices = one.metadata.get("choices")
    if choices is None or value is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if item not in choices:
            raise ConfigError(f"`{name}` is {item!r}: set it to one of {', '.join(map(str, choices))}")


def prefixed(config: type, prefix: str, needs: Needs | None = None) -> Any:
    """A class decorator, below `@dataclass`: adds the fields of a config dataclass, named with a prefix.

    Args:
        config (`type`): The dataclass.
        prefix (`str`): What stands before its fields' names.
        needs (`Mapping[str, Any]`, *optional*): What other settings have to be for any of them to have an effect,
            beside what the dataclass says of each.
    """
    assert is_dataclass(config)
    hints = get_type_hints(config, include_extras=True)

    def decorate(kind: Any) -> Any:
        kind.needs = {**vars(kind).get("needs", {})}
        for one in fields(config):
            if one.init:
                name = prefix + one.name
                kind.__annotations__[name] = hints[one.name]
                setattr(kind, name, _copied(one))
                own = needs_of([config]).get(one.name, {})
                kind.needs[name] = {**(needs or {}), **{prefix + other: wanted for other, wanted in own.items()}}
        return kind

    return decorate


def _copied(one: Field[Any]) -> Any:
    return field(default=one.default, default_factory=one.default_factory, repr=one.repr, metadata=one.metadata)  # type: ignore[call-overload]


def take(config: type, source: Any, prefix: str = "", **more: Any) -> Any:
    """A config dataclass from the fields of another object.

    Args:
        config (`type`): The dataclass to make.
        source (`Any`): What has its fields, named as by [`prefixed`].
        prefix (`str`, *optional*): What stands before their names there.
        **more: Fields that are set to something else.
    """
    names = [one.name for one in fields(config) if one.init and one.name not in more]
    return config(**{name: getattr(source, prefix + name) for name in names}, **more)
