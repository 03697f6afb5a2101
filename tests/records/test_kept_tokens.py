"""What of the tokens paid for became pairs."""

from hypothesis import given
from hypothesis import strategies as st

from equal_hf.records.kept_tokens import kept_tokens
from equal_hf.types import QAPair, Rejection, Usage

DOCUMENTS = [["a", "b"], ["c"]]
TEXTS = st.text("ab ?", min_size=1, max_size=12)
IDS = st.sampled_from(["a", "b", "c"])
PAIRS = st.lists(st.builds(QAPair, TEXTS, TEXTS, IDS), max_size=6)
REJECTED = st.lists(
    st.one_of(
        st.builds(Rejection, IDS, st.just("duplicate"), TEXTS, TEXTS),
        st.builds(Rejection, IDS, st.just("x"), raw=TEXTS),
    ),
    max_size=6,
)
USAGES = st.lists(st.builds(Usage, st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=2)


@given(PAIRS, REJECTED, USAGES)
def test_no_more_is_kept_than_was_used(pairs, rejected, usages):
    kept, used = kept_tokens(pairs, rejected, DOCUMENTS, usages), sum(usages, Usage())
    assert 0 <= kept.completion_tokens <= used.completion_tokens
    assert 0 <= kept.prompt_tokens <= used.prompt_tokens
    without = kept_tokens(pairs, (), DOCUMENTS, usages)
    assert kept.completion_tokens <= without.completion_tokens, "what is rejected takes its part"
    assert kept_tokens((), rejected, DOCUMENTS, usages) == Usage()


def test_a_reply_rejected_as_a_whole_counts_once_with_the_pairs_read_off_it():
    pair = QAPair("What is 2 + 2?", "4", "c")
    cut = Rejection("c", "truncated", raw="x" * 30)
    assert kept_tokens([pair], [cut], [["c"]], [Usage(10, 20)]) == Usage(10, 10)
