"""Config dataclasses: what a value is made into, what is refused, and that TRL's parser reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl import TrlParser

from equal_hf.errors import ConfigError
from equal_hf.utils.settings import check_settings, prefixed, setting, take
from equal_hf.utils.typed_values import Described, Range, fit


@dataclass
class Inner:
    rate: Annotated[float, Range(0, 1)] = setting(0.5, "A share.")
    names: list[str] = setting(["a"], "Some names.")
    kind: str = setting("x", "Which.", choices=("x", "y"))
    weights: list[Annotated[float, Range(0)]] | None = setting(None, "One each.")
    price: Annotated[float, Range(0)] = setting(0.0, "Money.")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass
@prefixed(Inner, "in_")
class Outer:
    corpus: str = setting("", "Documents.")


def test_one_value_where_a_list_is_meant_is_a_list_of_one() -> None:
    assert Inner(names="b", weights=1).names == ["b"]  # type: ignore[arg-type]
    assert Inner(weights=1).weights == [1]  # type: ignore[arg-type]
    assert fit("report_to", "wandb", None | str | list[str]) == "wandb"


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (None, int, "`x` is null, but a whole number is needed"),
        (None, list[str], "`x` is null, but a text or a list of them is needed"),
        ("many", int, "`x` is of type str, but a whole number"),
        (True, int, "`x` is True, but a whole number"),
        (1.5, int, "`x` is 1.5, but a whole number"),
        (1.5, str, "`x` is 1.5, but a text"),
        ("yes", bool, "`x` is of type str, but true or false"),
        ({"a": 1}, list[str], "`x` is of type dict, but a text or a list"),
        ([["a"]], list[str], "`x` is a list of list, but a text or a list"),
        (["a", None], list[str], "`x` is a list of str, null"),
        (date(2024, 1, 1), str | None, "`x` is of type date, but a text is needed: put it in quotes"),
        ({"a": None}, dict[str, str], "`x` is of type dict, but a mapping"),
        ("three", Literal["one", "two"], "'one' or 'two'"),
        (float("nan"), float, "`x` is nan: set it to a finite number"),
        (math.inf, float, "`x` is inf: set it to a finite number"),
        ("inf", float, "`x` is inf: set it to a finite number"),
        ([1.0, float("nan")], list[float] | None, r"`x\[1\]` is nan: set it to a finite number"),
        (1.0, Annotated[str, Described("a whole number or auto")], "`x` is 1.0, but a whole number or auto is needed"),
        (["a"], dict[str, str], "`x` is a list of str, but a mapping"),
    ],
)
def test_wrong_types_are_refused_by_name(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit("x", value, hint)


def test_ranges_and_choices_are_refused_by_name() -> None:
    for wrong, message in (
        ({"rate": 1.5}, "`rate` is 1.5: set it to 0 to 1"),
        ({"kind": "z"}, "`kind` is 'z': set it to one of x, y"),
        ({"weights": [1, -2]}, "`weights` is -2: set it to 0 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            Inner(**wrong)


@given(st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_what_they_are_as_text_too(number: float) -> None:
    assert fit("x", number, float) == number
    assert fit("x", str(number), float | None) == pytest.approx(number)
    if isinstance(number, int) or math.floor(number) == number:
        assert fit("x", number, int) == number


def test_prefixed_fields_are_one_definition_that_trl_reads() -> None:
    flags = ["--in_names", "b", "c", "--in_rate", "0.25", "--in_price", "2"]
    (outer,) = TrlParser((Outer,)).parse_args_and_config(flags)
    assert take(Inner, outer, "in_") == Inner(rate=0.25, names=["b", "c"], price=2.0)
    assert take(Inner, Outer(), "in_", kind="y").kind == "y"
    with pytest.raises(ConfigError, match="`in_rate` is 3"):
        check_settings(TrlParser((Outer,)).parse_args_and_config(["--in_rate", "3"])[0])
    first, second = Outer(), Outer()
    first.in_names.append("z")  # type: ignore[attr-defined]
    assert second.in_names == ["a"]  # type: ignore[attr-defined]
