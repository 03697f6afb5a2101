from __future__ import annotations

import random
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.budget import Admission
from equal_hf.types import Allowance, Usage


@st.composite
def cases(draw: st.DrawFn) -> tuple[Allowance, list[tuple[Usage, Usage]], int]:
    limits = st.none() | st.integers(0, 300)
    allowance = Allowance(draw(limits), draw(limits))
    documents = []
    for _ in range(draw(st.integers(0, 25))):
        worst = Usage(draw(st.integers(0, 100)), draw(st.integers(0, 100)), 2)
        used = Usage(draw(st.integers(0, worst.prompt_tokens)), draw(st.integers(0, worst.completion_tokens)), 1)
        documents.append((worst, used))
    return allowance, documents, draw(st.integers(0, 2**32))


def in_turn(allowance: Allowance, documents: list[tuple[Usage, Usage]]) -> tuple[list[bool], Usage]:
    """The rule with one document out at a time."""
    total, goes = Usage(), []
    for worst, used in documents:
        goes.append(allowance.holds(total + worst))
        total += used if goes[-1] else Usage()
    return goes, total


@given(cases())
def test_who_goes_depends_on_no_timing_and_the_allowance_is_never_passed(case) -> None:
    allowance, documents, seed = case
    timing = random.Random(seed)
    admission, out, goes = Admission(allowance), [], []
    waiting = deque(documents)
    while waiting or out:
        # Everything that is out might still use its worst case: even then the allowance holds.
        assert allowance.holds(admission.used + sum((worst for worst, _ in out), Usage()))
        verdict = None
        if waiting and not (out and timing.random() < 0.5):
            verdict = admission.decide(waiting[0][0])
        if verdict == "go":
            out.append(waiting.popleft())
            goes.append(True)
        elif verdict == "refused":
            waiting.popleft()
            goes.append(False)
        else:
            assert out, "it waits for nothing"
            admission.settle(*out.pop(timing.randrange(len(out))))
    assert (goes, admission.used) == in_turn(allowance, documents)


def test_documents_overlap_while_there_is_room() -> None:
    admission = Admission(Allowance(prompt_tokens=100))
    assert [admission.decide(Usage(10, 5)) for _ in range(10)] == ["go"] * 10
    assert admission.decide(Usage(10, 5)) == "wait"


def test_no_allowance_admits_everything() -> None:
    admission = Admission(None)
    assert {admission.decide(Usage(10**12, 10**12)) for _ in range(100)} == {"go"}
