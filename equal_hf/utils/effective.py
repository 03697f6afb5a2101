"""Which of the settings that were given have no effect beside the others.

A config dataclass says by `needs` what other settings have to be for one of its own to have an effect:
`needs: ClassVar[AllNeeds] = {"alpha": {"bandit": ["ucb", "linucb"]}}`; a value of a setting is named behind a colon
(`"pair_values: grade"`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unless:
    """Any value but these; of a setting that another one needs.

    Args:
        values (`tuple`): The values.
    """

    values: tuple[Any, ...]


SEVERAL = "several"  # a list of more than one
Needs = Mapping[str, list[Any] | Unless | str]
AllNeeds = Mapping[str, Needs]


def without_effect(kinds: Iterable[type], values: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """What to say of settings that were given and have no effect.

    Args:
        kinds (`Iterable[type]`): The config dataclasses.
        values (`Mapping[str, Any]`): All settings.
        given (`Iterable[str]`): Those that were given.

    Returns:
        `list[str]`: The settings, why they have none and what to do; a line for each reason.
    """
    all_needs = needs_of(kinds)
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(given):
        value = values.get(name)
        items = value if isinstance(value, list) else [value]
        for told in (name, *(f"{name}: {_shown(item)}" for item in items)):
            needs = all_needs.get(told, {})
            # The first is what the others are about.
            lacking = next((o for o, wanted in needs.items() if o in values and not _holds(values[o], wanted)), None)
            if lacking is not None:
                reason = f"`{lacking}: {_shown(values[lacking])}`", f"`{lacking}` to {_wanted(needs[lacking])}"
                by_reason.setdefault(reason, []).append(f"`{told}`")
                break
    return [
        f"{_and(names)} {'has' if len(names) == 1 else 'have'} no effect with {fact}: "
        f"leave {'it' if len(names) == 1 else 'them'} out, or set {remedy}"
        for (fact, remedy), names in by_reason.items()
    ]


def needs_of(kinds: Iterable[type]) -> dict[str, Needs]:
    """What each setting of some config dataclasses, and of those they are made from, needs to have an effect.

    Args:
        kinds (`Iterable[type]`): The dataclasses.
    """
    declared = (vars(one).get("needs", {}) for kind in kinds for one in reversed(kind.__mro__))
    return {name: needs for all_needs in declared for name, needs in all_needs.items()}


def _holds(value: Any, wanted: list[Any] | Unless | str) -> bool:
    """Whether a setting is as another one needs it.

    >>> _holds("paper", ["ucb"]), _holds(["a", "b"], ["b"]), _holds(["a"], SEVERAL), _holds("greedy", Unless(("x",)))
    (False, True, False, True)
    """
    if isinstance(wanted, Unless):
        return value not in wanted.values
    if wanted == SEVERAL:
        return isinstance(value, list) and len(value) > 1
    return any(item in wanted for item in (value if isinstance(value, list) else [value]))


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _wanted(wanted: list[Any] | Unless | str) -> str:
    if isinstance(wanted, Unless):
        return f"another than {' or '.join(map(_shown, wanted.values))}"
    return "more than one" if isinstance(wanted, str) else " or ".join(map(_shown, wanted))


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
