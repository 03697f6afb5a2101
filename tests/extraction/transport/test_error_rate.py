"""When extraction stops."""

from __future__ import annotations

from equal_hf.extraction.transport.error_rate import ErrorRateBreaker


def test_few_requests_prove_nothing_and_old_ones_are_forgotten() -> None:
    failures = ErrorRateBreaker(0.5, size=10)
    for _ in range(9):
        failures.add("HTTP 500")
    assert failures.tripped() is None
    failures.add("HTTP 500")
    assert failures.tripped() == "100 % of the last 10 requests failed: 10 × HTTP 500"
    for _ in range(5):
        failures.add(None)
    assert failures.tripped() is None, "half is not more than half"


def test_the_commonest_reasons_come_first_and_are_bounded() -> None:
    failures = ErrorRateBreaker(0.1, size=7)
    for reason in ["no answer within 5 s", *["HTTP 502 " + "x" * 5000] * 3, "HTTP 500", "HTTP 500", "last and least"]:
        failures.add(reason)
    verdict = failures.tripped() or ""
    assert verdict.index("3 × HTTP 502") < verdict.index("2 × HTTP 500") < verdict.index("1 × no answer")
    assert "least" not in verdict
    assert len(verdict) < 600


def test_a_share_of_one_never_stops() -> None:
    failures = ErrorRateBreaker(1.0, size=3)
    for _ in range(10):
        failures.add("HTTP 500")
    assert failures.tripped() is None
