"""What of a run's settings may change between two starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import ResumeError
from equal_hf.records.changes import LIMITS, changed_values, is_endpoints_own, not_changeable, require_room, value_at

JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda c: st.dictionaries(st.sampled_from("abc"), c), max_leaves=6
)


def test_changes_are_named_by_dotted_keys():
    assert changed_values({"a": [1], "c": {"d": 1}}, {"a": [2], "b": 1, "c": {"d": 1}}) == {
        "a": [[1], [2]],
        "b": [None, 1],
    }


@given(JSON, JSON)
def test_equal_values_alone_have_no_changes(one, other):
    assert changed_values(one, one) == {}
    assert bool(changed_values({"x": one}, {"x": other})) == (
        one != other and not _both_empty(one, other) and not _nulls(one, other)
    )


def _both_empty(one, other):
    return one == {} and other == {}


def _nulls(one, other):
    """A key that is null is one that is missing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(
            _nulls(one.get(key), other.get(key)) or one.get(key) == other.get(key) for key in one.keys() | other.keys()
        )
    return False


def test_limits_are_free_and_prompt_and_target_at_a_review_alone():
    keys = [*LIMITS, "extractor.prompt_hash", "reference.target", "protected", "seed", "bandit.alpha"]
    assert not_changeable(keys, under_review=True) == ["seed", "bandit.alpha"]
    assert not_changeable(keys, under_review=False) == keys[len(LIMITS) :]


@pytest.mark.parametrize("name", LIMITS)
def test_no_limit_goes_below_what_is_spent(name):
    spent = dict.fromkeys(LIMITS, 20)
    for limit in (None, 20, 21):
        require_room({name: [30, limit]}, spent, "run")
    with pytest.raises(ResumeError, match=rf"`{name}` was 30 and is 19 now, but run has spent 20 already: raise it"):
        require_room({name: [30, 19]}, spent, "run")


def test_a_value_is_that_of_its_round():
    changes = [
        {"from_round": 2, "changed": {"max_documents": [10, 20], "num_rounds": [2, 4]}},
        {"from_round": 4, "changed": {"max_documents": [20, None]}},
    ]
    assert [value_at("max_documents", None, changes, index) for index in range(6)] == [10, 10, 20, 20, None, None]
    assert [value_at("num_rounds", 4, changes, index) for index in (1, 2)] == [2, 4]


@pytest.mark.parametrize(
    ("changed", "own"),
    [
        ({"extractor.sampling.temperature": [0.0, None]}, True),
        ({"extractor.sampling.temperature": [0.0, 0.7]}, False),
        ({"extractor.max_prompt_tokens": [None, 130_572]}, True),
        ({"extractor.max_prompt_tokens": [8192, 4096]}, False),
        ({"extractor.schema_hash": ["a", "b"]}, True),
        ({"extractor.schema_hash": ["a", "b"], "extractor.prompt_hash": ["c", "d"]}, False),
        ({"extractor.model": ["a", None]}, False),
    ],
)
def test_what_an_endpoint_takes_is_told_from_settings(changed, own):
    assert is_endpoints_own(next(iter(changed)), changed) is own
